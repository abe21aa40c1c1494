//! A small key-value store of the job: it outlives runs. Writes compare and set.

use crate::Refusal;
use crate::bindings::job::windlass::plugin::state;
pub use crate::bindings::job::windlass::plugin::state::Entry;

pub fn get(key: &str) -> Result<Option<Entry>, Refusal> {
    state::get(key).map_err(Into::into)
}

/// `expected` is the version that was read, `Some(0)` for a key that must not exist yet, `None` to write regardless.
/// Answers the new version.
pub fn set(key: &str, value: &[u8], expected: Option<u64>) -> Result<u64, Refusal> {
    state::set(key, value, expected).map_err(Into::into)
}

pub fn delete(key: &str, expected: Option<u64>) -> Result<(), Refusal> {
    state::delete(key, expected).map_err(Into::into)
}

/// Keys with this prefix, in order, at most 1,000.
pub fn keys(prefix: &str) -> Result<Vec<String>, Refusal> {
    state::keys(prefix).map_err(Into::into)
}
