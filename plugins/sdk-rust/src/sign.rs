//! Signatures with a secret that the guest never sees.

use crate::Refusal;

/// The raw signature of `bytes`; the algorithm (`hmac-sha1`, `hmac-sha256`, …) must be the one the job's grant names.
pub fn sign(secret: &str, algorithm: &str, bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    crate::bindings::job::windlass::plugin::sign::sign(secret, algorithm, bytes).map_err(Into::into)
}

/// The same in lower-case hexadecimal, as most targets want it.
pub fn sign_hex(secret: &str, algorithm: &str, bytes: &[u8]) -> Result<String, Refusal> {
    let signature = sign(secret, algorithm, bytes)?;
    Ok(signature.iter().map(|byte| format!("{byte:02x}")).collect())
}
