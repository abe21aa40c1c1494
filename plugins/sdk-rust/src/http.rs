//! A small blocking HTTP client over `wasi:http`. Redirects are not followed: the grant names hosts, so an author decides.
//!
//! ```no_run
//! # fn f() -> Result<(), windlass_plugin::Failure> {
//! use std::time::Duration;
//! use windlass_plugin::http;
//!
//! let response = http::get("https://example.org/api").first_byte_timeout(Duration::from_secs(5)).send()?;
//! let body = response.text(64 * 1024)?;
//! # Ok(()) }
//! ```

mod date;
mod error;
mod form;
mod request;
mod response;
mod retry;

pub use date::parse_date;
pub use error::Error;
pub use form::{encode_form, urlencode};
pub use request::{Request, get, post, request};
pub use response::Response;
