//! Secrets for requests.
//!
//! ```no_run
//! # fn f() -> Result<(), windlass_plugin::Failure> {
//! use windlass_plugin::{http, secrets};
//!
//! let token = secrets::stand_in("api-token")?;
//! let request = http::get("https://api.example.org/jobs").header("authorization", format!("Bearer {token}"));
//! let body = request.retry(3).send()?.success()?.text(64 * 1024)?;
//! # Ok(()) }
//! ```

use crate::Refusal;

/// A random text that stands for the secret's value, in this attempt only. The host puts the value in its place on the way out:
/// in the one header, parameter or body that the job's grant names, for the hosts that it names. Also within
/// `Basic` authorization. Anywhere else it is refused, and nothing is sent.
pub fn stand_in(secret: &str) -> Result<String, Refusal> {
    crate::bindings::job::windlass::plugin::secrets::stand_in(secret).map_err(Into::into)
}
