//! Whether a request may go out, and where to: the grant, the ceiling, then the address itself.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hyper::{Method, Uri};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use wasmtime_wasi_http::Error as HttpError;

use super::address::{self, Objection};
use super::pool::Pool;
use super::resolve::{Resolve, Resolver};
use super::target::{Seen, Targets};
use crate::clock::Clock;
use crate::config;
use crate::domain::grant::{Ceiling, Grant, Origin};
use crate::error::{Error, Result};
use crate::plugin::instance::Context;

/// What all guests' requests share.
pub struct Gate {
    pub tls: TlsConnector,
    pub targets: Targets,
    pub pool: Arc<Pool>,
    resolver: Resolver,
    own: RwLock<Vec<SocketAddr>>,
}

/// A request that does not go out.
#[derive(Debug)]
pub struct Refused {
    /// What the guest sees.
    pub error: HttpError,
    /// What the operator sees, with the line that would allow it.
    pub why: String,
    /// Refused by a rule, not by the network.
    pub denied: bool,
    /// What it says about the target.
    pub seen: Seen,
}

impl Refused {
    pub fn failed(error: HttpError, why: impl Into<String>) -> Self {
        Self { error, why: why.into(), denied: false, seen: Seen::Nothing }
    }

    /// There was no connection.
    pub fn unreachable(error: HttpError, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { error, seen: Seen::Unreachable(why.clone()), why, denied: false }
    }

    /// There was one, and no answer.
    pub fn failing(error: HttpError, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { error, seen: Seen::Failing(why.clone()), why, denied: false }
    }

    pub fn denied(error: HttpError, why: impl Into<String>) -> Self {
        Self { error, why: why.into(), denied: true, seen: Seen::Nothing }
    }
}

impl Gate {
    /// `extra_roots`: certificates in PEM beside Mozilla's. `own`: addresses that no guest may reach.
    pub fn new(
        extra_roots: &[u8],
        own: Vec<SocketAddr>,
        limits: config::Target,
        resolve: Resolve,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
        for certificate in CertificateDer::pem_slice_iter(extra_roots) {
            let certificate =
                certificate.map_err(|wrong| Error::invalid("network.extra_ca", format!("no PEM certificate: {wrong}")))?;
            roots.add(certificate).map_err(|wrong| Error::invalid("network.extra_ca", format!("no usable root: {wrong}")))?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|wrong| Error::Internal(wrong.into()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
            targets: Targets::new(limits, clock),
            pool: Arc::default(),
            resolver: Resolver::new(resolve),
            own: RwLock::new(own),
        })
    }

    /// Adds an address that no guest may reach.
    pub fn never(&self, address: SocketAddr) {
        self.own.write().unwrap_or_else(PoisonError::into_inner).push(address);
    }

    /// Resolves the origin's name once and checks every address that it has.
    pub async fn addresses(&self, origin: &Origin, context: &Context, within: Duration) -> Result<Vec<SocketAddr>, Refused> {
        let host = origin.host.trim_start_matches('[').trim_end_matches(']');
        let addresses = self.resolver.addresses(&context.tenant, host, origin.port, within).await?;
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner).clone();
        // One bad answer among good ones is refused as a whole: which one is connected to would be chance.
        for address in &addresses {
            address::check(*address, &context.ceiling.networks, &own).map_err(|objection| {
                let why = match objection {
                    Objection::Outside { network } => format!(
                        "{host} is at {}, which is not public; a server admin may allow it in the tenant's ceiling: networks = [{network:?}]",
                        address.ip()
                    ),
                    Objection::Never { why } => format!("{host} is at {}: {why}, and never a target", address.ip()),
                };
                Refused::denied(HttpError::DestinationIpProhibited, why)
            })?;
        }
        Ok(addresses)
    }
}

/// Where a request wants to go.
pub fn origin(uri: &Uri) -> Result<Origin, Refused> {
    let invalid = || Refused::denied(HttpError::HttpRequestUriInvalid, "the URL has no host, or has a user in it");
    let (scheme, authority) = uri.scheme_str().zip(uri.authority()).ok_or_else(invalid)?;
    Origin::parse(&format!("{scheme}://{authority}")).map_err(|_| invalid())
}

/// Whether grant and ceiling allow this method to this origin.
pub fn granted(origin: &Origin, method: &Method, grant: &Grant, ceiling: &Ceiling) -> Result<(), Refused> {
    let there = written(origin);
    let here: Vec<_> =
        grant.http.iter().filter(|http| Origin::parse(&http.host).is_ok_and(|granted| granted.covers(origin))).collect();
    if !here.iter().any(|http| http.methods.iter().any(|granted| granted.eq_ignore_ascii_case(method.as_str()))) {
        let mut methods: Vec<&str> = here.iter().flat_map(|http| http.methods.iter().map(String::as_str)).collect();
        let what = if methods.is_empty() {
            format!("{there} is not granted to this job")
        } else {
            format!("{method} to {there} is not granted to this job")
        };
        methods.push(method.as_str());
        let line = format!("grant.http = [{{ host = {there:?}, methods = {methods:?} }}]");
        return Err(Refused::denied(HttpError::HttpRequestDenied, format!("{what}; to allow it: {line}")));
    }
    // Apply has checked this; the ceiling may have been lowered since.
    if !ceiling.hosts.iter().any(|host| Origin::parse(host).is_ok_and(|ceiling| ceiling.covers(origin))) {
        let why = format!("{there} is not within the tenant's ceiling; a server admin may add it: hosts = [{there:?}]");
        return Err(Refused::denied(HttpError::HttpRequestDenied, why));
    }
    Ok(())
}

/// As it stands in a tenant file; the port only where it is not the scheme's own.
pub fn written(origin: &Origin) -> String {
    let (scheme, usual) = if origin.tls { ("https", 443) } else { ("http", 80) };
    if origin.port == usual {
        format!("{scheme}://{}", origin.host)
    } else {
        format!("{scheme}://{}:{}", origin.host, origin.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::grant::HttpGrant;

    fn verdict(url: &str, method: Method) -> Result<(), String> {
        let grant = Grant {
            http: vec![HttpGrant { host: "https://*.example.org".into(), methods: vec!["GET".into()] }],
            ..Grant::default()
        };
        let ceiling = Ceiling { hosts: vec!["https://*.example.org".into()], ..Ceiling::default() };
        let origin = origin(&url.parse().unwrap()).map_err(|refused| refused.why)?;
        granted(&origin, &method, &grant, &ceiling).map_err(|refused| refused.why)
    }

    #[test]
    fn what_is_granted_goes_and_the_rest_says_what_would_allow_it() {
        assert_eq!(verdict("https://a.example.org/x?y", Method::GET), Ok(()));
        let post = verdict("https://a.example.org/x", Method::POST).unwrap_err();
        assert!(post.contains(r#"grant.http = [{ host = "https://a.example.org", methods = ["GET", "POST"] }]"#), "{post}");
        let other = verdict("http://127.0.0.1:9/", Method::GET).unwrap_err();
        assert!(other.contains(r#"grant.http = [{ host = "http://127.0.0.1:9", methods = ["GET"] }]"#), "{other}");
        assert!(verdict("https://good.example.org@evil.com/", Method::GET).is_err());
        assert!(verdict("https://example.org/", Method::GET).is_err());
    }
}
