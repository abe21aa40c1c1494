//! How targets are spared.

use serde::{Deserialize, Serialize};

use crate::error::Problem;
use crate::span::Span;

/// What all guests together may do to one target (scheme, host and port); living nodes share it evenly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Target {
    /// Requests under way at a time.
    pub concurrency: u32,
    pub starts_per_second: u32,
    /// After so many failures in a row nothing goes there any more,
    pub failures: u32,
    /// but one request every so often, until one is answered.
    pub probe_every: Span,
}

impl Default for Target {
    fn default() -> Self {
        Self { concurrency: 64, starts_per_second: 200, failures: 3, probe_every: Span::secs(30) }
    }
}

impl Target {
    pub(super) fn contradictions(&self) -> Vec<Problem> {
        let numbers = [
            ("concurrency", self.concurrency, 100_000),
            ("starts_per_second", self.starts_per_second, 1_000_000),
            ("failures", self.failures, 1_000_000),
        ];
        let mut problems: Vec<Problem> = numbers
            .into_iter()
            .filter(|(_, number, most)| !(1..=*most).contains(number))
            .map(|(key, number, most)| {
                Problem::new(format!("network.target.{key}"), format!("{number} is not possible; write 1 to {most}"))
            })
            .collect();
        if !(Span::secs(1)..=Span::secs(3_600)).contains(&self.probe_every) {
            let message = format!("{} is not possible; write \"1s\" to \"1h\", as in \"30s\"", self.probe_every);
            problems.push(Problem::new("network.target.probe_every", message));
        }
        problems
    }
}
