//! What the dashboard reads beyond single things: sums over tenants and levels over time, each in one statement.

use std::collections::HashMap;

use super::run::COUNT_CAP;
use super::sql::{Sql, args};
use super::tx::Tx;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::Id;

static DEAD: Sql = Sql::new(
    "SELECT y.tenant, y.n FROM (SELECT t.id AS tenant, (SELECT count(*) FROM (SELECT 1 FROM done d WHERE d.tenant = t.id AND d.state = 1 \
     AND d.state <> 0 AND NOT EXISTS (SELECT 1 FROM settled s WHERE s.tenant = d.tenant AND s.run = d.id) LIMIT 10001) x) AS n FROM tenant t) y \
     WHERE y.n > 0",
);
/// Bounded for each job, and above for each tenant, by the index on ends that are no success: nobody's dead hide another's.
static DEAD_OF: Sql = Sql::new(
    "SELECT y.tenant, y.job, y.n FROM (SELECT j.tenant, j.id AS job, (SELECT count(*) FROM (SELECT 1 FROM done d WHERE d.job = j.id \
     AND d.state = 1 AND d.state <> 0 AND NOT EXISTS (SELECT 1 FROM settled s WHERE s.tenant = d.tenant AND s.run = d.id) LIMIT 1001) x) AS n \
     FROM job j) y WHERE y.n > 0",
);
static RETRYING: Sql =
    Sql::new("SELECT job, count(*) AS n FROM (SELECT job FROM later WHERE failed > 0 OR lost > 0 LIMIT 10001) x GROUP BY job");
/// The last sample at or before each instant: a seek each, however many samples there are.
static LEVELS: Sql = Sql::new(
    "SELECT v.column1 AS job, v.column2 AS at, (SELECT s.size FROM backlog_sample s WHERE s.job = v.column1 AND s.at <= v.column2 \
     ORDER BY s.at DESC LIMIT 1) AS size FROM (VALUES {2}) v",
);
static NEXT: Sql = Sql::new("SELECT job, min(next_due_at) AS at FROM schedule WHERE tenant = $1 AND enabled = 1 GROUP BY job");
static DEATHS: Sql = Sql::new(
    "SELECT print, bucket, count(*) AS n FROM (SELECT d.print, (d.ended_at - $2) / $3 AS bucket FROM done d WHERE d.tenant = $1 AND d.state = 1 AND d.state <> 0 \
     AND d.ended_at >= $2 AND NOT EXISTS (SELECT 1 FROM settled s WHERE s.tenant = d.tenant AND s.run = d.id) ORDER BY d.id DESC LIMIT 10000) x \
     GROUP BY print, bucket",
);
static WHOSE: Sql = Sql::new(
    "SELECT tenant FROM lease WHERE id = $1 UNION ALL SELECT d.tenant FROM tenant t CROSS JOIN done d WHERE d.tenant = t.id AND d.id = $1 \
     UNION ALL SELECT l.tenant FROM tenant t CROSS JOIN later l WHERE l.tenant = t.id AND l.id = $1 \
     UNION ALL SELECT r.tenant FROM job j CROSS JOIN ready r WHERE r.job = j.id AND r.id = $1 LIMIT 1",
);

impl Tx {
    /// Dead runs that need a person by tenant, up to one more than [`COUNT_CAP`] each.
    pub async fn dead_by_tenant(&mut self) -> Result<HashMap<Id, u64>> {
        const { assert!(COUNT_CAP == 10_000) };
        self.rows(&DEAD, args![]).await?.iter().map(|row| Ok((row.id("tenant")?, row.count("n")?))).collect()
    }

    /// Dead runs that need a person by (tenant, job), up to 1,001 each.
    pub async fn dead_of_jobs(&mut self) -> Result<Vec<(Id, Id, u64)>> {
        let rows = self.rows(&DEAD_OF, args![]).await?;
        rows.iter().map(|row| Ok((row.id("tenant")?, row.id("job")?, row.count("n")?))).collect()
    }

    /// Runs that wait for their next attempt, by job.
    pub async fn retrying_by_job(&mut self) -> Result<HashMap<Id, u64>> {
        self.rows(&RETRYING, args![]).await?.iter().map(|row| Ok((row.id("job")?, row.count("n")?))).collect()
    }

    /// The backlogs of jobs at instants, in the order asked for; `None` where none was known.
    pub async fn levels(&mut self, asked: &[(Id, Timestamp)]) -> Result<Vec<Option<u64>>> {
        let rows = self.rows_for(&LEVELS, &asked.iter().map(|(job, at)| args![*job, *at]).collect::<Vec<_>>()).await?;
        let mut found = HashMap::with_capacity(rows.len());
        for row in &rows {
            found.insert((row.id("job")?, row.time("at")?), row.opt_count("size")?);
        }
        Ok(asked.iter().map(|key| found.get(key).copied().flatten()).collect())
    }

    /// When each job of a tenant is due next by its schedules.
    pub async fn next_by_job(&mut self, tenant: Id) -> Result<HashMap<Id, Timestamp>> {
        let rows = self.rows(&NEXT, args![tenant]).await?;
        let pairs = rows.iter().map(|row| Ok(row.opt_time("at")?.map(|at| (row.id("job"), at))));
        pairs.filter_map(Result::transpose).map(|pair| pair.and_then(|(job, at)| Ok((job?, at)))).collect()
    }

    /// Dead runs of a tenant since then, counted by cause and by steps of so many milliseconds: (cause, step) → runs.
    pub async fn deaths(&mut self, tenant: Id, since: Timestamp, step_ms: i64) -> Result<HashMap<(i64, u64), u64>> {
        let rows = self.rows(&DEATHS, args![tenant, since, step_ms]).await?;
        rows.iter().map(|row| Ok(((row.opt_int("print")?.unwrap_or(0), row.count("bucket")?), row.count("n")?))).collect()
    }

    /// Whose run that is: for a search by id, whose answer is checked against what the asker may see.
    pub async fn tenant_of_run(&mut self, run: Id) -> Result<Option<Id>> {
        self.row(&WHOSE, args![run]).await?.map(|row| row.id("tenant")).transpose()
    }
}
