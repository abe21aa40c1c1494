//! What the host offers to guests, one capability a file.

pub mod http;

mod control;
mod fetch;
mod items;
mod log;
mod port;
mod progress;
mod sign;
mod state;

/// The contract's shared words; it has no functions.
impl crate::plugin::bindings::windlass::plugin::types::Host for crate::plugin::instance::Guest {}
