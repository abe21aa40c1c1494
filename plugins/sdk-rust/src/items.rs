//! Named pieces of work inside a run, each recorded once however often it is reported.

use crate::Refusal;
use crate::bindings::job::windlass::plugin::items;
pub use crate::bindings::job::windlass::plugin::items::{Ending, Item, Status};

/// Adds items; known ones are left as they are. Answers how many are open.
pub fn declare(items: &[Item]) -> Result<u64, Refusal> {
    items::declare(items).map_err(Into::into)
}

/// The next open items, at most `max`; empty when none is left.
pub fn next(max: u32) -> Result<Vec<Item>, Refusal> {
    items::next(max).map_err(Into::into)
}

/// Ends items; answers how many had not ended before.
pub fn finish(endings: &[Ending]) -> Result<u64, Refusal> {
    items::finish(endings).map_err(Into::into)
}
