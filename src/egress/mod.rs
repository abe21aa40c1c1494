//! The one way out of this node for whatever tenants configure: guests' requests, probes. One look-up, every address
//! checked, the checked address connected to; and a gate before each target that all share.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hyper::Uri;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::clock::Clock;
use crate::config;
use crate::domain::grant::{Ceiling, Origin};
use crate::error::{Error, Result};

mod address;
mod ask;
mod circuit;
mod pattern;
mod relay;
mod remembered;
mod resolve;
pub mod scrub;
mod target;

use address::Objection;
pub use ask::Said;
pub use relay::{Bounded, Relay, too_much};
use resolve::Resolver;
pub use resolve::{Resolve, system as system_resolver};
pub use target::{Pass, Seen, Targets, said};

/// Who does not answer within less than this has not failed: the asker was in a hurry.
pub const PATIENCE: Duration = Duration::from_secs(1);

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What all connections share.
pub struct Egress {
    pub targets: Targets,
    tls: Arc<ClientConfig>,
    extra_roots: Vec<u8>,
    resolver: Resolver,
    own: RwLock<Vec<SocketAddr>>,
}

/// What does not go out. `E`: what the asker sees; a guest has the contract's words for it.
#[derive(Debug)]
pub struct Refused<E = Cause> {
    pub error: E,
    /// What the operator sees, with the line that would allow it.
    pub why: String,
    /// Refused by a rule, not by the network.
    pub denied: bool,
    /// What it says about the target.
    pub seen: Seen,
}

/// The kinds of refusal.
#[derive(Debug)]
pub enum Cause {
    /// By grant or ceiling.
    Denied,
    /// By the address behind the name.
    Address,
    /// What was asked for is no place, or no request.
    Uri,
    Dns(String),
    DnsTimeout,
    /// The target's turn came too late.
    Busy,
    /// The circuit; says for how long.
    Open(String),
    Connect(io::Error),
    ConnectTimeout,
    Tls(io::Error),
    /// There was a connection, and no whole answer.
    Broken,
}

impl<E> Refused<E> {
    pub fn failed(error: E, why: impl Into<String>) -> Self {
        Self { error, why: why.into(), denied: false, seen: Seen::Nothing }
    }

    /// There was no connection.
    pub fn unreachable(error: E, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { error, seen: Seen::Unreachable(why.clone()), why, denied: false }
    }

    /// There was one, and no answer.
    pub fn failing(error: E, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { error, seen: Seen::Failing(why.clone()), why, denied: false }
    }

    pub fn late(error: E, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { error, seen: Seen::Late(why.clone()), why, denied: false }
    }

    pub fn denied(error: E, why: impl Into<String>) -> Self {
        Self { error, why: why.into(), denied: true, seen: Seen::Nothing }
    }

    /// The same in another's words.
    pub fn map<T>(self, words: impl FnOnce(E) -> T) -> Refused<T> {
        Refused { error: words(self.error), why: self.why, denied: self.denied, seen: self.seen }
    }
}

