//! Errors of the connection, in the contract's words.

use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;

/// What the guest will see of an error that has no case of the contract; `None` for one that has.
pub fn plainly(error: &Error) -> Option<Error> {
    match error {
        Error::Hyper(wrong) => Some(of_hyper(wrong).into()),
        Error::Connect(wrong) => Some(of_connect(wrong).into()),
        Error::Tls(wrong) => Some(of_tls(wrong).into()),
        _ => None,
    }
}

pub fn of_hyper(wrong: &hyper::Error) -> ErrorCode {
    if wrong.is_timeout() {
        ErrorCode::ConnectionReadTimeout
    } else if wrong.is_incomplete_message() || wrong.is_closed() || wrong.is_canceled() {
        ErrorCode::ConnectionTerminated
    } else {
        ErrorCode::HttpProtocolError
    }
}

pub fn of_connect(wrong: &std::io::Error) -> ErrorCode {
    match wrong.kind() {
        std::io::ErrorKind::ConnectionRefused => ErrorCode::ConnectionRefused,
        std::io::ErrorKind::TimedOut => ErrorCode::ConnectionTimeout,
        _ => ErrorCode::DestinationUnavailable,
    }
}

pub fn of_tls(wrong: &std::io::Error) -> ErrorCode {
    if wrong.to_string().contains("certificate") { ErrorCode::TlsCertificateError } else { ErrorCode::TlsProtocolError }
}
