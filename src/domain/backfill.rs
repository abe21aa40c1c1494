//! Runs for instants of a schedule that have passed: which ones, as somebody asks for them.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::Id;

/// Instants of one backfill; for more it is asked for again.
pub const INSTANTS: usize = 10_000;

/// Which instants are made up for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The schedule.
    pub trigger: Id,
    /// At or after.
    pub from: Timestamp,
    /// Before.
    pub to: Timestamp,
    /// Also those that had a run.
    pub again: bool,
}

/// Whether an instant whose occurrence says this has had its run, or will.
pub fn had_a_run(result: &str) -> bool {
    matches!(result, "ran" | "late" | "queued" | "merged" | "backfilled")
}
