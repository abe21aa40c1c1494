//! What grows is cut: history and what hangs on it, samples, occurrences. Unfinished work is never touched. A reader looks
//! first: the writer is taken only when there is something to cut.

use std::time::Duration;

use super::record::{CANCELLED, DEAD};
use super::sql::{Dialect, Sql, args};
use super::tx::Tx;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::Id;

/// How long it is known who did what, and how much ran in which hour.
const YEAR: Duration = Duration::from_secs(400 * 24 * 3600);
/// How long it is known how pushes ended.
const PUSHED: Duration = Duration::from_secs(24 * 3600);
/// Runs a chunk: the writer waits while one is cut.
pub const CHUNK: u32 = 1_000;

/// A revision replaced so long ago is not given to runs any more.
const REPLACED: Duration = Duration::from_secs(2 * 3600);

/// What goes beside runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    /// Operations begun before that are over.
    pub operations: Timestamp,
    /// Minutes before become hours.
    pub minute: i64,
}

/// Before which instant what is over goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Runs that succeeded or were cancelled.
    pub succeeded: Timestamp,
    pub dead: Timestamp,
    pub logs: Timestamp,
}

// Nobody ended before who was made after: `id < $2` bounds the walk.
static OLD_WELL: Sql =
    Sql::new("SELECT id FROM done WHERE tenant = $1 AND state = 0 AND id < $2 AND ended_at < $3 ORDER BY id LIMIT $4");
static OLD_BAD: Sql = Sql::new(
    "SELECT id FROM done WHERE tenant = $1 AND state = $2 AND state <> 0 AND id < $3 AND ended_at < $4 ORDER BY id LIMIT $5",
);
static OLD_LOGS: Sql = Sql::new(
    "SELECT DISTINCT l.run FROM log l JOIN done d ON d.tenant = l.tenant AND d.id = l.run WHERE l.tenant = $1 AND l.run < $2 AND d.ended_at < $3 LIMIT $4",
);
/// A revision that a newer one has replaced, and the job's oldest run is younger than that by an hour and more: seeks, where
/// asking who names a revision would walk the job's history. Ids with ids: their time is ahead of the clock after it went back.
/// 7549747200000: the ids of an hour.
static OLD_REVISIONS: Sql = Sql::new(
    "SELECT r.id FROM job_revision r WHERE EXISTS (SELECT 1 FROM job_revision n WHERE n.job = r.job AND n.id > r.id AND n.created_at < $1 \
     AND NOT EXISTS (SELECT 1 FROM done d WHERE d.job = n.job AND d.id < n.id + 7549747200000) \
     AND NOT EXISTS (SELECT 1 FROM ready y WHERE y.job = n.job AND y.id < n.id + 7549747200000) \
     AND NOT EXISTS (SELECT 1 FROM later t WHERE t.job = n.job AND t.id < n.id + 7549747200000) \
     AND NOT EXISTS (SELECT 1 FROM lease l WHERE l.tenant = n.tenant AND l.job = n.job AND l.id < n.id + 7549747200000)) \
     ORDER BY r.id LIMIT $2",
);
static OLD_SAMPLES: Sql = Sql::new(
    "SELECT j.id FROM job j WHERE EXISTS (SELECT 1 FROM backlog_sample s WHERE s.job = j.id AND s.at < $1) \
     OR EXISTS (SELECT 1 FROM occurrence o WHERE o.job = j.id AND o.due_at < $1 AND o.result <> 'queued')",
);
static OLD_REST: Sql = Sql::new(
    "SELECT CAST(CASE WHEN EXISTS (SELECT 1 FROM session WHERE expires_at < $1) OR EXISTS (SELECT 1 FROM dedupe WHERE expires_at < $1) \
     OR EXISTS (SELECT 1 FROM audit WHERE id < $2) \
     OR EXISTS (SELECT 1 FROM operation WHERE id < $3 AND ended_at IS NOT NULL) OR EXISTS (SELECT 1 FROM tally WHERE minute < $4) \
     OR EXISTS (SELECT 1 FROM push WHERE id < $5) OR EXISTS (SELECT 1 FROM alert WHERE closed_at < $6) \
     OR EXISTS (SELECT 1 FROM silence WHERE until < $1) OR EXISTS (SELECT 1 FROM delivery d WHERE d.id < $7 AND d.ended_at IS NOT NULL AND EXISTS \
     (SELECT 1 FROM delivery n WHERE n.alert = d.alert AND n.owner = d.owner AND n.sink = d.sink AND n.id > d.id)) THEN 1 ELSE 0 END AS BIGINT) AS n",
);
static CUT_DONE: Sql = Sql::new("DELETE FROM done WHERE (tenant, id) IN (VALUES {2})");
static CUT_ATTEMPT: Sql = Sql::new("DELETE FROM attempt WHERE (tenant, run) IN (VALUES {2})");
static CUT_PAYLOAD: Sql = Sql::new("DELETE FROM payload WHERE (tenant, run) IN (VALUES {2})");
static CUT_PROGRESS: Sql = Sql::new("DELETE FROM progress WHERE (tenant, run) IN (VALUES {2})");
static CUT_LOG: Sql = Sql::new("DELETE FROM log WHERE (tenant, run) IN (VALUES {2})");
static CUT_CALLS: Sql = Sql::new("DELETE FROM http_call WHERE (tenant, run) IN (VALUES {2})");
static CUT_ITEMS: Sql = Sql::new("DELETE FROM item WHERE (tenant, run) IN (VALUES {2})");
static CUT_RECORDINGS: Sql = Sql::new("DELETE FROM recording WHERE (tenant, run) IN (VALUES {2})");
static CUT_SETTLED: Sql = Sql::new("DELETE FROM settled WHERE (tenant, run) IN (VALUES {2})");
static CUT_REVISIONS: Sql = Sql::new("DELETE FROM job_revision WHERE (id) IN (VALUES {1})");
static CUT_SAMPLES: Sql = Sql::new("DELETE FROM backlog_sample WHERE job = $1 AND at < $2");
static CUT_WORKERS: Sql = Sql::new("DELETE FROM item_worker WHERE job = $1 AND seen_at < $2");
static CUT_OCCURRENCES: Sql = Sql::new("DELETE FROM occurrence WHERE job = $1 AND due_at < $2 AND result <> 'queued'");
static CUT_SESSIONS: Sql = Sql::new("DELETE FROM session WHERE expires_at < $1");
static CUT_AUDIT: Sql = Sql::new("DELETE FROM audit WHERE id < $1");
static CUT_HOURS: Sql = Sql::new("DELETE FROM tally_hour WHERE hour < $1");
static CUT_DEDUPE: Sql = Sql::new("DELETE FROM dedupe WHERE expires_at < $1");
static ANALYZE: Sql = Sql::new("ANALYZE");

