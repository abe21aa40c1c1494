//! The JSON of everything, both ways: the server writes it, the command line reads it. docs/api.md is its reference; keys
//! are added, never renamed (docs/adr/0009).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::error::Problem;
use crate::id::Id;

mod alert;
mod apply;
mod audit;
mod dead;
mod item;
mod node;
mod run;
mod schedule;

pub use alert::*;
pub use apply::*;
pub use audit::*;
pub use dead::*;
pub use item::*;
pub use node::*;
pub use run::*;
pub use schedule::*;

/// One page of a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct List<T> {
    pub items: Vec<T>,
    /// Give it as `after` for the next page.
    pub next: Option<String>,
    pub count: Count,
}

/// Over all pages; `capped`: there are more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Count {
    pub value: u64,
    pub capped: bool,
}

impl Count {
    pub fn up_to(n: u64, cap: u64) -> Self {
        Self { value: n.min(cap), capped: n > cap }
    }
}

impl<T> List<T> {
    /// All there is.
    pub fn whole(items: Vec<T>) -> Self {
        let count = Count { value: items.len() as u64, capped: false };
        Self { items, next: None, count }
    }

    /// Items after `after` in an order that `key` gives, at most `limit`.
    pub fn page(mut items: Vec<T>, after: Option<&str>, limit: usize, key: impl Fn(&T) -> String) -> Self {
        let count = Count { value: items.len() as u64, capped: false };
        if let Some(after) = after {
            items.retain(|item| key(item).as_str() > after);
        }
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(key);
        Self { items, next, count }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct JobJson {
    pub tenant: String,
    pub name: String,
    pub plugin: PluginOfJob,
    pub class: String,
    pub priority: i32,
    pub max_live: u32,
    pub paused_at: Option<Timestamp>,
    pub paused_by: Option<String>,
    /// Then it is resumed by itself.
    pub paused_until: Option<Timestamp>,
    pub health: String,
    pub why: String,
    /// Of the health.
    pub since: Option<Timestamp>,
    pub triggers: Vec<TriggerOfJob>,
    pub next_due_at: Option<Timestamp>,
    pub revision: Id,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// A new version of its plugin beside the old one; not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutJson>,
    /// As applied; not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Value>,
    /// What holds, and who says so; not in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effective: Vec<EffectiveJson>,
}

/// A value that holds for a job.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EffectiveJson {
    /// In words, as on its page; of triggers, the ceiling and the limits of an attempt the key.
    pub what: String,
    pub value: String,
    /// job, tenant, server, server default
    pub from: String,
}

/// Two versions of a job's plugin. Attempts are counted since it began.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RolloutJson {
    pub old: VersionJson,
    pub new: VersionJson,
    /// How many of the new runs take the new version now, 0 to 1.
    pub share: f64,
    /// running, paused, rolled_back, promoted
    pub stage: String,
    /// Why Windlass moved it.
    pub why: Option<String>,
    pub began_at: Timestamp,
    pub changed_at: Timestamp,
    pub changed_by: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VersionJson {
    pub version: Option<String>,
    pub digest: String,
    pub done: u64,
    pub failed: u64,
}

/// A body without keys.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// How long a job is to rest.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseJson {
    /// Absent: until it is resumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PluginOfJob {
    /// As the tenant file says it.
    pub wanted: String,
    pub name: String,
    /// What new runs take; of two versions the one that is not on trial.
    pub version: Option<String>,
    pub digest: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TriggerOfJob {
    pub kind: String,
    pub spec: Value,
    /// schedule: when it is due next; five times for one job, one in a list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<Timestamp>,
    /// schedule: the line in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TenantJson {
    pub name: String,
    pub zone: String,
    pub weight: u32,
    pub labels: BTreeMap<String, String>,
    pub limits: LimitsJson,
    pub jobs: u64,
    /// The worst of its jobs'.
    pub health: String,
    /// Each up to 10,001 for "more than 10,000".
    pub runs: RunCounts,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LimitsJson {
    pub running: u32,
    /// Null: no limit.
    pub starts_per_minute: Option<u32>,
    /// Null: no limit.
    pub waiting: Option<u32>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
pub struct RunCounts {
    pub waiting: u64,
    pub running: u64,
    pub retrying: u64,
    /// That still need a person.
    pub dead: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BacklogJson {
    pub tenant: String,
    pub job: String,
    /// Null: never measured. It is not zero.
    pub size: Option<u64>,
    pub age_ms: Option<u64>,
    pub lag_ms: Option<u64>,
    pub lag_limit_ms: Option<u64>,
    pub rate_in_per_min: Option<f64>,
    pub rate_out_per_min: Option<f64>,
    pub empty_in_ms: Option<u64>,
    pub health: String,
    pub sampled_at: Option<Timestamp>,
    /// Of the last probe, when it failed; `size` is older then.
    pub error: Option<String>,
    pub why: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SecretJson {
    pub name: String,
    pub version: u64,
    pub updated_at: Timestamp,
    pub used_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenJson {
    pub id: Id,
    pub name: String,
    /// Null: the whole server.
    pub tenant: Option<String>,
    pub role: String,
    pub created_at: Timestamp,
    pub created_by: String,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    /// To the minute, and a minute late.
    pub used_at: Option<Timestamp>,
    /// Shown once, when it is issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// Somebody who can log in.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MemberJson {
    pub name: String,
    pub role: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PluginJson {
    pub name: String,
    pub version: String,
    pub digest: String,
    /// Null: the server's, for everybody.
    pub tenant: Option<String>,
    pub bytes: u64,
    pub exports: Vec<String>,
    pub imports: Vec<String>,
    pub description: Value,
    pub pushed_at: Timestamp,
    pub pushed_by: String,
    /// Whether a trusted key has signed it.
    #[serde(default)]
    pub signed: bool,
}

/// A plugin with its versions and the jobs that use them.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PluginShownJson {
    pub name: String,
    /// What the newest version says of itself.
    pub summary: String,
    /// Newest first.
    pub versions: Vec<PluginJson>,
    pub used_by: Vec<PluginUserJson>,
}

/// A job whose runs take a version of a plugin.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PluginUserJson {
    pub tenant: String,
    pub job: String,
    pub version: String,
    pub digest: String,
    /// Which of its runs, in words, as on the plugin's page: all, or a share of them.
    pub runs: String,
    /// As in its file.
    pub grant: Value,
}

/// A body of `POST tokens`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTokenJson {
    pub name: String,
    pub role: String,
    /// Absent: the whole server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Absent: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts_ms: Option<u64>,
}

/// A module on its way to a plugin: the answer of `POST plugins`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PushJson {
    pub id: Id,
    /// Absent: for everybody.
    pub tenant: Option<String>,
    /// The plugin's, or what it is called by who pushed it.
    pub name: String,
    /// Once it is ready.
    pub version: Option<String>,
    /// Of the bytes that were pushed.
    pub digest: String,
    pub bytes: u64,
    /// waiting, compiling, describing, ready, refused, lost
    pub state: String,
    /// Why it was refused or lost.
    pub message: Option<String>,
    /// Ready, and these bytes were not there before.
    pub new: bool,
    pub begun_at: Timestamp,
    /// The last word of the node that has it.
    pub at: Timestamp,
    pub pushed_by: String,
}

/// What every answer is that is no success: RFC 9457, `application/problem+json`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProblemJson {
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    /// Empty unless 422.
    pub errors: Vec<Problem>,
    /// The server's log knows it, too.
    pub request: String,
}

/// A key of a job's state.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StateJson {
    pub key: String,
    /// Of its value.
    pub bytes: u64,
    /// One more with every write.
    pub version: u64,
    pub updated_at: Timestamp,
}

/// The same with its value.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StateValueJson {
    pub key: String,
    pub bytes: u64,
    pub version: u64,
    /// The value, when it is text.
    pub text: Option<String>,
    /// The value.
    pub base64: String,
}
