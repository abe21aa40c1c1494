//! Secrets for requests.

use crate::Refusal;

/// A random stand-in. The host puts the value in its place on the way out, where the grant allows it.
pub fn stand_in(secret: &str) -> Result<String, Refusal> {
    crate::bindings::job::windlass::plugin::secrets::stand_in(secret).map_err(Into::into)
}
