//! Write Windlass plugins in Rust.
//!
//! ```
//! use windlass_plugin::{Failure, Work, log};
//!
//! fn run(work: &Work) -> Result<String, Failure> {
//!     let name: String = work.input()?;
//!     log::info!("attempt {}", work.attempt);
//!     Ok(format!("hello {name}"))
//! }
//!
//! windlass_plugin::job!(run);
//! ```
//!
//! A plugin has `job!`, and whichever of `backlog!`, `config_check!`, `describe!` and `finish!` it needs; what it does not
//! name is not in its component. `?` turns any standard error into a transient failure (retried); [`Failure`] says how to
//! choose otherwise. Everything the host offers is a module here: [`log`], [`progress`], [`control`], [`items`], [`state`],
//! [`sign`], [`secrets`], [`artifacts`], and [`http`] over `wasi:http`; [`text`] is for messages.

pub mod artifacts;
#[doc(hidden)]
pub mod bindings;
pub mod control;
#[doc(hidden)]
pub mod export;
mod failure;
pub mod http;
pub mod items;
pub mod log;
pub mod progress;
mod refusal;
pub mod secrets;
pub mod sign;
pub mod state;
pub mod text;
mod work;

pub use bindings::backlog::exports::windlass::plugin::backlog::{Measurement, Target};
pub use bindings::config::exports::windlass::plugin::config::Problem;
pub use bindings::finish::exports::windlass::plugin::finish::Totals;
pub use bindings::job::windlass::plugin::types::{Class, Counts, Output, Work};
pub use failure::Failure;
pub use refusal::Refusal;
pub use serde_json;

/// Unix milliseconds, from the guest's clock.
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// Compiles the README's examples.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
