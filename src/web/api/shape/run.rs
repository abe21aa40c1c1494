//! A run, and what hangs on it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::List;
use crate::clock::Timestamp;
use crate::domain::attempt::Counts;
use crate::domain::item::{ItemCounts, Items};
use crate::domain::log::Level;
use crate::id::Id;
use crate::store::dead::Settled;

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunJson {
    pub id: Id,
    pub tenant: String,
    pub job: String,
    pub state: String,
    pub page_state: String,
    pub why: Option<String>,
    pub trigger: TriggerOfRun,
    pub input: Value,
    pub attempt: u32,
    pub failed: u32,
    pub lost: u32,
    pub snoozed: u32,
    pub max_attempts: u32,
    pub created_at: Timestamp,
    pub due_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub plugin: PluginOfRun,
    pub progress: Option<ProgressJson>,
    pub items: ItemCounts,
    pub output: Value,
    pub cause: Option<String>,
    pub rerun_of: Option<Id>,
    /// What a success says of itself.
    pub summary: Option<String>,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// Pieces of the target's work.
    pub counts: Option<CountsJson>,
    /// A dead run that needs nobody any more.
    pub settled: Option<SettledJson>,
    /// Dead: the group of those that died of the same.
    pub group: Option<String>,
    /// In lists, which of `input` and `output` were left out for their size.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Newest first; not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Vec<AttemptJson>>,
}

/// Why the run exists. Keys beside `kind` depend on it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TriggerOfRun {
    pub kind: String,
    /// backlog: the size that asked for the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// manual, rerun: who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PluginOfRun {
    pub name: String,
    pub version: Option<String>,
    pub digest: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProgressJson {
    pub done: u64,
    pub total: Option<u64>,
    pub message: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CountsJson {
    pub taken: u64,
    pub done: u64,
    pub failed: u64,
    pub left: Option<u64>,
}

impl From<Counts> for CountsJson {
    fn from(Counts { taken, done, failed, left }: Counts) -> Self {
        Self { taken, done, failed, left }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SettledJson {
    pub at: Timestamp,
    pub by: String,
    /// The run that ran it again; null: discarded.
    pub rerun: Option<Id>,
    /// Discarded: until then it can be brought back.
    pub undo_until: Option<Timestamp>,
}

impl From<Settled> for SettledJson {
    fn from(Settled { at, by, rerun, undo_until }: Settled) -> Self {
        Self { at, by, rerun, undo_until }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AttemptJson {
    pub attempt: u32,
    pub node: i64,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub outcome: String,
    pub message: Option<String>,
    pub delay_ms: Option<i64>,
    /// Bytes of memory, at the most; absent while it runs.
    pub peak_memory: Option<u64>,
    /// HTTP requests, refused ones too.
    pub requests: Option<u64>,
    /// The most of each other limit, by its key in docs/limits.md; of what is missing nothing was taken, or it is not counted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub took: BTreeMap<String, u64>,
}

/// The answer to everything that makes a run.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Started<R = RunJson> {
    #[serde(flatten)]
    pub run: R,
    /// The job had all the unfinished runs it may have: this is one of them.
    pub merged: bool,
    /// The Idempotency-Key was seen before: this is its run.
    pub repeated: bool,
}

/// A run's name alone, for `Prefer: return=minimal`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
pub struct RunId {
    pub id: Id,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    pub attempt: u32,
    /// 1-based in its attempt; a gap is what was dropped.
    pub number: u64,
    pub at: Timestamp,
    pub level: Level,
    pub message: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LogJson {
    #[serde(flatten)]
    pub lines: List<LogLine>,
    /// Lines over the limit of the last attempt, which nobody has.
    pub dropped: u64,
    /// The state of the run when it was read: final means that no line follows.
    pub state: String,
}

/// A body of `POST …/runs`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NewRunJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
}

/// A body of `POST …/rerun`.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RerunJson {
    /// `open`: what is not done; `all`. Absent: what is not done, and all when everything is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Items>,
}

/// An empty object, for what has no input.
pub fn nothing() -> Value {
    Value::Object(Map::new())
}

/// A file that a run left behind.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ArtifactJson {
    pub name: String,
    pub media_type: String,
    pub bytes: u64,
    /// `sha256:…`
    pub digest: String,
    pub created_at: Timestamp,
}
