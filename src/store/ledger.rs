//! What came of the instants of schedules, for people: of a job, of a tenant, of all; and what comes next.

use std::fmt;
use std::str::FromStr;

use chrono_tz::Tz;

use super::schedule::trigger;
use super::sql::{Row, Sql, args};
use super::tx::Tx;
use crate::clock::Timestamp;
use crate::domain::trigger::Trigger;
use crate::error::Result;
use crate::id::Id;

/// One instant, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub trigger: Id,
    pub job: Id,
    pub due_at: Timestamp,
    pub result: String,
    pub run: Option<Id>,
    pub note: Option<String>,
}

impl Line {
    pub fn place(&self) -> Place {
        Place { due_at: self.due_at, trigger: self.trigger }
    }
}

/// What may have come of an instant.
pub const RESULTS: [&str; 8] = ["ran", "late", "queued", "merged", "skipped", "missed", "suppressed", "backfilled"];

/// Where a page of the ledger ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub due_at: Timestamp,
    pub trigger: Id,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.due_at.0, self.trigger)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('.').and_then(|(at, trigger)| Some((at.parse().ok()?, trigger.parse().ok()?)));
        let (at, trigger) =
            parts.ok_or_else(|| format!("{text:?} is no place in the ledger: give the `next` of the page before"))?;
        Ok(Self { due_at: Timestamp(at), trigger })
    }
}

/// Which lines, newest first.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Without job and tenant: of all.
    pub job: Option<Id>,
    pub tenant: Option<Id>,
    /// Words in the name of tenant or job, as in "alpha / drain"; with the jobs that have them, when they are few.
    pub words: String,
    pub named: Vec<Id>,
    /// One result; any when there is none.
    pub result: Option<String>,
    /// Due at or after.
    pub since: Timestamp,
    pub before: Option<Place>,
    pub limit: u32,
}

/// A schedule that will be due.
#[derive(Debug, Clone, PartialEq)]
pub struct Coming {
    pub tenant: String,
    pub zone: Tz,
    pub job: String,
    pub paused: bool,
    pub trigger: Trigger,
    pub next_due_at: Timestamp,
}

static OF_JOB: Sql = Sql::new(
    "SELECT * FROM occurrence WHERE job = $1 AND due_at >= $2 AND due_at <= $3 AND (due_at < $3 OR trigger_id < $4) AND ($5 = '' OR result = $5) \
     ORDER BY due_at DESC, trigger_id DESC LIMIT $6",
);
static OF_TENANT: Sql = Sql::new(
    "SELECT * FROM occurrence o WHERE tenant = $1 AND due_at >= $2 AND due_at <= $3 AND (due_at < $3 OR trigger_id < $4) AND ($5 = '' OR result = $5) \
     AND ($6 = '' OR EXISTS (SELECT 1 FROM job j JOIN tenant n ON n.id = j.tenant WHERE j.id = o.job AND n.name || ' / ' || j.name LIKE $6 ESCAPE '!')) \
     ORDER BY due_at DESC, trigger_id DESC LIMIT $7",
);
static OF_ALL: Sql = Sql::new(
    "SELECT * FROM occurrence o WHERE due_at >= $1 AND due_at <= $2 AND (due_at < $2 OR trigger_id < $3) AND ($4 = '' OR result = $4) \
     AND ($5 = '' OR EXISTS (SELECT 1 FROM job j JOIN tenant n ON n.id = j.tenant WHERE j.id = o.job AND n.name || ' / ' || j.name LIKE $5 ESCAPE '!')) \
     ORDER BY due_at DESC, trigger_id DESC LIMIT $6",
);
/// Along the index of what did not just run; said twice, so that it is seen to be that one.
static OF_RESULT: Sql = Sql::new(
    "SELECT * FROM occurrence o WHERE result = $1 AND result <> 'ran' AND due_at >= $2 AND due_at <= $3 AND (due_at < $3 OR trigger_id < $4) \
     AND ($5 = 0 OR tenant = $5) \
     AND ($6 = '' OR EXISTS (SELECT 1 FROM job j JOIN tenant n ON n.id = j.tenant WHERE j.id = o.job AND n.name || ' / ' || j.name LIKE $6 ESCAPE '!')) \
     ORDER BY due_at DESC, trigger_id DESC LIMIT $7",
);
/// Few jobs: each is sought, and what is found is sorted; with the plus no index offers itself for the order instead.
static OF_JOBS: Sql = Sql::new(
    "SELECT * FROM occurrence WHERE (job) IN (VALUES {1}) AND due_at >= $1 AND due_at <= $2 AND (due_at < $3 OR trigger_id < $4) \
     AND ($5 = '' OR result = $6) ORDER BY +due_at DESC, trigger_id DESC LIMIT $7",
);
static COMING: Sql = Sql::new(
    "SELECT t.id, t.tenant, t.job, t.position, t.spec, s.next_due_at, j.name AS job_name, j.paused_at, n.name AS tenant_name, n.zone FROM schedule s \
     JOIN trigger t ON t.id = s.trigger_id JOIN job j ON j.id = s.job JOIN tenant n ON n.id = s.tenant \
     WHERE s.enabled = 1 AND s.next_due_at > 0 AND ($1 = 0 OR s.tenant = $1) AND ($2 = '' OR n.name || ' / ' || j.name LIKE $2 ESCAPE '!') \
     ORDER BY s.next_due_at, s.trigger_id LIMIT $3",
);

