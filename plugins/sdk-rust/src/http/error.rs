use std::fmt;

use wasip2::http::types::ErrorCode;

use crate::{Class, Failure};

/// Why a request got no answer, or not all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The case of `wasi:http`'s `error-code`, as in `HttpRequestDenied` or `ConnectionRefused`.
    pub code: String,
    /// What the host says beyond the code; often empty.
    pub detail: String,
    pub method: String,
    pub url: String,
}

impl Error {
    pub(super) fn new(code: &str, detail: impl Into<String>, method: &str, url: &str) -> Self {
        Self { code: code.to_owned(), detail: detail.into(), method: method.to_owned(), url: url.to_owned() }
    }

    pub(super) fn from_code(code: &ErrorCode, method: &str, url: &str) -> Self {
        // The generated type has no names but those of its Debug form: `ErrorCode::InternalError(Some("…"))`.
        let text = format!("{code:?}");
        let text = text.strip_prefix("ErrorCode::").unwrap_or(&text);
        let (name, rest) = text.split_once('(').unwrap_or((text, ""));
        let detail = match code {
            ErrorCode::InternalError(Some(why)) => why.clone(),
            ErrorCode::DnsError(payload) => payload.rcode.clone().unwrap_or_default(),
            _ => rest.strip_suffix(')').unwrap_or(rest).to_owned(),
        };
        // wasi:http has no code for it; the host's words begin so.
        let name = if detail.starts_with("circuit open: ") { "CircuitOpen" } else { name };
        Self::new(name, detail, method, url)
    }

    /// Of a target that has failed too often (`CircuitOpen`): milliseconds until it is asked again.
    pub fn retry_after_ms(&self) -> Option<u64> {
        let (_, end) = self.detail.rsplit_once("try again in ").filter(|_| self.code == "CircuitOpen")?;
        end.strip_suffix(" ms")?.parse().ok()
    }

    /// The request was refused for what it is, so trying again cannot help.
    pub fn is_refused(&self) -> bool {
        matches!(
            self.code.as_str(),
            "HttpRequestDenied" | "DestinationIpProhibited" | "HttpRequestUriInvalid" | "HttpRequestMethodInvalid"
        )
    }

    /// The target may have got the request and may be working on it. False only when it certainly was not sent.
    pub fn may_have_been_sent(&self) -> bool {
        let never_sent = [
            "CircuitOpen",
            "ConnectionLimitReached",
            "ConnectionRefused",
            "ConnectionTimeout",
            "DestinationIpUnroutable",
            "DestinationNotFound",
            "DestinationUnavailable",
            "DnsError",
            "DnsTimeout",
            "TlsAlertReceived",
            "TlsCertificateError",
            "TlsProtocolError",
        ];
        !self.is_refused() && !never_sent.contains(&self.code.as_str())
    }

    pub(crate) fn to_failure(&self) -> Failure {
        let class = match self.code.as_str() {
            // Nothing was sent, and this run is not to blame: it costs no attempt.
            "CircuitOpen" => Class::Snooze,
            _ if self.is_refused() => Class::Permanent,
            _ => Class::Transient,
        };
        let failure = Failure::new(class, self.to_string()).extra("code", &self.code).extra("url", &self.url);
        match self.retry_after_ms() {
            Some(delay_ms) => failure.after(delay_ms),
            None => failure,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.method, self.url)?;
        match self.code.as_str() {
            // The host's reason stands in the run's log only: wasi:http has no room for it.
            "HttpRequestDenied" => write!(
                f,
                "HttpRequestDenied: the job's grant does not name this host or method, or the log says what else: \
                 [job.grant] http = [{{ host = \"{}\", methods = [\"{}\"] }}]",
                origin(&self.url),
                self.method
            )?,
            "ConnectionRefused" => f.write_str("connection refused")?,
            "ConnectionTimeout" => f.write_str("connecting took too long")?,
            "ConnectionReadTimeout" => f.write_str("no answer in time")?,
            "DnsError" => f.write_str("the name was not found")?,
            code => f.write_str(code)?,
        }
        if self.detail.is_empty() { Ok(()) } else { write!(f, " ({})", self.detail) }
    }
}

impl std::error::Error for Error {}

/// Scheme, host and port.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
    &url[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &ErrorCode) -> Error {
        Error::from_code(code, "GET", "http://target/")
    }

    #[test]
    fn the_code_is_kept() {
        let denied = error(&ErrorCode::HttpRequestDenied);
        let says = denied.to_string();
        assert!(says.starts_with("GET http://target/: HttpRequestDenied: the job's grant"), "{says}");
        assert!(says.ends_with(r#"[job.grant] http = [{ host = "http://target", methods = ["GET"] }]"#), "{says}");
        assert_eq!(denied.to_failure().class(), Class::Permanent);
        assert!(!denied.may_have_been_sent());
        let internal = error(&ErrorCode::InternalError(Some("no room".into())));
        assert_eq!((internal.code.as_str(), internal.detail.as_str()), ("InternalError", "no room"));
    }

    #[test]
    fn an_open_circuit_costs_no_attempt_and_says_until_when() {
        let open = error(&ErrorCode::InternalError(Some("circuit open: it failed; try again in 29000 ms".into())));
        assert_eq!((open.code.as_str(), open.retry_after_ms()), ("CircuitOpen", Some(29_000)));
        assert!(!open.may_have_been_sent());
        let failure = open.to_failure();
        assert_eq!((failure.class(), failure.delay_ms()), (Class::Snooze, Some(29_000)));
    }

    #[test]
    fn what_failed_is_said_in_words() {
        assert_eq!(error(&ErrorCode::ConnectionRefused).to_string(), "GET http://target/: connection refused");
        assert_eq!(error(&ErrorCode::ConnectionReadTimeout).to_string(), "GET http://target/: no answer in time");
        assert_eq!(origin("https://a.example:8443/w/api.php?x"), "https://a.example:8443");
    }

    #[test]
    fn only_a_failed_connection_was_certainly_not_sent() {
        assert!(!error(&ErrorCode::ConnectionRefused).may_have_been_sent());
        assert!(error(&ErrorCode::ConnectionReadTimeout).may_have_been_sent());
        assert!(error(&ErrorCode::HttpResponseTimeout).may_have_been_sent());
        assert_eq!(error(&ErrorCode::ConnectionRefused).to_failure().class(), Class::Transient);
    }
}