impl Tx {
    /// A tenant's runs whose time is over, at most [`CHUNK`] of each state.
    pub async fn old_runs(&mut self, tenant: Id, cut: &Cut) -> Result<Vec<Id>> {
        let well = args![tenant, Id::first_at(cut.succeeded), cut.succeeded, CHUNK];
        let bad = |state: i64, at: Timestamp| args![tenant, state, Id::first_at(at), at, CHUNK];
        let mut rows = self.rows(&OLD_WELL, well).await?;
        rows.extend(self.rows(&OLD_BAD, bad(DEAD, cut.dead)).await?);
        rows.extend(self.rows(&OLD_BAD, bad(CANCELLED, cut.succeeded)).await?);
        rows.iter().map(|row| row.id("id")).collect()
    }

    /// Cuts runs that are over, with all that hangs on them.
    pub async fn prune_runs(&mut self, tenant: Id, runs: &[Id]) -> Result<()> {
        let keys: Vec<_> = runs.iter().map(|run| args![tenant, *run]).collect();
        self.prune_artifacts(&keys).await?;
        self.prune_used_digests(&keys).await?;
        let hanging =
            [&CUT_ATTEMPT, &CUT_PAYLOAD, &CUT_PROGRESS, &CUT_LOG, &CUT_CALLS, &CUT_RECORDINGS, &CUT_ITEMS, &CUT_SETTLED];
        for sql in hanging.into_iter().chain([&CUT_DONE]) {
            self.exec_keys(sql, &keys).await?;
        }
        Ok(())
    }

