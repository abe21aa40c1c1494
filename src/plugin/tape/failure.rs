//! Errors of HTTP as a recording or a script writes them: the case of `wasi:http`'s `error-code`.

use wasmtime_wasi_http::Error;

use super::entry::Failure;

macro_rules! plain {
    ($($name:ident),* $(,)?) => {
        /// Cases that carry nothing.
        const PLAIN: &[&str] = &[$(stringify!($name)),*];

        fn name(error: &Error) -> Option<&'static str> {
            match error {
                $(Error::$name => Some(stringify!($name)),)*
                _ => None,
            }
        }

        fn plain(name: &str) -> Option<Error> {
            match name {
                $(stringify!($name) => Some(Error::$name),)*
                _ => None,
            }
        }
    };
}

plain!(
    DnsTimeout,
    DestinationNotFound,
    DestinationUnavailable,
    DestinationIpProhibited,
    DestinationIpUnroutable,
    ConnectionRefused,
    ConnectionTerminated,
    ConnectionTimeout,
    ConnectionReadTimeout,
    ConnectionWriteTimeout,
    ConnectionLimitReached,
    TlsProtocolError,
    TlsCertificateError,
    HttpRequestDenied,
    HttpRequestLengthRequired,
    HttpRequestMethodInvalid,
    HttpRequestUriInvalid,
    HttpRequestUriTooLong,
    HttpResponseIncomplete,
    HttpResponseTimeout,
    HttpUpgradeFailed,
    HttpProtocolError,
    LoopDetected,
    ConfigurationError,
);

impl Failure {
    /// Of an error that is one of the contract's cases already.
    pub fn of(error: &Error) -> Self {
        let (error, detail) = match error {
            Error::DnsError { rcode, .. } => ("DnsError", rcode.clone()),
            Error::HttpRequestBodySize(size) => ("HttpRequestBodySize", size.map(|size| size.to_string())),
            Error::HttpResponseBodySize(size) => ("HttpResponseBodySize", size.map(|size| size.to_string())),
            Error::InternalError(text) => ("InternalError", text.clone()),
            error => name(error).map_or_else(|| ("InternalError", Some(error.to_string())), |name| (name, None)),
        };
        Self { error: error.to_owned(), detail }
    }

    /// As the guest gets it. `None`: no such case.
    pub fn error(&self) -> Option<Error> {
        let detail = self.detail.clone();
        match self.error.as_str() {
            "DnsError" => Some(Error::DnsError { rcode: detail, info_code: None }),
            "HttpRequestBodySize" => Some(Error::HttpRequestBodySize(detail.and_then(|size| size.parse().ok()))),
            "HttpResponseBodySize" => Some(Error::HttpResponseBodySize(detail.and_then(|size| size.parse().ok()))),
            "InternalError" => Some(Error::InternalError(detail)),
            name => plain(name),
        }
    }

    /// The cases that a script may write.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PLAIN.iter().copied().chain(["DnsError"])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_comes_back() {
        let carrying = [Error::DnsError { rcode: Some("x".into()), info_code: None }, Error::HttpResponseBodySize(Some(9))];
        for error in PLAIN.iter().filter_map(|name| plain(name)).chain(carrying) {
            let failure = Failure::of(&error);
            let back = failure.error().map(|error| format!("{error:?}"));
            assert_eq!(back, Some(format!("{error:?}")));
        }
        assert!(Failure { error: "Nonsense".into(), detail: None }.error().is_none());
    }
}
