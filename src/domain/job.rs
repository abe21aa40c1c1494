//! A job: plugin + config + triggers + policy.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::grant::Grant;
use super::plugin::PluginRef;
use super::retry::RetrySpec;
use super::rollout::Canary;
use super::span::Span;
use super::trigger::{BacklogSpec, TriggerSpec};
use crate::clock::Timestamp;
use crate::config::PRIORITIES;
use crate::error::Problem;
use crate::id::Id;

/// A `[[job]]` of a tenant file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    pub name: String,
    pub plugin: PluginRef,
    /// Another version of it, for a share of the runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    #[serde(default = "default_class")]
    pub class: String,
    #[serde(default)]
    pub priority: i32,
    /// Runs at a time, over all nodes, however many wait. Absent: as many as its tenant and class may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<u32>,
    /// Unfinished runs at a time; 0 for no limit.
    #[serde(default = "default_max_live")]
    pub max_live: u32,
    #[serde(default)]
    pub config: Map<String, Value>,
    /// Of one attempt; `should-stop` turns true `grace` before it, the hard stop is the limit itself.
    #[serde(default = "default_time_limit")]
    pub time_limit: Span,
    /// Absent: 5 s, or a tenth of a shorter limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<Span>,
    /// Over all attempts, from the first start on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_limit: Option<Span>,
    /// A run that has not started so long after it was due does not start any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_deadline: Option<Span>,
    /// No progress for so long ends the attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall_limit: Option<Span>,
    #[serde(default)]
    pub retry: RetrySpec,
    /// A run that ended well is run again by a person only so long after. Absent: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_after: Option<Span>,
    #[serde(default)]
    pub items: ItemsSpec,
    #[serde(default)]
    pub success_due: SuccessDue,
    #[serde(default)]
    pub record: Record,
    #[serde(default)]
    pub triggers: Vec<TriggerSpec>,
    #[serde(default)]
    pub grant: Grant,
}

fn default_class() -> String {
    "default".into()
}

fn default_max_live() -> u32 {
    1
}

fn default_time_limit() -> Span {
    Span::secs(60)
}

/// Of which attempts all that the guest learned is kept, so that they can be played again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Record {
    Never,
    #[default]
    #[serde(alias = "on_failure")]
    OnFailure,
    Always,
}

/// How the pieces of work inside a run decide its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ItemsSpec {
    /// The run is dead when a strictly greater share of its pieces failed. Absent: 0.5; 0 where the order is strict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_threshold: Option<f64>,
    pub order: Order,
    /// Its items are worked on by programs outside, over the API; the guest only declares them.
    pub outside: bool,
    /// How often an item is handed to a worker outside before it is given up as lost.
    pub max_deliver: u32,
    /// Guests that work on one run's items at a time, on any node; each takes `chunk` of them.
    pub parallel: u32,
    pub chunk: u32,
}

impl Default for ItemsSpec {
    fn default() -> Self {
        Self { failure_threshold: None, order: Order::default(), outside: false, max_deliver: 2, parallel: 1, chunk: 10 }
    }
}

/// Whether an item may begin before those declared before it have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    #[default]
    Any,
    /// One after another; a failure skips what follows.
    Strict,
}

impl ItemsSpec {
    /// A greater share of failed pieces is the run's death.
    pub fn threshold(&self) -> f64 {
        self.failure_threshold.unwrap_or(match self.order {
            Order::Any => 0.5,
            Order::Strict => 0.0,
        })
    }

    /// Whether its items are leased one by one, while no node has the run.
    pub fn are_handed_out(&self) -> bool {
        self.outside || self.parallel > 1
    }

    fn contradictions(&self, field: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut refuse = |key: &str, message: String| problems.push(Problem::new(format!("{field}.{key}"), message));
        for (key, number, most) in [("parallel", self.parallel, 64), ("chunk", self.chunk, 1_000)] {
            if !(1..=most).contains(&number) {
                refuse(key, format!("{number} is not possible; write 1 to {most}"));
            }
        }
        if self.parallel > 1 && (self.outside || self.order == Order::Strict) {
            let other = if self.outside { "outside = true" } else { "order = \"strict\"" };
            refuse(
                "parallel",
                format!("{} guests at a time and {other} do not go together; leave one of them out", self.parallel),
            );
        }
        if let Some(share) = self.failure_threshold.filter(|share| !(0.0..=1.0).contains(share)) {
            refuse("failure_threshold", format!("{share} is no share; write 0 to 1"));
        }
        if self.outside && self.order == Order::Strict {
            refuse(
                "outside",
                "workers outside take several items at a time, and order = \"strict\" allows one; leave one of them out".into(),
            );
        }
        if !(1..=100).contains(&self.max_deliver) {
            refuse("max_deliver", format!("{} is not possible; write 1 to 100", self.max_deliver));
        }
        problems
    }
}

/// When a success is due: by the triggers, or within a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SuccessDue {
    #[default]
    Auto,
    Within(Span),
}

impl TryFrom<String> for SuccessDue {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        humantime::parse_duration(&text)
            .map(|span| Self::Within(Span(span)))
            .map_err(|_| format!("{text:?} is neither \"auto\" nor a duration such as \"15m\""))
    }
}

impl From<SuccessDue> for String {
    fn from(due: SuccessDue) -> Self {
        match due {
            SuccessDue::Auto => "auto".into(),
            SuccessDue::Within(span) => span.to_string(),
        }
    }
}

impl JobSpec {
    /// `should-stop` turns true so long before the time limit.
    pub fn grace(&self) -> Span {
        self.grace.unwrap_or_else(|| Span(std::time::Duration::from_secs(5).min(self.time_limit.0 / 10)))
    }

