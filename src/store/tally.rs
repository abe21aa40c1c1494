//! Counters by minute, summed in memory for a batch and added in the same commit. They decide nothing; pages read them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::record::Finished;
use super::sql::{Sql, args};
use super::tx::Tx;
use crate::clock::Timestamp;
use crate::domain::apart::Share;
use crate::domain::retry::Decision;
use crate::domain::run::Final;
use crate::error::Result;
use crate::id::Id;

/// What happened to the runs of one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    pub enqueued: u64,
    pub succeeded: u64,
    pub retried: u64,
    pub dead: u64,
    pub cancelled: u64,
    /// Pieces of work done at targets.
    pub done: u64,
    pub busy_ms: u64,
}

/// Sums of a transaction by (tenant, job).
pub(super) type Tallies = BTreeMap<(Id, Id), Tally>;

static ADD: Sql = Sql::new(
    "INSERT INTO tally (minute, tenant, job, node, enqueued, succeeded, retried, dead, cancelled, done, busy_ms) VALUES {11} \
     ON CONFLICT (minute, tenant, job, node) DO UPDATE SET enqueued = tally.enqueued + excluded.enqueued, succeeded = tally.succeeded + \
     excluded.succeeded, retried = tally.retried + excluded.retried, dead = tally.dead + excluded.dead, cancelled = tally.cancelled + \
     excluded.cancelled, done = tally.done + excluded.done, busy_ms = tally.busy_ms + excluded.busy_ms",
);
static SINCE: Sql = Sql::new(
    "SELECT tenant, job, CAST(sum(enqueued) AS BIGINT) AS enqueued, CAST(sum(succeeded) AS BIGINT) AS succeeded, CAST(sum(retried) AS BIGINT) \
     AS retried, CAST(sum(dead) AS BIGINT) AS dead, CAST(sum(cancelled) AS BIGINT) AS cancelled, CAST(sum(done) AS BIGINT) AS done, \
     CAST(sum(busy_ms) AS BIGINT) AS busy_ms FROM tally WHERE minute >= $1 GROUP BY tenant, job",
);
static SHARES: Sql = Sql::new(
    "SELECT tenant, job, node, CAST(sum(CASE WHEN minute >= $1 THEN succeeded + retried + dead + cancelled ELSE 0 END) AS BIGINT) AS lately, \
     max(CASE WHEN succeeded > 0 THEN minute END) AS last FROM tally WHERE minute >= $2 AND succeeded + retried + dead + cancelled > 0 \
     GROUP BY tenant, job, node ORDER BY tenant, job, node",
);
static ROLL_UP: Sql = Sql::new(
    "INSERT INTO tally_hour (tenant, job, hour, enqueued, succeeded, retried, dead, cancelled, done, busy_ms) \
     SELECT tenant, job, minute / 60, sum(enqueued), sum(succeeded), sum(retried), sum(dead), sum(cancelled), sum(done), sum(busy_ms) \
     FROM tally WHERE minute < $1 GROUP BY tenant, job, minute / 60 \
     ON CONFLICT (tenant, job, hour) DO UPDATE SET enqueued = tally_hour.enqueued + excluded.enqueued, succeeded = tally_hour.succeeded + \
     excluded.succeeded, retried = tally_hour.retried + excluded.retried, dead = tally_hour.dead + excluded.dead, cancelled = \
     tally_hour.cancelled + excluded.cancelled, done = tally_hour.done + excluded.done, busy_ms = tally_hour.busy_ms + excluded.busy_ms",
);
static ROLLED: Sql = Sql::new("DELETE FROM tally WHERE minute < $1");

impl Tx {
    pub(super) fn tally_enqueued(&mut self, tenant: Id, job: Id) {
        self.tallies.entry((tenant, job)).or_default().enqueued += 1;
    }

    pub(super) fn tally_ended(&mut self, f: &Finished, cancelled: bool, busy: Duration) {
        self.news.counted.ended(f, cancelled, busy);
        let tally = self.tallies.entry((f.run.tenant, f.run.job)).or_default();
        match f.decision {
            Decision::End(Final::Succeeded) => tally.succeeded += 1,
            Decision::End(Final::Dead(_)) => tally.dead += 1,
            Decision::End(Final::Cancelled) => tally.cancelled += 1,
            Decision::Again { .. } if cancelled => tally.cancelled += 1,
            Decision::Again { .. } => tally.retried += 1,
            Decision::Outside if cancelled => tally.cancelled += 1,
            Decision::Outside => {}
        }
        tally.done += f.counts.map_or(0, |counts| counts.done);
        // Handed out one by one it goes on; its end counts from the same start.
        if f.decision != Decision::Outside || cancelled {
            tally.busy_ms += u64::try_from(busy.as_millis()).unwrap_or(u64::MAX);
        }
    }

    pub(super) async fn flush_tally(&mut self, now: Timestamp) -> Result<()> {
        let node = self.node;
        let rows = std::mem::take(&mut self.tallies)
            .into_iter()
            .map(|((tenant, job), t)| {
                args![now.minute(), tenant, job, node, t.enqueued, t.succeeded, t.retried, t.dead, t.cancelled, t.done, t.busy_ms]
            })
            .collect();
        self.exec_rows(&ADD, rows).await?;
        Ok(())
    }

    /// Sums over the last minutes, by (tenant, job).
    pub async fn tally_since(&mut self, since: Timestamp) -> Result<BTreeMap<(Id, Id), Tally>> {
        let rows = self.rows(&SINCE, args![since.minute()]).await?;
        rows.iter()
            .map(|row| {
                let tally = Tally {
                    enqueued: row.count("enqueued")?,
                    succeeded: row.count("succeeded")?,
                    retried: row.count("retried")?,
                    dead: row.count("dead")?,
                    cancelled: row.count("cancelled")?,
                    done: row.count("done")?,
                    busy_ms: row.count("busy_ms")?,
                };
                Ok(((row.id("tenant")?, row.id("job")?), tally))
            })
            .collect()
    }

    /// What each node did of each job since `before`, and how much of it since `lately`.
    pub async fn shares(&mut self, before: Timestamp, lately: Timestamp) -> Result<Vec<Share>> {
        let rows = self.rows(&SHARES, args![lately.minute(), before.minute()]).await?;
        let share = |row: &super::sql::Row| {
            Ok(Share {
                tenant: row.id("tenant")?,
                job: row.id("job")?,
                node: row.int("node")?,
                lately: row.count("lately")?,
                last_success: row.opt_int("last")?.map(|minute| Timestamp(minute * 60_000)),
            })
        };
        rows.iter().map(share).collect()
    }

    /// Adds closed minutes before `minute` to the hours.
    pub async fn roll_up(&mut self, minute: i64) -> Result<()> {
        self.exec(&ROLL_UP, args![minute]).await?;
        self.exec(&ROLLED, args![minute]).await?;
        Ok(())
    }
}
