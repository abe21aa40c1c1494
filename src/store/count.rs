//! How many runs a list has, up to a cap: no page counts all of history.

use super::record::{CANCELLED, DEAD, SUCCEEDED};
use super::run::{COUNT_CAP, RunQuery, waiting};
use super::sql::{Sql, args};
use super::tx::Tx;
use crate::domain::run::StateFilter;
use crate::error::Result;
use crate::id::Id;

static JOBS: Sql = Sql::new("SELECT id FROM job WHERE tenant = $1");
static READY: Sql = Sql::new(
    "SELECT count(*) AS n FROM (SELECT 1 FROM ready WHERE job = $1 AND ($2 = 0 OR ($2 = 2 AND (failed > 0 OR lost > 0))) LIMIT 10001) x",
);
static LATER: Sql = Sql::new(
    "SELECT count(*) AS n FROM (SELECT 1 FROM later WHERE tenant = $1 AND ($2 = 0 OR ($2 = 1 AND why LIKE 'deferred%') OR ($2 = 2 AND why NOT LIKE 'deferred%' AND (failed > 0 OR lost > 0))) LIMIT 10001) x",
);
static LATER_JOB: Sql = Sql::new(
    "SELECT count(*) AS n FROM (SELECT 1 FROM later WHERE job = $1 AND ($2 = 0 OR ($2 = 1 AND why LIKE 'deferred%') OR ($2 = 2 AND why NOT LIKE 'deferred%' AND (failed > 0 OR lost > 0))) LIMIT 10001) x",
);
static LEASE: Sql = Sql::new("SELECT count(*) AS n FROM lease WHERE tenant = $1");
static LEASE_JOB: Sql = Sql::new("SELECT count(*) AS n FROM lease WHERE tenant = $1 AND job = $2");
static DONE: Sql = Sql::new("SELECT count(*) AS n FROM (SELECT 1 FROM done WHERE tenant = $1 LIMIT 10001) x");
static DONE_STATE: Sql =
    Sql::new("SELECT count(*) AS n FROM (SELECT 1 FROM done WHERE tenant = $1 AND state = $2 AND state <> 0 LIMIT 10001) x");
static DONE_WELL: Sql = Sql::new("SELECT count(*) AS n FROM (SELECT 1 FROM done WHERE tenant = $1 AND state = 0 LIMIT 10001) x");
static DONE_JOB_WELL: Sql = Sql::new("SELECT count(*) AS n FROM (SELECT 1 FROM done WHERE job = $1 AND state = 0 LIMIT 10001) x");
static DONE_JOB: Sql = Sql::new("SELECT count(*) AS n FROM (SELECT 1 FROM done WHERE job = $1 LIMIT 10001) x");
static DONE_JOB_STATE: Sql =
    Sql::new("SELECT count(*) AS n FROM (SELECT 1 FROM done WHERE job = $1 AND state = $2 AND state <> 0 LIMIT 10001) x");

impl Tx {
    /// Runs that a list shows over all its pages; above [`COUNT_CAP`] there are more than that.
    pub async fn count_runs(&mut self, tenant: Id, query: &RunQuery) -> Result<u64> {
        let wants = |state| query.state.is_none_or(|wanted| wanted == state);
        let mut count = 0;
        if let Some(waiting) = waiting(query.state) {
            match query.job {
                Some(job) => {
                    count += self.n(&READY, args![job, waiting]).await? + self.n(&LATER_JOB, args![job, waiting]).await?
                }
                None => {
                    for job in self.rows(&JOBS, args![tenant]).await? {
                        count += self.n(&READY, args![job.id("id")?, waiting]).await?;
                    }
                    count += self.n(&LATER, args![tenant, waiting]).await?;
                }
            }
        }
        if wants(StateFilter::Running) {
            count += match query.job {
                Some(job) => self.n(&LEASE_JOB, args![tenant, job]).await?,
                None => self.n(&LEASE, args![tenant]).await?,
            };
        }
        let ended = match query.state {
            Some(StateFilter::Succeeded) => Some(SUCCEEDED),
            Some(StateFilter::Dead) => Some(DEAD),
            Some(StateFilter::Cancelled) => Some(CANCELLED),
            Some(_) => return Ok(count),
            None => None,
        };
        if count <= COUNT_CAP {
            count += match (query.job, ended) {
                (None, Some(SUCCEEDED)) => self.n(&DONE_WELL, args![tenant]).await?,
                (Some(job), Some(SUCCEEDED)) => self.n(&DONE_JOB_WELL, args![job]).await?,
                (None, None) => self.n(&DONE, args![tenant]).await?,
                (None, Some(state)) => self.n(&DONE_STATE, args![tenant, state]).await?,
                (Some(job), None) => self.n(&DONE_JOB, args![job]).await?,
                (Some(job), Some(state)) => self.n(&DONE_JOB_STATE, args![job, state]).await?,
            };
        }
        Ok(count)
    }

    async fn n(&mut self, sql: &'static Sql, of: Vec<super::sql::Arg>) -> Result<u64> {
        self.row(sql, of).await?.map_or(Ok(0), |row| row.count("n"))
    }
}
