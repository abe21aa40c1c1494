//! Probes (the moving part of a backlog trigger) and the samples they take.

use std::time::Duration;

use super::schedule::trigger;
use super::sql::{Row, Sql, args};
use super::tx::Tx;
use crate::clock::Timestamp;
use crate::domain::backlog::Probe;
use crate::domain::trigger::Trigger;
use crate::error::Result;
use crate::id::Id;

/// One measurement, or why there was none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    pub at: Timestamp,
    pub size: Option<u64>,
    pub age_ms: Option<u64>,
    pub error: Option<String>,
}

static PUT: Sql = Sql::new(
    "INSERT INTO probe (trigger_id, tenant, job, next_at, failed, size, age_ms, sampled_at, error, error_at, clear_at, fruitless, stuck_size, \
     next_run_at, done_at, dead, working, cool_until) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18) ON CONFLICT (trigger_id) DO UPDATE SET \
     next_at = excluded.next_at, failed = excluded.failed, size = excluded.size, age_ms = excluded.age_ms, sampled_at = excluded.sampled_at, \
     error = excluded.error, error_at = excluded.error_at, clear_at = excluded.clear_at, fruitless = excluded.fruitless, \
     stuck_size = excluded.stuck_size, next_run_at = excluded.next_run_at, done_at = excluded.done_at, dead = excluded.dead, \
     working = excluded.working, cool_until = excluded.cool_until",
);
static DUE: Sql = Sql::new(
    "SELECT t.id, t.tenant, t.job, t.position, t.spec, d.failed FROM (SELECT trigger_id, next_at, failed, \
     row_number() OVER (PARTITION BY tenant ORDER BY CASE WHEN failed = 0 THEN 0 ELSE 1 END, next_at) AS place \
     FROM probe WHERE next_at <= $1) AS d JOIN trigger t ON t.id = d.trigger_id \
     ORDER BY d.place, CASE WHEN d.failed = 0 THEN 0 ELSE 1 END, d.next_at LIMIT $2",
);
static NEXT: Sql = Sql::new("SELECT min(next_at) AS at FROM probe WHERE next_at > $1");
static ONE: Sql = Sql::new(
    "SELECT trigger_id, tenant, job, next_at, failed, size, age_ms, sampled_at, error, error_at, clear_at, fruitless, stuck_size, next_run_at, done_at, dead, \
     working, cool_until FROM probe \
     WHERE trigger_id = $1",
);
static OF_JOB: Sql = Sql::new(
    "SELECT trigger_id, tenant, job, next_at, failed, size, age_ms, sampled_at, error, error_at, clear_at, fruitless, stuck_size, next_run_at, done_at, dead, \
     working, cool_until FROM probe \
     WHERE job = $1 ORDER BY trigger_id",
);
static ALL: Sql = Sql::new(
    "SELECT trigger_id, tenant, job, next_at, failed, size, age_ms, sampled_at, error, error_at, clear_at, fruitless, stuck_size, next_run_at, done_at, dead, \
     working, cool_until FROM probe",
);
static SAMPLE: Sql = Sql::new(
    "INSERT INTO backlog_sample (job, at, tenant, size, age_ms, error) VALUES {6} ON CONFLICT (job, at) DO UPDATE SET size = excluded.size, \
     age_ms = excluded.age_ms, error = excluded.error",
);
static SAMPLES: Sql = Sql::new("SELECT at, size, age_ms, error FROM backlog_sample WHERE job = $1 AND at >= $2 ORDER BY at");

impl Tx {
    pub async fn put_probe(&mut self, p: &Probe) -> Result<()> {
        let args = args![
            p.trigger,
            p.tenant,
            p.job,
            p.next_at,
            p.failed,
            p.size,
            p.age_ms,
            p.sampled_at,
            p.error.clone(),
            p.error_at,
            p.clear_at,
            p.fruitless,
            p.stuck_size,
            p.next_run_at,
            p.done_at,
            p.dead,
            u32::from(p.working),
            p.cool_until
        ];
        self.exec(&PUT, args).await?;
        Ok(())
    }

    /// Backlog triggers whose probe is due, and whether it failed the last time: the first of each tenant, the second of each,
    /// and so on; of a tenant the oldest first, and those that failed last.
    pub async fn due_probes(&mut self, now: Timestamp, limit: u32) -> Result<Vec<(Trigger, bool)>> {
        let rows = self.rows(&DUE, args![now, limit]).await?;
        rows.iter().map(|row| Ok((trigger(row)?, row.int("failed")? > 0))).collect()
    }

    /// When the next probe after `now` is due.
    pub async fn next_probe(&mut self, now: Timestamp) -> Result<Option<Timestamp>> {
        self.row(&NEXT, args![now]).await?.map_or(Ok(None), |row| row.opt_time("at"))
    }

    pub async fn probe(&mut self, trigger: Id) -> Result<Option<Probe>> {
        self.row(&ONE, args![trigger]).await?.as_ref().map(probe).transpose()
    }

    pub async fn probes_of(&mut self, job: Id) -> Result<Vec<Probe>> {
        self.rows(&OF_JOB, args![job]).await?.iter().map(probe).collect()
    }

    pub async fn probes(&mut self) -> Result<Vec<Probe>> {
        self.rows(&ALL, args![]).await?.iter().map(probe).collect()
    }

    /// Counts a measurement, answered or not, for `/metrics`.
    pub fn measured(&mut self, took: Duration) {
        self.news.counted.probe.add(took);
    }

    pub async fn put_sample(&mut self, tenant: Id, job: Id, sample: &Sample) -> Result<()> {
        self.exec_rows(&SAMPLE, vec![args![job, sample.at, tenant, sample.size, sample.age_ms, sample.error.clone()]]).await?;
        Ok(())
    }

    /// Samples of a job since then, oldest first.
    pub async fn samples_of(&mut self, job: Id, since: Timestamp) -> Result<Vec<Sample>> {
        let rows = self.rows(&SAMPLES, args![job, since]).await?;
        rows.iter()
            .map(|row| {
                Ok(Sample {
                    at: row.time("at")?,
                    size: row.opt_count("size")?,
                    age_ms: row.opt_count("age_ms")?,
                    error: row.opt_text("error")?,
                })
            })
            .collect()
    }
}

fn probe(row: &Row) -> Result<Probe> {
    Ok(Probe {
        trigger: row.id("trigger_id")?,
        tenant: row.id("tenant")?,
        job: row.id("job")?,
        next_at: row.time("next_at")?,
        failed: row.small("failed")?,
        size: row.opt_count("size")?,
        age_ms: row.opt_count("age_ms")?,
        sampled_at: row.opt_time("sampled_at")?,
        error: row.opt_text("error")?,
        error_at: row.opt_time("error_at")?,
        clear_at: row.opt_time("clear_at")?,
        fruitless: row.small("fruitless")?,
        stuck_size: row.opt_count("stuck_size")?,
        next_run_at: row.time("next_run_at")?,
        done_at: row.opt_time("done_at")?,
        dead: row.small("dead")?,
        working: row.small("working")? > 0,
        cool_until: row.time("cool_until")?,
    })
}