impl Egress {
    /// `extra_roots`: certificates in PEM beside Mozilla's. `own`: Windlass's own listeners and database, which nobody may
    /// reach; [`Egress::never`] adds more.
    ///
    /// # Errors
    /// `Invalid` when a root is no certificate.
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
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|wrong| Error::Internal(wrong.into()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            targets: Targets::new(limits, clock),
            tls: Arc::new(tls),
            extra_roots: extra_roots.to_vec(),
            resolver: Resolver::new(resolve),
            own: RwLock::new(own),
        })
    }

    /// As windlass.toml has it, with the machine's resolver. Fails as [`Egress::new`] does.
    pub fn of(settings: &config::Settings, own: Vec<SocketAddr>, clock: Arc<dyn Clock>) -> Result<Arc<Self>> {
        let limits = settings.network.target.clone();
        Ok(Arc::new(Self::new(&settings.extra_roots()?, own, limits, system_resolver(), clock)?))
    }

    /// Adds an address that nobody may reach.
    pub fn never(&self, address: SocketAddr) {
        self.own.write().unwrap_or_else(PoisonError::into_inner).push(address);
    }

    /// Whose certificates are trusted.
    pub fn tls(&self) -> &Arc<ClientConfig> {
        &self.tls
    }

    /// Certificates in PEM that are trusted beside Mozilla's, for clients with a TLS of their own; may be empty.
    pub fn extra_roots(&self) -> &[u8] {
        &self.extra_roots
    }

    /// Resolves the origin's name once and checks every address that it has against `networks` of the tenant's ceiling.
    ///
    /// # Errors
    /// When one of them is not allowed, or there is none.
    pub async fn addresses(
        &self,
        tenant: &Arc<str>,
        networks: &[String],
        origin: &Origin,
        within: Duration,
    ) -> Result<Vec<SocketAddr>, Refused> {
        let host = bare(&origin.host);
        let addresses = self.resolver.addresses(tenant, host, origin.port, within).await?;
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner).clone();
        // One bad answer among good ones is refused as a whole: which one is connected to would be chance.
        for address in &addresses {
            address::check(*address, networks, &own).map_err(|objection| {
                let why = match objection {
                    Objection::Outside { network } => format!(
                        "{host} is at {}, which is not public; a server admin may allow it in the tenant's ceiling: networks = [{network:?}]",
                        address.ip()
                    ),
                    Objection::Never { why } => format!("{host} is at {}: {why}, and never a target", address.ip()),
                };
                Refused::denied(Cause::Address, why)
            })?;
        }
        Ok(addresses)
    }

    /// To one of the addresses that were checked: no second look-up, so nothing can change in between.
    ///
    /// # Errors
    /// When none of them takes a connection within the time.
    pub async fn connect(
        &self,
        origin: &Origin,
        addresses: &[SocketAddr],
        within: Duration,
    ) -> Result<(TcpStream, SocketAddr), Refused> {
        let share = within / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
        let mut failed = no_connection(origin, within);
        for address in addresses {
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Small requests go at once; where that cannot be set they go a little later.
                    let _ = stream.set_nodelay(true);
                    return Ok((stream, *address));
                }
                Ok(Err(wrong)) => {
                    let why = format!("{}:{} cannot be reached: {wrong}", origin.host, origin.port);
                    failed = Refused::unreachable(Cause::Connect(wrong), why);
                }
                Err(_) => failed = no_connection(origin, share),
            }
        }
        Err(failed)
    }

    /// With TLS on it, where the origin's scheme has that.
    ///
    /// # Errors
    /// When the other side does not prove that it is the host.
    pub async fn secured(&self, origin: &Origin, stream: TcpStream) -> Result<Box<dyn Stream>, Refused> {
        if !origin.scheme.is_tls() {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(bare(&origin.host).to_owned())
            .map_err(|_| Refused::failed(Cause::Uri, "the host is no name for TLS"))?;
        let secured = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await;
        let secured = secured.map_err(|wrong| {
            let why = format!("TLS with {} failed: {wrong}", origin.host);
            Refused::unreachable(Cause::Tls(wrong), why)
        })?;
        Ok(Box::new(secured))
    }

    /// A target's turn, and its addresses, for what the host itself asks on behalf of a tenant: within the ceiling only.
    ///
    /// # Errors
    /// When the ceiling does not name it, its circuit is open, or an address is not allowed.
    pub async fn admit(
        &self,
        tenant: &Arc<str>,
        ceiling: &Ceiling,
        origin: &Origin,
        within: Duration,
    ) -> Result<(Pass, Vec<SocketAddr>), Refused> {
        within_ceiling(origin, ceiling)?;
        let mut pass = self.targets.enter(tenant, origin, within).await?;
        match self.addresses(tenant, &ceiling.networks, origin, within.saturating_sub(pass.waited)).await {
            Ok(addresses) => Ok((pass, addresses)),
            Err(refused) => {
                self.targets.seen(&mut pass, &refused.seen);
                Err(refused)
            }
        }
    }
}

/// Where a request wants to go.
///
/// # Errors
/// When the URL names no place.
pub fn origin(uri: &Uri) -> Result<Origin, Refused> {
    let invalid = || Refused::denied(Cause::Uri, "the URL has no host, or has a user in it");
    let (scheme, authority) = uri.scheme_str().zip(uri.authority()).ok_or_else(invalid)?;
    Origin::parse(&format!("{scheme}://{authority}")).ok().filter(|origin| origin.scheme.is_http()).ok_or_else(invalid)
}

/// Apply has checked this; the ceiling may have been lowered since.
///
/// # Errors
/// With the line that would allow it.
pub fn within_ceiling(origin: &Origin, ceiling: &Ceiling) -> Result<(), Refused> {
    if ceiling.covers(origin) {
        return Ok(());
    }
    let there = origin.to_string();
    let why = format!("{there} is not within the tenant's ceiling; a server admin may add it: hosts = [{there:?}]");
    Err(Refused::denied(Cause::Denied, why))
}

/// An IPv6 address without its brackets.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// None was made in time.
pub fn no_connection(origin: &Origin, within: Duration) -> Refused {
    let why = format!("no connection with {}:{} within {}", origin.host, origin.port, words(within));
    let mut refused = Refused::unreachable(Cause::ConnectTimeout, why);
    if within < PATIENCE {
        refused.seen = Seen::Nothing;
    }
    refused
}

/// A time limit for people.
pub fn words(span: Duration) -> String {
    humantime::format_duration(Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))).to_string()
}

/// An error with its causes: hyper keeps the telling part below.
pub fn chain(wrong: &dyn std::error::Error) -> String {
    let mut text = wrong.to_string();
    let mut cause = wrong.source();
    while let Some(below) = cause {
        text = format!("{text}: {below}");
        cause = below.source();
    }
    text
}
