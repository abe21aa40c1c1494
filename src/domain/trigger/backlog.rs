//! What a backlog trigger says: how often it is measured, by which probe, and what follows from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::probe::{ProbeKind, Source};
use crate::domain::span::Span;
use crate::error::Problem;

/// Runs that one measurement may make.
const MOST_PARALLEL: u32 = 1_000;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BacklogSpec {
    pub probe: ProbeKind,
    #[serde(default = "BacklogSpec::default_every")]
    pub every: Span,
    /// Pieces of work that one run is expected to deal with.
    #[serde(default = "BacklogSpec::default_per_run")]
    pub per_run: u64,
    #[serde(default = "BacklogSpec::default_max_parallel")]
    pub max_parallel: u32,
    /// The promise: no piece of work waits longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_limit: Option<Span>,
    /// Nothing starts until more than this waits; then work goes on until nothing does.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_above: u64,
    /// After a run has started, and after it has ended, no other starts for the backlog for so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cool_down: Option<Span>,
    // Each of these belongs to some kinds of probe: `probe.rs` says to which, and checks them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Measured by the plugin.
impl Default for BacklogSpec {
    fn default() -> Self {
        Self {
            probe: ProbeKind::Plugin,
            every: Self::default_every(),
            per_run: Self::default_per_run(),
            max_parallel: Self::default_max_parallel(),
            lag_limit: None,
            start_above: 0,
            cool_down: None,
            url: None,
            path: None,
            age: None,
            headers: None,
            header: None,
            secret: None,
            query: None,
            key: None,
            stream: None,
            group: None,
            queue: None,
            consumer: None,
            job: None,
        }
    }
}

impl BacklogSpec {
    pub(super) fn contradictions(&self, field: &str, max_live: u32) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut refuse = |key: &str, message: String| problems.push(Problem::new(format!("{field}.{key}"), message));
        if self.every < Span::secs(1) {
            refuse("every", format!("{} would flood the target; write at least \"1s\", as in \"15s\"", self.every));
        }
        if self.per_run == 0 {
            refuse("per_run", "0 is not possible; write how many pieces one run deals with, 1 or more".into());
        }
        if self.max_parallel == 0 {
            refuse("max_parallel", "0 would let nothing run; write 1 or more".into());
        }
        if self.max_parallel > MOST_PARALLEL {
            refuse(
                "max_parallel",
                format!("{} is above {MOST_PARALLEL}, the most at a time; write at most that", self.max_parallel),
            );
        }
        if max_live > 0 && self.max_parallel > max_live {
            refuse(
                "max_parallel",
                format!("{} is above max_live, {max_live}; write at most {max_live}, or a larger max_live", self.max_parallel),
            );
        }
        if let Some(limit) = self.lag_limit.filter(|limit| *limit < self.every) {
            refuse(
                "lag_limit",
                format!(
                    "{limit} is below every, {}: lag could not be seen in time; write at least \"{}\"",
                    self.every, self.every
                ),
            );
        }
        if let Some((limit, rest)) = self.lag_limit.zip(self.cool_down).filter(|(limit, rest)| rest >= limit) {
            refuse(
                "cool_down",
                format!("{rest} is not below lag_limit, {limit}: the promise could not be kept; write a shorter cool_down"),
            );
        }
        for (key, message) in Source::of(self).err().unwrap_or_default() {
            refuse(key, message);
        }
        problems
    }

    fn default_every() -> Span {
        Span::secs(15)
    }

    fn default_per_run() -> u64 {
        500
    }

    fn default_max_parallel() -> u32 {
        1
    }
}
