//! Dead runs that need a person: grouped by cause, run again, cancelled.

use super::run::done;
use super::sql::{Sql, args};
use super::tx::{Tx, expect_rows};
use crate::clock::Timestamp;
use crate::domain::run::{Run, State};
use crate::error::{Error, Result};
use crate::id::Id;

/// Dead runs of one cause, over the last 10,000 dead of a tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct Failures {
    pub tenant: Id,
    pub job: Id,
    pub print: i64,
    pub count: u64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    /// The newest of them: its message stands for all.
    pub last: Run,
}

/// What a cancel did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It was waiting and is over.
    Now,
    /// It runs: it has been asked to stop.
    Asked,
}

static BY_CAUSE: Sql = Sql::new(
    "SELECT job, print, count(*) AS n, min(ended_at) AS first_at, max(ended_at) AS last_at, max(id) AS last FROM (SELECT d.job, d.print, d.ended_at, d.id \
     FROM done d WHERE d.tenant = $1 AND d.state = 1 AND d.state <> 0 AND NOT EXISTS (SELECT 1 FROM settled s WHERE s.tenant = d.tenant AND s.run = d.id) \
     ORDER BY d.id DESC LIMIT 10000) x GROUP BY job, print ORDER BY n DESC, last DESC LIMIT 100",
);
static OF_CAUSE: Sql = Sql::new(
    "SELECT d.* FROM done d WHERE d.tenant = $1 AND d.print = $2 AND d.state = 1 AND d.state <> 0 AND NOT EXISTS \
     (SELECT 1 FROM settled s WHERE s.tenant = d.tenant AND s.run = d.id) ORDER BY d.id DESC LIMIT $3",
);
static SETTLE: Sql = Sql::new("INSERT INTO settled (tenant, run, at, by, rerun) VALUES {5}");
static UNREADY: Sql = Sql::new("DELETE FROM ready WHERE job = $1 AND id = $2");
static UNLATER: Sql = Sql::new("DELETE FROM later WHERE tenant = $1 AND id = $2");
static ASK: Sql = Sql::new("INSERT INTO cancel (run, tenant, at, by) VALUES ($1, $2, $3, $4) ON CONFLICT (run) DO NOTHING");
static ASKED: Sql = Sql::new("SELECT c.run FROM cancel c JOIN lease l ON l.id = c.run WHERE l.node = $1");

impl Tx {
    /// Causes of a tenant's failures, the most frequent first, at most 100.
    pub async fn failures(&mut self, tenant: Id) -> Result<Vec<Failures>> {
        let mut found = Vec::new();
        for row in self.rows(&BY_CAUSE, args![tenant]).await? {
            let last = self.need_run(tenant, row.id("last")?).await?;
            found.push(Failures {
                tenant,
                job: row.id("job")?,
                print: row.opt_int("print")?.unwrap_or(0),
                count: row.count("n")?,
                first_at: row.time("first_at")?,
                last_at: row.time("last_at")?,
                last,
            });
        }
        Ok(found)
    }

    /// Dead runs of one cause, newest first.
    pub async fn failures_of(&mut self, tenant: Id, print: i64, limit: u32) -> Result<Vec<Run>> {
        self.rows(&OF_CAUSE, args![tenant, print, limit]).await?.iter().map(done).collect()
    }

    /// Marks dead runs as run again: (tenant, dead run, its new run).
    pub async fn settle_rerun(&mut self, pairs: &[(Id, Id, Id)], by: &str, now: Timestamp) -> Result<()> {
        let rows: Vec<_> = pairs.iter().map(|(tenant, dead, new)| args![*tenant, *dead, now, by, *new]).collect();
        let expected = rows.len();
        expect_rows(self.exec_rows(&SETTLE, rows).await?, expected, "settle")
    }

    /// Ends a waiting run, asks a running one to stop.
    ///
    /// # Errors
    /// `Conflict` when it is over.
    pub async fn cancel(&mut self, tenant: Id, id: Id, by: &str, now: Timestamp) -> Result<Cancelled> {
        let run = self.need_run(tenant, id).await?;
        match &run.state {
            State::Waiting { .. } => {
                let gone = self.exec(&UNREADY, args![run.job, id]).await? + self.exec(&UNLATER, args![tenant, id]).await?;
                expect_rows(gone, 1, "cancel")?;
                self.end_waiting(vec![run], &format!("cancelled by {by}"), now).await?;
                Ok(Cancelled::Now)
            }
            State::Running { .. } => {
                self.exec(&ASK, args![id, tenant, now, by]).await?;
                Ok(Cancelled::Asked)
            }
            state => Err(Error::Conflict(format!("run {id} has {} already; a final run does not change", state.word()))),
        }
    }

    /// Running runs of this node that somebody wants stopped.
    pub async fn asked_to_stop(&mut self) -> Result<Vec<Id>> {
        let node = self.node;
        self.rows(&ASKED, args![node]).await?.iter().map(|row| row.id("run")).collect()
    }
}
