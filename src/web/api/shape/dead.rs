//! Dead runs and operations on them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Count, RunJson};
use crate::app::operation::Preview;
use crate::clock::Timestamp;
use crate::domain::dead::{Standing, Which};
use crate::domain::run::Reason;
use crate::error::{Error, Result};
use crate::id::Id;

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeadJson {
    pub items: Vec<RunJson>,
    pub next: Option<String>,
    pub count: Count,
    /// Of all of the tenant that need a person: deleted within 24 h. Stops at 10,001.
    pub expiring: u64,
}

/// Dead runs of one job and one message, with numbers and ids folded.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CauseJson {
    pub tenant: String,
    pub group: String,
    pub job: String,
    pub cause: String,
    /// Of the newest of them.
    pub message: String,
    pub count: u64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    /// The newest of them.
    pub last: Id,
}

/// Which dead runs. `groups` and `runs` are `TENANT/GROUP` and `TENANT/ID`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WhichJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub cause: Option<Reason>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// `expiring`: only those that are deleted within 24 h.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub state: Option<Standing>,
}

impl WhichJson {
    /// # Errors
    /// `Invalid` for a group or a run that is not written so.
    pub fn which(self) -> Result<Which> {
        Ok(Which {
            tenant: self.tenant,
            job: self.job,
            cause: self.cause,
            groups: pairs("groups", &self.groups, "alpha/-123456")?,
            runs: pairs("runs", &self.runs, "alpha/01KASV7Q2M4T9")?,
            since: self.since,
            until: self.until,
            words: self.words,
            standing: self.state.unwrap_or_default(),
        })
    }
}

fn pairs<T: std::str::FromStr>(field: &str, texts: &[String], example: &str) -> Result<Vec<(String, T)>> {
    let pair = |text: &String| {
        let found = text.split_once('/').and_then(|(tenant, rest)| Some((tenant.to_owned(), rest.parse().ok()?)));
        found.ok_or_else(|| Error::invalid(field, format!("{text:?} is not written as in {example:?}")))
    };
    texts.iter().map(pair).collect()
}

impl From<Which> for WhichJson {
    fn from(which: Which) -> Self {
        Self {
            tenant: which.tenant,
            job: which.job,
            cause: which.cause,
            groups: which.groups.iter().map(|(tenant, print)| format!("{tenant}/{print}")).collect(),
            runs: which.runs.iter().map(|(tenant, run)| format!("{tenant}/{run}")).collect(),
            since: which.since,
            until: which.until,
            words: which.words,
            state: Some(which.standing),
        }
    }
}

/// A body of `POST operations`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOperationJson {
    /// rerun, discard or undo
    pub action: String,
    #[serde(default)]
    pub which: WhichJson,
    /// Runs a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// For the audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// 409 when that is not how many there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<u64>,
    /// Say what it would do, and do nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What an operation would do.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PreviewJson {
    pub total: u64,
    /// There are more than one operation takes.
    pub more: bool,
    pub jobs: Vec<RunsOfJob>,
    /// When the first of them died.
    pub oldest: Option<Timestamp>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunsOfJob {
    pub tenant: String,
    pub job: String,
    pub runs: u64,
}

impl From<Preview> for PreviewJson {
    fn from(preview: Preview) -> Self {
        let jobs = preview.jobs.into_iter().map(|(tenant, job, runs)| RunsOfJob { tenant, job, runs }).collect();
        Self { total: preview.total, more: preview.more, jobs, oldest: preview.oldest }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OperationJson {
    pub id: Id,
    /// Null: of several tenants.
    pub tenant: Option<String>,
    pub action: String,
    /// running, done or cancelled
    pub state: String,
    pub total: u64,
    pub done: u64,
    /// Left as they were: settled meanwhile, or they could not be run again.
    pub left: u64,
    pub rate: u32,
    pub reason: String,
    pub which: WhichJson,
    pub by: String,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// Why it does not go on at this moment: limits.waiting of a tenant, or max_live of its job.
    pub waits: Option<String>,
}
