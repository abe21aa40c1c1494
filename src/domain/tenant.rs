//! A tenant: owns jobs, limits, secrets and members.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::grant::Ceiling;
use super::job::JobSpec;
use super::plugin::is_name;
use super::span::Span;
use super::zone;
use crate::clock::Timestamp;
use crate::config::{AlertRule, Retention};
use crate::error::Problem;
use crate::id::Id;

/// One TOML file: a tenant with all its jobs. `docs/tenant-file.md` is its reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantFile {
    pub tenant: String,
    /// Default zone of schedules and pages, IANA name.
    #[serde(default = "default_zone", deserialize_with = "zone::read")]
    pub zone: Tz,
    /// Share of the workers when there are not enough: 2 gets twice what 1 gets.
    #[serde(default = "default_weight")]
    pub weight: u32,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub limits: TenantLimits,
    #[serde(default, skip_serializing_if = "TenantRetention::is_node")]
    pub retention: TenantRetention,
    /// Absent: the ceiling stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<Ceiling>,
    /// Who is told when something of it needs a person.
    #[serde(default, rename = "alert", skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<AlertRule>,
    #[serde(default, rename = "job")]
    pub jobs: Vec<JobSpec>,
}

fn default_zone() -> Tz {
    Tz::UTC
}

fn default_weight() -> u32 {
    1
}

/// Limits of the whole tenant, over all nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TenantLimits {
    /// Runs at a time.
    pub running: u32,
    /// Attempts that begin within a minute of the clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts_per_minute: Option<u32>,
    /// Runs that wait; more are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u32>,
}

impl Default for TenantLimits {
    fn default() -> Self {
        Self { running: 16, starts_per_minute: None, waiting: None }
    }
}

/// How long what is over is kept, where that is not as `retention` of windlass.toml says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TenantRetention {
    /// Runs that succeeded or were cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub succeeded: Option<Span>,
    /// Dead runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead: Option<Span>,
    /// Logs of runs; they go with their run at the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs: Option<Span>,
}

impl TenantRetention {
    /// What holds for the tenant.
    pub fn over(&self, node: &Retention) -> Retention {
        Retention {
            succeeded: self.succeeded.unwrap_or(node.succeeded),
            dead: self.dead.unwrap_or(node.dead),
            logs: self.logs.unwrap_or(node.logs),
        }
    }

    fn is_node(&self) -> bool {
        *self == Self::default()
    }

    fn contradictions(&self) -> Vec<Problem> {
        let spans = [("succeeded", self.succeeded), ("dead", self.dead), ("logs", self.logs)];
        let short = spans.into_iter().filter_map(|(key, span)| Some((key, span.filter(|span| *span < Span::secs(60))?)));
        short
            .map(|(key, span)| {
                Problem::new(format!("retention.{key}"), format!("{span} is not possible; write at least \"1m\", as in \"7d\""))
            })
            .collect()
    }
}

impl TenantFile {
    /// Contradictions above the jobs. Those of the jobs: [`JobSpec::contradictions`].
    pub fn contradictions(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut refuse = |key: &str, message: String| problems.push(Problem::new(key, message));
        if !is_name(&self.tenant) {
            refuse("tenant", format!("{:?} is no name; write a-z, 0-9 and -, beginning with a letter, at most 63", self.tenant));
        }
        if !(1..=1_000).contains(&self.weight) {
            refuse("weight", format!("{} is not possible; write 1 to 1000", self.weight));
        }
        if self.limits.running == 0 {
            refuse("limits.running", "0 would let nothing run; write 1 or more, or pause the jobs".into());
        }
        for (key, limit) in [("starts_per_minute", self.limits.starts_per_minute), ("waiting", self.limits.waiting)] {
            if limit == Some(0) {
                refuse(&format!("limits.{key}"), "0 would let nothing run; write 1 or more, or leave it out".into());
            }
        }
        problems.extend(self.retention.contradictions());
        let alerts = self.alerts.iter().enumerate();
        problems.extend(alerts.flat_map(|(n, rule)| rule.contradictions(&format!("alert[{n}]"), false)));
        problems.extend(self.ceiling.iter().flat_map(|ceiling| ceiling.contradictions("ceiling")));
        problems
    }
}

/// A tenant as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Tenant {
    pub id: Id,
    pub name: String,
    pub zone: Tz,
    pub weight: u32,
    pub labels: BTreeMap<String, String>,
    pub limits: TenantLimits,
    pub retention: TenantRetention,
    pub ceiling: Ceiling,
    pub alerts: Vec<AlertRule>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}
