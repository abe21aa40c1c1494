//! What came of a schedule's instants, and making up for them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::backfill::Preview;
use crate::clock::Timestamp;
use crate::id::Id;

/// An instant at which a schedule was due.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OccurrenceJson {
    pub due_at: Timestamp,
    /// ran, late, queued, merged, skipped, missed, suppressed or backfilled
    pub result: String,
    pub run: Option<Id>,
    pub note: Option<String>,
}

/// A notification that was taken in.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NoticedJson {
    pub id: Id,
    /// It was taken in before, under the same id or key.
    pub repeated: bool,
}

/// A body of `POST …/backfill`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBackfillJson {
    /// At or after.
    pub from: Timestamp,
    /// Before; not in the future.
    pub to: Timestamp,
    /// Which of the job's triggers, counted from 0; it may be left out when only one is a schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<usize>,
    /// Also instants that had a run.
    #[serde(default)]
    pub again: bool,
    /// Runs a second, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// For the audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// 409 when that is not how many runs it would make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<u64>,
    /// Say what it would do, and do nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a backfill would do.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BackfillJson {
    /// The cron line.
    pub schedule: String,
    pub zone: String,
    /// Runs it would make.
    pub total: u64,
    /// Instants in the window that had a run already.
    pub had: u64,
    /// What came of earlier times of the window is not known any more: they may have had a run. Null: all is known.
    pub known_since: Option<Timestamp>,
    /// The first of those that would have one.
    pub first: Vec<Timestamp>,
    /// The last of them, where there are more.
    pub last: Vec<Timestamp>,
}

impl From<Preview> for BackfillJson {
    fn from(preview: Preview) -> Self {
        let Preview { line, zone, total, had, known_since, first, last } = preview;
        Self { schedule: line, zone: zone.name().to_owned(), total, had, known_since, first, last }
    }
}