impl Tx {
    pub async fn ledger(&mut self, query: &Query) -> Result<Vec<Line>> {
        let Query { job, tenant, words, named, result, since, before, limit } = query;
        let last = before.unwrap_or(Place { due_at: Timestamp(i64::MAX), trigger: Id(i64::MAX) });
        let (result, pattern) =
            (result.clone().unwrap_or_default(), if words.is_empty() { String::new() } else { super::dead::like(words) });
        let place = args![*since, last.due_at, last.trigger];
        let rows = if let Some(job) = job {
            self.rows(&OF_JOB, [args![*job], place, args![result, *limit]].concat()).await?
        } else if !named.is_empty() {
            let keys: Vec<_> = named.iter().map(|job| args![*job]).collect();
            let rest = args![*since, last.due_at, last.due_at, last.trigger, result.clone(), result, *limit];
            self.rows_for_and(&OF_JOBS, &keys, &rest).await?
        } else if !result.is_empty() && result != "ran" {
            let scope = tenant.unwrap_or(Id(0));
            self.rows(&OF_RESULT, [args![result], place, args![scope, pattern, *limit]].concat()).await?
        } else if let Some(tenant) = tenant {
            self.rows(&OF_TENANT, [args![*tenant], place, args![result, pattern, *limit]].concat()).await?
        } else {
            self.rows(&OF_ALL, [place, args![result, pattern, *limit]].concat()).await?
        };
        rows.iter().map(line).collect()
    }

    /// Schedules by when they are due next: of one tenant, or all; `words` stand in the name of tenant or job.
    pub async fn coming(&mut self, tenant: Option<Id>, words: &str, limit: u32) -> Result<Vec<Coming>> {
        let pattern = if words.is_empty() { String::new() } else { super::dead::like(words) };
        let rows = self.rows(&COMING, args![tenant.unwrap_or(Id(0)), pattern, limit]).await?;
        rows.iter().map(coming).collect()
    }
}

fn line(row: &Row) -> Result<Line> {
    Ok(Line {
        trigger: row.id("trigger_id")?,
        job: row.id("job")?,
        due_at: row.time("due_at")?,
        result: row.text("result")?,
        run: row.opt_int("run")?.map(Id),
        note: row.opt_text("note")?,
    })
}

fn coming(row: &Row) -> Result<Coming> {
    Ok(Coming {
        tenant: row.text("tenant_name")?,
        zone: row.text("zone")?.parse().unwrap_or_default(),
        job: row.text("job_name")?,
        paused: row.opt_time("paused_at")?.is_some(),
        trigger: trigger(row)?,
        next_due_at: row.time("next_due_at")?,
    })
}
