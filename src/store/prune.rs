//! What grows is cut: history and what hangs on it, samples, occurrences. Unfinished work is never touched.

use std::time::Duration;

use super::sql::{Sql, args};
use super::tx::Tx;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::Id;

/// How long it is known who did what, and how much ran in which hour.
const YEAR: Duration = Duration::from_secs(400 * 24 * 3600);
/// Runs a chunk: the writer waits while one is cut.
pub const CHUNK: u32 = 1_000;

static OLD: Sql = Sql::new(
    "SELECT id FROM done WHERE tenant = $1 AND id < $2 AND ((state = 1 AND ended_at < $3) OR (state <> 1 AND ended_at < $4)) ORDER BY id LIMIT $5",
);
static OLD_LOGS: Sql = Sql::new(
    "SELECT DISTINCT l.run FROM log l JOIN done d ON d.tenant = l.tenant AND d.id = l.run WHERE l.tenant = $1 AND l.run < $2 AND d.ended_at < $3 LIMIT $4",
);
static CUT_DONE: Sql = Sql::new("DELETE FROM done WHERE (tenant, id) IN (VALUES {2})");
static CUT_ATTEMPT: Sql = Sql::new("DELETE FROM attempt WHERE (tenant, run) IN (VALUES {2})");
static CUT_PAYLOAD: Sql = Sql::new("DELETE FROM payload WHERE (tenant, run) IN (VALUES {2})");
static CUT_PROGRESS: Sql = Sql::new("DELETE FROM progress WHERE (tenant, run) IN (VALUES {2})");
static CUT_LOG: Sql = Sql::new("DELETE FROM log WHERE (tenant, run) IN (VALUES {2})");
static CUT_CALLS: Sql = Sql::new("DELETE FROM http_call WHERE (tenant, run) IN (VALUES {2})");
static CUT_ITEMS: Sql = Sql::new("DELETE FROM item WHERE (tenant, run) IN (VALUES {2})");
static CUT_SETTLED: Sql = Sql::new("DELETE FROM settled WHERE (tenant, run) IN (VALUES {2})");
static CUT_SAMPLES: Sql = Sql::new("DELETE FROM backlog_sample WHERE job = $1 AND at < $2");
static CUT_WORKERS: Sql = Sql::new("DELETE FROM item_worker WHERE job = $1 AND seen_at < $2");
static CUT_OCCURRENCES: Sql = Sql::new("DELETE FROM occurrence WHERE job = $1 AND due_at < $2");
static CUT_SESSIONS: Sql = Sql::new("DELETE FROM session WHERE expires_at < $1");
static CUT_AUDIT: Sql = Sql::new("DELETE FROM audit WHERE at < $1");
static CUT_HOURS: Sql = Sql::new("DELETE FROM tally_hour WHERE hour < $1");
static CUT_DEDUPE: Sql = Sql::new("DELETE FROM dedupe WHERE expires_at < $1");
static ANALYZE: Sql = Sql::new("ANALYZE");

impl Tx {
    /// Cuts a tenant's runs that ended before `cut`, dead ones before `dead`, at most [`CHUNK`]; answers how many.
    pub async fn prune_runs(&mut self, tenant: Id, cut: Timestamp, dead: Timestamp) -> Result<usize> {
        let rows = self.rows(&OLD, args![tenant, first_id(cut.max(dead)), dead, cut, CHUNK]).await?;
        let ids: Vec<Id> = rows.iter().map(|row| row.id("id")).collect::<Result<_>>()?;
        for sql in [&CUT_ATTEMPT, &CUT_PAYLOAD, &CUT_PROGRESS, &CUT_LOG, &CUT_CALLS, &CUT_ITEMS, &CUT_SETTLED, &CUT_DONE] {
            self.exec_keys(sql, &ids.iter().map(|id| args![tenant, *id]).collect::<Vec<_>>()).await?;
        }
        Ok(ids.len())
    }

    /// Cuts logs and calls of a tenant's runs that ended before `cut`, at most [`CHUNK`] runs; answers how many.
    pub async fn prune_logs(&mut self, tenant: Id, cut: Timestamp) -> Result<usize> {
        let rows = self.rows(&OLD_LOGS, args![tenant, first_id(cut), cut, CHUNK]).await?;
        let ids: Vec<Id> = rows.iter().map(|row| row.id("run")).collect::<Result<_>>()?;
        for sql in [&CUT_LOG, &CUT_CALLS] {
            self.exec_keys(sql, &ids.iter().map(|id| args![tenant, *id]).collect::<Vec<_>>()).await?;
        }
        Ok(ids.len())
    }

    /// Cuts samples and occurrences of a job, and workers outside that do not come any more.
    pub async fn prune_job(&mut self, job: Id, cut: Timestamp) -> Result<()> {
        self.exec(&CUT_SAMPLES, args![job, cut]).await?;
        self.exec(&CUT_WORKERS, args![job, cut]).await?;
        self.exec(&CUT_OCCURRENCES, args![job, cut]).await?;
        Ok(())
    }

    pub async fn prune_expired(&mut self, now: Timestamp) -> Result<()> {
        self.exec(&CUT_SESSIONS, args![now]).await?;
        self.exec(&CUT_DEDUPE, args![now]).await?;
        let year = now.minus(YEAR);
        self.exec(&CUT_AUDIT, args![year]).await?;
        self.exec(&CUT_HOURS, args![year.minute() / 60]).await?;
        Ok(())
    }

    /// Without statistics SQLite ignores the index of failures.
    pub async fn analyze(&mut self) -> Result<()> {
        self.exec(&ANALYZE, args![]).await?;
        Ok(())
    }
}

/// The first id that can be made at `at`: ids are made before their runs end, so no run with a later one has ended before.
fn first_id(at: Timestamp) -> Id {
    Id(at.0 << 21)
}