    /// Its backlog trigger, where it has one.
    pub fn backlog(&self) -> Option<&BacklogSpec> {
        self.triggers.iter().find_map(TriggerSpec::backlog)
    }

    /// Contradictions between fields. `field` is the job's path in its file, as in `job[0]`.
    pub fn contradictions(&self, field: &str) -> Vec<Problem> {
        let mut problems = self.wrong_limits(field);
        let mut refuse = |key: &str, message: String| problems.push(Problem::new(format!("{field}.{key}"), message));
        if !super::plugin::is_name(&self.name) {
            refuse("name", format!("{:?} is no name; write a-z, 0-9 and -, beginning with a letter, at most 63", self.name));
        }
        if !super::plugin::is_name(&self.class) {
            refuse("class", format!("{:?} is no name of a class; write a-z, 0-9 and -, beginning with a letter", self.class));
        }
        for (n, trigger) in self.triggers.iter().enumerate() {
            if let Some(same) = self.triggers[..n].iter().position(|other| other == trigger) {
                refuse(&format!("triggers[{n}]"), format!("is the same as triggers[{same}]; one of them is enough"));
            }
        }
        let mut backlogs = self.triggers.iter().enumerate().filter(|(_, trigger)| trigger.kind() == "backlog").skip(1);
        if let Some((n, _)) = backlogs.next() {
            refuse(&format!("triggers[{n}].backlog"), "a job has one backlog; write a job for each target".into());
        }
        if let Some((n, _)) = self.triggers.iter().enumerate().filter(|(_, trigger)| trigger.webhook().is_some()).nth(1) {
            refuse(&format!("triggers[{n}].webhook"), "a job has one webhook, at its own address; write another job".into());
        }
        problems.extend(self.canary.iter().flat_map(|canary| canary.contradictions(&self.plugin, &format!("{field}.canary"))));
        problems.extend(self.items.contradictions(&format!("{field}.items")));
        problems.extend(self.retry.contradictions(&format!("{field}.retry")));
        let triggers = self.triggers.iter().enumerate();
        problems
            .extend(triggers.flat_map(|(n, trigger)| trigger.contradictions(&format!("{field}.triggers[{n}]"), self.max_live)));
        problems.extend(self.grant.contradictions(&format!("{field}.grant")));
        problems
    }

    fn wrong_limits(&self, field: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut refuse = |key: &str, message: String| problems.push(Problem::new(format!("{field}.{key}"), message));
        match self.running {
            Some(0) => refuse("running", "0 would let nothing run; write 1 or more, leave it out, or pause the job".into()),
            Some(running) if (1..running).contains(&self.max_live) => {
                let max_live = self.max_live;
                refuse(
                    "running",
                    format!(
                        "{running} is above max_live, {max_live}, and could never be reached; write at most {max_live}, or a higher max_live"
                    ),
                );
            }
            _ => {}
        }
        if !PRIORITIES.contains(&self.priority) {
            let (least, most) = (PRIORITIES.start(), PRIORITIES.end());
            refuse("priority", format!("{} is not possible; write {least} to {most}", self.priority));
        }
        if self.time_limit.0.is_zero() {
            refuse("time_limit", "0s would let nothing run; write how long an attempt may take, as in \"60s\"".into());
        }
        if let Some(total) = self.total_limit.filter(|total| self.time_limit > *total) {
            refuse(
                "time_limit",
                format!(
                    "{} is above total_limit, {total}, and an attempt cannot last longer than all of them; write at most \"{total}\", or a longer total_limit",
                    self.time_limit
                ),
            );
        }
        if let Some(total) = self.total_limit.filter(|total| self.retry.attempts > 1 && self.retry.base > *total) {
            let base = self.retry.base;
            refuse(
                "retry.base",
                format!(
                    "{base} is above total_limit, {total}: no second attempt could begin; write a shorter one, or a longer total_limit"
                ),
            );
        }
        if let Some(grace) = self.grace.filter(|grace| *grace >= self.time_limit) {
            refuse(
                "grace",
                format!(
                    "{grace} is not below time_limit, {}: the run would be told to stop at once; write a shorter one, as in \"5s\"",
                    self.time_limit
                ),
            );
        }
        // With workers outside it bounds them too, long after the attempt.
        if let Some(stall) = self.stall_limit.filter(|stall| *stall > self.time_limit && !self.items.outside) {
            refuse(
                "stall_limit",
                format!("{stall} is above time_limit, {}: it could never be reached; write a shorter one", self.time_limit),
            );
        }
        let within = match self.success_due {
            SuccessDue::Within(span) => Some(span),
            SuccessDue::Auto => None,
        };
        let spans =
            [("stall_limit", self.stall_limit), ("start_deadline", self.start_deadline), ("rerun_after", self.rerun_after)];
        for (key, span) in spans.into_iter().chain([("success_due", within)]) {
            if span.is_some_and(|span| span.0.is_zero()) {
                refuse(key, "0s is not possible; write a duration such as \"30s\", or leave it out".into());
            }
        }
        problems
    }
}

/// A job as stored, in its current revision.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub id: Id,
    pub tenant: Id,
    pub tenant_name: String,
    pub revision: Id,
    pub spec: JobSpec,
    /// Of the plugin that `spec.plugin` stood for when the job was applied.
    pub digest: String,
    pub paused_at: Option<Timestamp>,
    pub paused_by: Option<String>,
    /// Then it is resumed by itself.
    pub paused_until: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}
