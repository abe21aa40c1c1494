//! What the host offers to guests, one capability a file.

pub mod artifact_source;
pub mod artifacts;
pub mod files;
pub mod http;
pub mod listing;

mod control;
mod fetch;
mod items;
mod log;
mod port;
mod progress;
mod secrets;
mod sign;
mod state;

/// The contract's shared words; it has no functions.
impl crate::plugin::bindings::windlass::plugin::types::Host for crate::plugin::instance::Guest {}