    /// A tenant's runs whose logs' time is over, at most [`CHUNK`].
    pub async fn old_logs(&mut self, tenant: Id, cut: &Cut) -> Result<Vec<Id>> {
        let rows = self.rows(&OLD_LOGS, args![tenant, Id::first_at(cut.logs), cut.logs, CHUNK]).await?;
        rows.iter().map(|row| row.id("run")).collect()
    }

    /// Cuts logs and calls of runs that are over.
    pub async fn prune_logs(&mut self, tenant: Id, runs: &[Id]) -> Result<()> {
        let keys: Vec<_> = runs.iter().map(|run| args![tenant, *run]).collect();
        for sql in [&CUT_LOG, &CUT_CALLS] {
            self.exec_keys(sql, &keys).await?;
        }
        Ok(())
    }

    /// Revisions that no run names any more, at most [`CHUNK`].
    pub async fn old_revisions(&mut self, now: Timestamp) -> Result<Vec<Id>> {
        let rows = self.rows(&OLD_REVISIONS, args![now.minus(REPLACED), CHUNK]).await?;
        rows.iter().map(|row| row.id("id")).collect()
    }

    pub async fn prune_revisions(&mut self, revisions: &[Id]) -> Result<()> {
        self.exec_keys(&CUT_REVISIONS, &revisions.iter().map(|id| args![*id]).collect::<Vec<_>>()).await?;
        Ok(())
    }

    /// Jobs with samples or occurrences from before.
    pub async fn jobs_with_old_samples(&mut self, before: Timestamp) -> Result<Vec<Id>> {
        self.rows(&OLD_SAMPLES, args![before]).await?.iter().map(|row| row.id("id")).collect()
    }

    /// Cuts samples and occurrences of a job, and workers outside that do not come any more.
    pub async fn prune_job(&mut self, job: Id, cut: Timestamp) -> Result<()> {
        self.exec(&CUT_SAMPLES, args![job, cut]).await?;
        self.exec(&CUT_WORKERS, args![job, cut]).await?;
        self.exec(&CUT_OCCURRENCES, args![job, cut]).await?;
        Ok(())
    }

    /// Whether [`Tx::prune_expired`] would cut anything.
    pub async fn has_expired(&mut self, now: Timestamp, expiry: &Expiry) -> Result<bool> {
        let args = args![
            now,
            Id::first_at(now.minus(YEAR)),
            Id::first_at(expiry.operations),
            expiry.minute,
            Id::first_at(now.minus(PUSHED)),
            now.minus(super::alert::KEPT),
            Id::first_at(now.minus(super::alert::KEPT))
        ];
        Ok(self.row(&OLD_REST, args).await?.map_or(Ok(0), |row| row.int("n"))? != 0)
    }

    /// Cuts sessions and keys that have expired, the audit of more than a year ago, pushes of more than a day ago, alerts of more than a month ago, operations that are over, and makes
    /// hours of old minutes.
    pub async fn prune_expired(&mut self, now: Timestamp, expiry: &Expiry) -> Result<()> {
        self.exec(&CUT_SESSIONS, args![now]).await?;
        self.exec(&CUT_DEDUPE, args![now]).await?;
        self.exec(&CUT_AUDIT, args![Id::first_at(now.minus(YEAR))]).await?;
        self.prune_pushes(now.minus(PUSHED)).await?;
        self.prune_alerts(now).await?;
        self.prune_operations(expiry.operations).await?;
        self.roll_up(expiry.minute).await
    }

    /// Cuts the hours of more than a year ago: walks them all.
    pub async fn prune_hours(&mut self, now: Timestamp) -> Result<()> {
        self.exec(&CUT_HOURS, args![now.minus(YEAR).minute() / 60]).await?;
        Ok(())
    }

    /// Without statistics SQLite ignores the index of failures. PostgreSQL sees to it by itself, and nobody waits for it.
    pub async fn analyze(&mut self) -> Result<()> {
        if self.dialect() == Dialect::Postgres {
            return Ok(());
        }
        self.exec(&ANALYZE, args![]).await?;
        Ok(())
    }
}
