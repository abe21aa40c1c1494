//! Whether a guest's request may go out: the grant, then the ceiling. The address itself is the egress's to check.

use std::sync::Arc;

use hyper::{Method, Uri};
use wasmtime_wasi_http::Error as HttpError;

use super::pool::Pool;
use crate::domain::grant::{Ceiling, Grant, Origin};
use crate::egress::{self, Cause, Egress};

/// What all guests' requests share.
pub struct Gate {
    pub egress: Arc<Egress>,
    pub pool: Arc<Pool>,
}

/// A request that does not go out; its error is what the guest sees.
pub type Refused = egress::Refused<HttpError>;

impl From<egress::Refused> for Refused {
    fn from(refused: egress::Refused) -> Self {
        refused.map(|cause| match cause {
            Cause::Denied => HttpError::HttpRequestDenied,
            Cause::Address => HttpError::DestinationIpProhibited,
            Cause::Uri => HttpError::HttpRequestUriInvalid,
            Cause::Dns(why) => HttpError::DnsError { rcode: Some(why), info_code: None },
            Cause::DnsTimeout => HttpError::DnsTimeout,
            Cause::Busy => HttpError::ConnectionLimitReached,
            Cause::Open(text) => HttpError::InternalError(Some(text)),
            Cause::Connect(wrong) => HttpError::Connect(wrong),
            Cause::ConnectTimeout => HttpError::ConnectionTimeout,
            Cause::Tls(wrong) => HttpError::Tls(wrong),
            Cause::Broken => HttpError::HttpProtocolError,
        })
    }
}

/// Where a request wants to go.
pub fn origin(uri: &Uri) -> Result<Origin, Refused> {
    Ok(egress::origin(uri)?)
}

/// Whether grant and ceiling allow this method to this origin.
pub fn granted(origin: &Origin, method: &Method, grant: &Grant, ceiling: &Ceiling) -> Result<(), Refused> {
    let here: Vec<_> =
        grant.http.iter().filter(|http| Origin::parse(&http.host).is_ok_and(|granted| granted.covers(origin))).collect();
    if !here.iter().any(|http| http.methods.iter().any(|granted| granted.eq_ignore_ascii_case(method.as_str()))) {
        let mut methods: Vec<&str> = here.iter().flat_map(|http| http.methods.iter().map(String::as_str)).collect();
        let what = if methods.is_empty() {
            format!("{origin} is not granted to this job")
        } else {
            format!("{method} to {origin} is not granted to this job")
        };
        methods.push(method.as_str());
        let line = format!("grant.http = [{{ host = {:?}, methods = {methods:?} }}]", origin.to_string());
        return Err(Refused::denied(HttpError::HttpRequestDenied, format!("{what}; to allow it: {line}")));
    }
    Ok(egress::within_ceiling(origin, ceiling)?)
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
