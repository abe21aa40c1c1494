//! Runs whose node is gone, and runs whose time has come.

use super::claim::leased;
use super::enqueue::Waiting;
use super::sql::{Sql, args};
use super::tx::{Tx, expect_rows};
use crate::clock::Timestamp;
use crate::domain::run::Run;
use crate::error::Result;
use crate::id::Id;

static LEASES: Sql = Sql::new("SELECT * FROM lease WHERE node <> 0 ORDER BY id LIMIT 512");
static OLDEST: Sql = Sql::new("SELECT tenant, job, min(started_at) AS at FROM lease GROUP BY tenant, job");
static ALL_LEASES: Sql = Sql::new("SELECT tenant, job, count(*) AS n FROM lease GROUP BY tenant, job");
static DUE: Sql = Sql::new("SELECT * FROM later WHERE due_at <= $1 ORDER BY due_at, id LIMIT 512");
static UNLATER: Sql = Sql::new("DELETE FROM later WHERE (due_at, id) IN (VALUES {2})");
static NEXT: Sql = Sql::new("SELECT min(due_at) AS at FROM later");
static LANES: Sql = Sql::new("SELECT id, tenant FROM job WHERE EXISTS (SELECT 1 FROM ready WHERE ready.job = job.id)");

impl Tx {
    /// Leases of nodes that stand, at most 512. When a SQLite node starts, they are all of dead processes.
    pub async fn leases(&mut self) -> Result<Vec<Run>> {
        self.rows(&LEASES, args![]).await?.iter().map(leased).collect()
    }

    /// Runs running now: (tenant, job, how many).
    pub async fn running(&mut self) -> Result<Vec<(Id, Id, u64)>> {
        self.rows(&ALL_LEASES, args![])
            .await?
            .iter()
            .map(|row| Ok((row.id("tenant")?, row.id("job")?, row.count("n")?)))
            .collect()
    }

    /// Since when the one runs that has run longest: (tenant, job, when).
    pub async fn oldest_leases(&mut self) -> Result<Vec<(Id, Id, Timestamp)>> {
        let rows = self.rows(&OLDEST, args![]).await?;
        rows.iter().map(|row| Ok((row.id("tenant")?, row.id("job")?, row.time("at")?))).collect()
    }

    /// Moves runs whose time has come to `ready`, at most 512; answers how many.
    pub async fn promote(&mut self, now: Timestamp) -> Result<usize> {
        let rows = self.rows(&DUE, args![now]).await?;
        let mut due = Vec::with_capacity(rows.len());
        let mut keys = Vec::with_capacity(rows.len());
        for row in &rows {
            keys.push(args![row.time("due_at")?, row.id("id")?]);
            due.push(Waiting {
                job: row.id("job")?,
                id: row.id("id")?,
                tenant: row.id("tenant")?,
                revision: row.id("revision")?,
                created_at: row.time("created_at")?,
                cause: row.int("cause")?,
                payload: row.int("payload")? != 0,
                attempt: row.small("attempt")?,
                fence: row.int("fence")?,
                failed: row.small("failed")?,
                lost: row.small("lost")?,
                snoozed: row.small("snoozed")?,
                first_started_at: row.opt_time("first_started_at")?,
                start_by: row.opt_time("start_by")?,
                due_at: now,
                why: String::new(),
            });
        }
        let moved = due.len();
        expect_rows(self.exec_keys(&UNLATER, &keys).await?, moved, "promote")?;
        self.insert_waiting(due, now).await?;
        Ok(moved)
    }

    /// When the next waiting run is due.
    pub async fn next_later(&mut self) -> Result<Option<Timestamp>> {
        self.row(&NEXT, args![]).await?.map_or(Ok(None), |row| row.opt_time("at"))
    }

    /// Jobs with rows to claim: (tenant, job). One seek a job.
    pub async fn lanes(&mut self) -> Result<Vec<(Id, Id)>> {
        self.rows(&LANES, args![]).await?.iter().map(|row| Ok((row.id("tenant")?, row.id("id")?))).collect()
    }
}
