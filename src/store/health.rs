//! What the watchdog last said of each job, and what it needs to know of the last ends.

use std::collections::HashMap;

use super::sql::{Row, Sql, args};
use super::tx::Tx;
use crate::clock::Timestamp;
use crate::domain::health::Health;
use crate::error::{Error, Result};
use crate::id::Id;

/// The health of a job as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobHealth {
    pub job: Id,
    pub tenant: Id,
    pub health: Health,
    pub why: String,
    /// Since when it is so.
    pub since: Timestamp,
}

static ALL: Sql = Sql::new("SELECT job, tenant, health, why, since FROM health");
static PUT: Sql = Sql::new(
    "INSERT INTO health (job, tenant, health, why, since, failed_in_a_row) VALUES {6} ON CONFLICT (job) DO UPDATE SET health = excluded.health, \
     why = excluded.why, since = excluded.since",
);
/// Twenty of each job, newest first: two seeks a job, however long its history is. `settled`: a dead one that needs nobody, but
/// for one whose new run is under way, for that is no answer yet.
static LAST: Sql = Sql::new(
    "SELECT d.job, d.state, d.message, d.ended_at, d.taken, d.done, CAST(CASE WHEN s.run IS NULL THEN 0 \
     WHEN EXISTS (SELECT 1 FROM ready y WHERE y.job = d.job AND y.id = s.rerun) OR EXISTS (SELECT 1 FROM later w WHERE w.tenant = d.tenant AND w.id = s.rerun) \
     OR EXISTS (SELECT 1 FROM lease e WHERE e.id = s.rerun) THEN 0 ELSE 1 END AS BIGINT) AS settled \
     FROM job j JOIN done d ON d.job = j.id LEFT JOIN settled s ON s.tenant = d.tenant AND s.run = d.id WHERE (j.id) IN (VALUES {1}) AND d.id >= \
     (SELECT min(x.id) FROM (SELECT l.id FROM done l WHERE l.job = j.id ORDER BY l.id DESC LIMIT 20) x) ORDER BY d.job, d.id DESC",
);
static ENDED: Sql = Sql::new("SELECT DISTINCT job FROM tally WHERE minute >= $1 AND succeeded + dead + cancelled > 0");
static WAITING: Sql = Sql::new("SELECT job, why FROM later WHERE failed > 0 OR snoozed > 0 ORDER BY due_at LIMIT 1000");

/// The last ends of a job.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LastEnds {
    /// Dead ones since the last that was not, at most 20; without those that a person has discarded or run again.
    pub dead_in_a_row: u32,
    /// Whether there are such: they can be brought back.
    pub settled: bool,
    pub last_error: Option<String>,
    pub last_success_at: Option<Timestamp>,
    /// The last success that got something done, as far as the plugin counts.
    pub last_work_at: Option<Timestamp>,
}

impl Tx {
    pub async fn healths(&mut self) -> Result<HashMap<Id, JobHealth>> {
        let rows = self.rows(&ALL, args![]).await?;
        rows.iter().map(health).map(|found| found.map(|health| (health.job, health))).collect()
    }

    pub async fn put_healths(&mut self, healths: &[JobHealth]) -> Result<()> {
        let rows = healths.iter().map(|h| args![h.job, h.tenant, h.health.word(), &h.why, h.since, 0_i64]).collect();
        self.exec_rows(&PUT, rows).await?;
        Ok(())
    }

    /// Jobs of which a run has ended since that minute began.
    pub async fn ended_since(&mut self, since: Timestamp) -> Result<Vec<Id>> {
        self.rows(&ENDED, args![since.minute()]).await?.iter().map(|row| row.id("job")).collect()
    }

    /// The last ends of jobs; a job without any is not among them.
    pub async fn last_ends(&mut self, jobs: &[Id]) -> Result<HashMap<Id, LastEnds>> {
        let mut found: HashMap<Id, (LastEnds, bool)> = HashMap::new();
        for row in self.rows_for(&LAST, &jobs.iter().map(|job| args![*job]).collect::<Vec<_>>()).await? {
            let (ends, broken) = found.entry(row.id("job")?).or_default();
            match row.int("state")? {
                super::record::DEAD if row.int("settled")? != 0 => ends.settled = true,
                super::record::DEAD if !*broken => {
                    ends.dead_in_a_row += 1;
                    if ends.last_error.is_none() {
                        ends.last_error = row.opt_text("message")?;
                    }
                }
                super::record::SUCCEEDED => {
                    *broken = true;
                    let at = Some(row.time("ended_at")?);
                    ends.last_success_at = ends.last_success_at.max(at);
                    if row.opt_int("taken")?.is_none() || row.opt_int("done")?.is_some_and(|done| done > 0) {
                        ends.last_work_at = ends.last_work_at.max(at);
                    }
                }
                _ => {}
            }
        }
        Ok(found.into_iter().map(|(job, (ends, _))| (job, ends)).collect())
    }

    /// Jobs with a run that waits after a failure or a snooze, with why.
    pub async fn retrying(&mut self) -> Result<HashMap<Id, String>> {
        self.rows(&WAITING, args![]).await?.iter().map(|row| Ok((row.id("job")?, row.text("why")?))).collect()
    }
}

pub(super) fn health(row: &Row) -> Result<JobHealth> {
    let word = row.text("health")?;
    let health = Health::parse(&word).ok_or_else(|| Error::Internal(anyhow::anyhow!("column health: {word:?}")))?;
    Ok(JobHealth { job: row.id("job")?, tenant: row.id("tenant")?, health, why: row.text("why")?, since: row.time("since")? })
}
