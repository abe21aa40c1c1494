//! Kinds of work that must not crowd out others: which class a job is of, its tenant file says; what a class may take, the
//! server's.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// Of jobs and of classes.
pub const PRIORITIES: RangeInclusive<i32> = -100..=100;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Class {
    /// Runs of it at a time, over all nodes and tenants. Absent: no limit.
    pub running: Option<u32>,
    /// Added to those of its jobs: among the jobs of one tenant, the higher goes first.
    pub priority: i32,
}

impl Class {
    /// Its key that cannot be, and why.
    pub fn contradiction(&self) -> Option<(&'static str, String)> {
        if self.running == Some(0) {
            return Some(("running", "0 would let nothing of it run; write 1 or more, or leave it out".into()));
        }
        let (least, most) = (PRIORITIES.start(), PRIORITIES.end());
        let wrong = || ("priority", format!("{} is not possible; write {least} to {most}", self.priority));
        (!PRIORITIES.contains(&self.priority)).then(wrong)
    }
}
