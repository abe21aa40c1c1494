//! What a node takes at a time.

use serde::{Deserialize, Serialize};

use crate::span::Size;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Worker {
    /// Runs that this node works on at a time.
    pub runs_in_flight: u32,
    /// Threads that execute guests; they bound the CPU that guests take.
    pub guest_threads: usize,
    /// The grants of all guests at a time are not more than this. Absent: only `runs_in_flight` bounds them.
    pub memory_budget: Option<Size>,
}

impl Default for Worker {
    fn default() -> Self {
        Self { runs_in_flight: 256, guest_threads: 2, memory_budget: None }
    }
}

impl Worker {
    /// Keys that cannot be, and why.
    pub fn contradictions(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        if !(1..=100_000).contains(&self.runs_in_flight) {
            wrong.push(("runs_in_flight", format!("{} is not possible; write 1 to 100000", self.runs_in_flight)));
        }
        if !(1..=1_024).contains(&self.guest_threads) {
            let message = format!("{} is not possible; write 1 to 1024, best as many as cores", self.guest_threads);
            wrong.push(("guest_threads", message));
        }
        if let Some(budget) = self.memory_budget.filter(|budget| *budget < Size::mib(64)) {
            let message = format!("{budget} is not possible: a guest is granted 64 MiB as a rule; write more, as in \"4 GiB\"");
            wrong.push(("memory_budget", message));
        }
        wrong
    }
}
