//! What a node takes at a time.

use serde::{Deserialize, Serialize};

use super::machine;
use crate::span::Size;

/// The budget where nobody can say what the machine has.
const UNKNOWN: Size = Size::mib(4 * 1024);
/// A guest is granted so much as a rule: no budget is less.
const LEAST: Size = Size::mib(64);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Worker {
    /// Runs that this node works on at a time.
    pub runs_in_flight: u32,
    /// Threads that execute guests; they bound the CPU that guests take.
    pub guest_threads: usize,
    /// The grants of all guests at a time are not more than this. Absent: three quarters of what the machine has, or its
    /// control group.
    pub memory_budget: Option<Size>,
}

impl Default for Worker {
    fn default() -> Self {
        Self { runs_in_flight: 256, guest_threads: 2, memory_budget: None }
    }
}

impl Worker {
    /// What the grants of all guests of this node at a time are not more than; whole MiB.
    pub fn budget(&self) -> Size {
        let own = || machine::has().map_or(UNKNOWN, |has| Size::mib((has.memory.0 / 4 * 3) >> 20).max(LEAST));
        self.memory_budget.unwrap_or_else(own)
    }

    /// The budget and where it comes from, for a person.
    pub fn budget_words(&self) -> String {
        let budget = self.budget();
        match (self.memory_budget, machine::has()) {
            (None, Some(machine::Has { memory, says })) => {
                format!("guests may be granted {budget} at a time, three quarters of the {memory} of {says}")
            }
            (None, None) => {
                format!("guests may be granted {budget} at a time: what the machine has cannot be read; set worker.memory_budget")
            }
            (Some(_), Some(machine::Has { memory, says })) => {
                let more =
                    if budget > memory { ", which is less: guests that use what they were granted are killed" } else { "" };
                format!("guests may be granted {budget} at a time, as worker.memory_budget says, of the {memory} of {says}{more}")
            }
            (Some(_), None) => format!("guests may be granted {budget} at a time, as worker.memory_budget says"),
        }
    }

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
        if let Some(budget) = self.memory_budget.filter(|budget| *budget < LEAST) {
            let message = format!("{budget} is not possible: a guest is granted 64 MiB as a rule; write more, as in \"4 GiB\"");
            wrong.push(("memory_budget", message));
        }
        wrong
    }
}
