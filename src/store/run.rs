//! Reading runs: whichever table a run stands in, it is one [`Run`] with a state.

use super::claim::{leased, shared, unfinished};
use super::record::{CANCELLED, DEAD, SUCCEEDED};
use super::sql::{Row, Sql, args};
use super::tx::Tx;
use crate::domain::attempt::{Attempt, Counts, Used};
use crate::domain::run::{Payload, Reason, Run, State, StateFilter};
use crate::error::{Error, Result};
use crate::id::Id;

/// Counts on pages stop here and show "10,000+".
pub const COUNT_CAP: u64 = 10_000;

/// Which runs a list shows, newest first.
#[derive(Debug, Clone, Default)]
pub struct RunQuery {
    pub job: Option<Id>,
    pub state: Option<StateFilter>,
    /// Only runs older than this one: the keyset of the page before.
    pub before: Option<Id>,
    pub limit: u32,
}

/// Runs by state; each capped at [`COUNT_CAP`] + 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct StateCounts {
    pub waiting: u64,
    pub running: u64,
    /// Of the waiting, those that failed before.
    pub retrying: u64,
    /// That still need a person: neither run again nor discarded.
    pub dead: u64,
}

impl std::iter::Sum for StateCounts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, one| Self {
            waiting: sum.waiting + one.waiting,
            running: sum.running + one.running,
            retrying: sum.retrying + one.retrying,
            dead: sum.dead + one.dead,
        })
    }
}

/// All four tables in one statement: it sees one moment, so a run that moves meanwhile is in exactly one of them.
static ONE: Sql = Sql::new(
    "SELECT CAST(0 AS BIGINT) AS place, job, id, tenant, revision, created_at, cause, payload, attempt, fence, failed, lost, snoozed, first_started_at, start_by, \
       node, started_at, (SELECT c.at FROM cancel c WHERE c.run = lease.id) AS cancelled_at, CAST(NULL AS BIGINT) AS due_at, CAST(NULL AS TEXT) AS why, CAST(NULL AS BIGINT) AS state, \
       CAST(NULL AS BIGINT) AS reason, CAST(NULL AS BIGINT) AS ended_at, CAST(NULL AS BIGINT) AS taken, CAST(NULL AS BIGINT) AS done, CAST(NULL AS BIGINT) AS undone, CAST(NULL AS BIGINT) AS remain, CAST(NULL AS BIGINT) AS print, CAST(NULL AS TEXT) AS message \
     FROM lease WHERE id = $1 AND tenant = $2 \
     UNION ALL SELECT 1, job, id, tenant, revision, created_at, cause, payload, attempt, fence, failed, lost, snoozed, first_started_at, start_by, \
       NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL \
     FROM ready WHERE job IN (SELECT j.id FROM job j WHERE j.tenant = $2) AND id = $1 \
     UNION ALL SELECT 2, job, id, tenant, revision, created_at, cause, payload, attempt, fence, failed, lost, snoozed, first_started_at, start_by, \
       NULL, NULL, NULL, due_at, why, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL \
     FROM later WHERE tenant = $2 AND id = $1 \
     UNION ALL SELECT 3, job, id, tenant, revision, created_at, cause, payload, attempt, 0, failed, lost, snoozed, NULL, NULL, \
       node, started_at, NULL, NULL, NULL, state, reason, ended_at, taken, done, undone, remain, print, message \
     FROM done WHERE tenant = $2 AND id = $1",
);
static JOBS: Sql = Sql::new("SELECT id FROM job WHERE tenant = $1");
static DONE_TENANT: Sql = Sql::new("SELECT * FROM done WHERE tenant = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
// `state <> 0` is said again in these: the index of what did not succeed is partial, and the planner wants to see it.
static DONE_WELL: Sql = Sql::new("SELECT * FROM done WHERE tenant = $1 AND state = 0 AND id < $2 ORDER BY id DESC LIMIT $3");
static DONE_STATE: Sql =
    Sql::new("SELECT * FROM done WHERE tenant = $1 AND state = $2 AND state <> 0 AND id < $3 ORDER BY id DESC LIMIT $4");
static DONE_JOB: Sql = Sql::new("SELECT * FROM done WHERE job = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
static DONE_JOB_WELL: Sql = Sql::new("SELECT * FROM done WHERE job = $1 AND state = 0 AND id < $2 ORDER BY id DESC LIMIT $3");
static DONE_JOB_STATE: Sql =
    Sql::new("SELECT * FROM done WHERE job = $1 AND state = $2 AND state <> 0 AND id < $3 ORDER BY id DESC LIMIT $4");
static LEASE_TENANT: Sql = Sql::new(
    "SELECT l.*, (SELECT at FROM cancel c WHERE c.run = l.id) AS cancelled_at FROM lease l WHERE l.tenant = $1 AND l.id < $2 ORDER BY l.id DESC LIMIT $3",
);
static LATER_TENANT: Sql = Sql::new(
    "SELECT * FROM later WHERE tenant = $1 AND id < $2 AND ($4 = 0 OR ($4 = 1 AND why LIKE 'deferred%') OR ($4 = 2 AND why NOT LIKE 'deferred%' AND (failed > 0 OR lost > 0))) \
     ORDER BY id DESC LIMIT $3",
);
static LEASE_JOB: Sql = Sql::new(
    "SELECT l.*, (SELECT at FROM cancel c WHERE c.run = l.id) AS cancelled_at FROM lease l WHERE l.tenant = $1 AND l.job = $2 AND l.id < $3 ORDER BY l.id DESC LIMIT $4",
);
static LATER_JOB: Sql = Sql::new(
    "SELECT * FROM later WHERE tenant = $1 AND job = $2 AND id < $3 AND ($5 = 0 OR ($5 = 1 AND why LIKE 'deferred%') OR ($5 = 2 AND why NOT LIKE 'deferred%' AND (failed > 0 OR lost > 0))) \
     ORDER BY id DESC LIMIT $4",
);
static READY_JOB: Sql = Sql::new(
    "SELECT * FROM ready WHERE job = $1 AND id < $2 AND ($4 = 0 OR ($4 = 2 AND (failed > 0 OR lost > 0))) ORDER BY id DESC LIMIT $3",
);
static PAYLOAD: Sql = Sql::new("SELECT input, output, details, parent, requested_by FROM payload WHERE tenant = $1 AND run = $2");
static ATTEMPTS: Sql = Sql::new(
    "SELECT attempt, node, started_at, ended_at, outcome, message, delay_ms, peak_memory, requests, took FROM attempt WHERE tenant = $1 AND run = $2 ORDER BY attempt DESC",
);
static COUNT_READY: Sql = Sql::new("SELECT count(*) AS n FROM (SELECT 1 FROM ready WHERE job = $1 LIMIT 10001) x");
static COUNT_RETRIED: Sql =
    Sql::new("SELECT count(*) AS n FROM (SELECT 1 FROM ready WHERE job = $1 AND failed > 0 LIMIT 10001) x");
static COUNT_LATER: Sql = Sql::new(
    "SELECT count(*) AS n, CAST(coalesce(sum(retried), 0) AS BIGINT) AS retried FROM \
     (SELECT CASE WHEN failed > 0 THEN 1 ELSE 0 END AS retried FROM later WHERE tenant = $1 LIMIT 10001) x",
);
static COUNT_LEASES: Sql = Sql::new("SELECT count(*) AS n FROM lease WHERE tenant = $1");
static COUNT_DEAD: Sql = Sql::new(
    "SELECT count(*) AS n FROM (SELECT 1 FROM done d WHERE d.tenant = $1 AND d.state = 1 AND d.state <> 0 AND NOT EXISTS \
     (SELECT 1 FROM settled s WHERE s.tenant = d.tenant AND s.run = d.id) LIMIT 10001) x",
);
static LAST_ATTEMPT: Sql = Sql::new("SELECT node, outcome, peak_memory, requests, took FROM done WHERE tenant = $1 AND id = $2");

impl Tx {
    pub async fn run(&mut self, tenant: Id, id: Id) -> Result<Option<Run>> {
        let Some(row) = self.row(&ONE, args![id, tenant]).await? else { return Ok(None) };
        match row.int("place")? {
            0 => running(&row),
            1 => unfinished(&row),
            2 => later(&row),
            _ => done(&row),
        }
        .map(Some)
    }

    /// # Errors
    /// `NotFound`, also when the run is another tenant's.
    pub async fn need_run(&mut self, tenant: Id, id: Id) -> Result<Run> {
        self.run(tenant, id).await?.ok_or_else(|| Error::not_found(format!("run {id}")))
    }

    /// Runs of a tenant, newest first.
    pub async fn runs(&mut self, tenant: Id, query: &RunQuery) -> Result<Vec<Run>> {
        let (before, limit) = (query.before.unwrap_or(Id(i64::MAX)), query.limit);
        let wants = |state| query.state.is_none_or(|wanted| wanted == state);
        let mut found = Vec::new();
        if let Some(waiting) = waiting(query.state) {
            let jobs = match query.job {
                Some(job) => vec![job],
                None => self.rows(&JOBS, args![tenant]).await?.iter().map(|row| row.id("id")).collect::<Result<_>>()?,
            };
            for job in jobs {
                let rows = self.rows(&READY_JOB, args![job, before, limit, waiting]).await?;
                found.extend(rows.iter().map(unfinished).collect::<Result<Vec<_>>>()?);
            }
            let rows = match query.job {
                None => self.rows(&LATER_TENANT, args![tenant, before, limit, waiting]).await?,
                Some(job) => self.rows(&LATER_JOB, args![tenant, job, before, limit, waiting]).await?,
            };
            found.extend(rows.iter().map(later).collect::<Result<Vec<_>>>()?);
        }
        if wants(StateFilter::Running) {
            let rows = match query.job {
                None => self.rows(&LEASE_TENANT, args![tenant, before, limit]).await?,
                Some(job) => self.rows(&LEASE_JOB, args![tenant, job, before, limit]).await?,
            };
            found.extend(rows.iter().map(running).collect::<Result<Vec<_>>>()?);
        }
        let ended = match query.state {
            None => Some(None),
            Some(StateFilter::Succeeded) => Some(Some(SUCCEEDED)),
            Some(StateFilter::Dead) => Some(Some(DEAD)),
            Some(StateFilter::Cancelled) => Some(Some(CANCELLED)),
            Some(_) => None,
        };
        if let Some(state) = ended {
            let rows = match (query.job, state) {
                (None, None) => self.rows(&DONE_TENANT, args![tenant, before, limit]).await?,
                (None, Some(SUCCEEDED)) => self.rows(&DONE_WELL, args![tenant, before, limit]).await?,
                (None, Some(state)) => self.rows(&DONE_STATE, args![tenant, state, before, limit]).await?,
                (Some(job), None) => self.rows(&DONE_JOB, args![job, before, limit]).await?,
                (Some(job), Some(SUCCEEDED)) => self.rows(&DONE_JOB_WELL, args![job, before, limit]).await?,
                (Some(job), Some(state)) => self.rows(&DONE_JOB_STATE, args![job, state, before, limit]).await?,
            };
            found.extend(rows.iter().map(done).collect::<Result<Vec<_>>>()?);
        }
        found.retain(|run| run.tenant == tenant && query.job.is_none_or(|job| run.job == job));
        // A run that moved between two of these statements was seen twice: as it was later is right.
        found.reverse();
        found.sort_by_key(|run| std::cmp::Reverse(run.id));
        found.dedup_by_key(|run| run.id);
        found.truncate(limit as usize);
        Ok(found)
    }

    pub async fn payload(&mut self, tenant: Id, run: Id) -> Result<Payload> {
        let Some(row) = self.row(&PAYLOAD, args![tenant, run]).await? else { return Ok(Payload::default()) };
        Ok(Payload {
            input: row.opt_text("input")?,
            output: row.opt_text("output")?,
            details: row.opt_text("details")?,
            parent: row.opt_int("parent")?.map(Id),
            requested_by: row.opt_text("requested_by")?,
        })
    }

    /// Attempts of a run, newest first, the last one (which stands in the run's own row) included.
    pub async fn attempts_of(&mut self, run: &Run) -> Result<Vec<Attempt>> {
        if run.attempt == 0 {
            return Ok(Vec::new());
        }
        let rows = self.rows(&ATTEMPTS, args![run.tenant, run.id]).await?;
        let mut attempts = rows.iter().map(attempt).collect::<Result<Vec<_>>>()?;
        let last = match &run.state {
            State::Running { node, started_at, .. } => Some((*started_at, None, Some((*node, "running".to_owned(), None)))),
            State::Succeeded { started_at, ended_at } => Some((*started_at, Some(*ended_at), None)),
            State::Dead { started_at, ended_at, .. } | State::Cancelled { started_at, ended_at } => {
                started_at.map(|started_at| (started_at, Some(*ended_at), None))
            }
            State::Waiting { .. } => None,
        };
        if let Some((started_at, ended_at, running)) = last {
            let (node, outcome, used) = match running {
                Some(running) => running,
                None => self.last_attempt(run).await?,
            };
            let (attempt, message) = (run.attempt, run.message.clone());
            attempts.insert(0, Attempt { attempt, node, started_at, ended_at, outcome, message, delay_ms: None, used });
        }
        Ok(attempts)
    }

    /// The node, the outcome and the use of the attempt that ended a run.
    async fn last_attempt(&mut self, run: &Run) -> Result<(i64, String, Option<Used>)> {
        let row = self.row(&LAST_ATTEMPT, args![run.tenant, run.id]).await?;
        let (node, outcome) = match &row {
            Some(row) => (row.opt_int("node")?, row.opt_text("outcome")?),
            None => (None, None),
        };
        let used = row.as_ref().map(used).transpose()?.flatten();
        let word = match &run.state {
            State::Dead { .. } => "failed",
            state => state.word(),
        };
        Ok((node.unwrap_or(0), outcome.unwrap_or_else(|| word.to_owned()), used))
    }

    pub async fn state_counts(&mut self, tenant: Id) -> Result<StateCounts> {
        let mut counts = StateCounts::default();
        let jobs: Vec<Id> = self.rows(&JOBS, args![tenant]).await?.iter().map(|row| row.id("id")).collect::<Result<_>>()?;
        for job in jobs {
            counts.waiting += self.count(&COUNT_READY, job).await?;
            counts.retrying += self.count(&COUNT_RETRIED, job).await?;
        }
        if let Some(row) = self.row(&COUNT_LATER, args![tenant]).await? {
            counts.waiting += row.count("n")?;
            counts.retrying += row.count("retried")?;
        }
        counts.running = self.count(&COUNT_LEASES, tenant).await?;
        counts.dead = self.count(&COUNT_DEAD, tenant).await?;
        Ok(counts)
    }

    async fn count(&mut self, sql: &'static Sql, of: Id) -> Result<u64> {
        self.row(sql, args![of]).await?.map_or(Ok(0), |row| row.count("n"))
    }
}

/// Which waiting runs a list shows, as its statements know them; none when it shows no waiting ones.
pub(super) fn waiting(state: Option<StateFilter>) -> Option<i64> {
    match state {
        None | Some(StateFilter::Waiting) => Some(0),
        Some(StateFilter::Snoozed) => Some(1),
        Some(StateFilter::Retrying) => Some(2),
        Some(_) => None,
    }
}

fn running(row: &Row) -> Result<Run> {
    let mut run = leased(row)?;
    if let State::Running { stopping, .. } = &mut run.state {
        *stopping = row.opt_int("cancelled_at")?.is_some();
    }
    Ok(run)
}

fn later(row: &Row) -> Result<Run> {
    let why = row.text("why")?;
    Ok(Run { state: State::Waiting { due_at: row.time("due_at")?, why: (!why.is_empty()).then_some(why) }, ..unfinished(row)? })
}

pub(super) fn done(row: &Row) -> Result<Run> {
    let (started_at, ended_at) = (row.opt_time("started_at")?, row.time("ended_at")?);
    let state = match row.int("state")? {
        SUCCEEDED => State::Succeeded { started_at: started_at.unwrap_or(ended_at), ended_at },
        DEAD => {
            let code = row.int("reason")?;
            let reason =
                Reason::from_code(code).ok_or_else(|| Error::Internal(anyhow::anyhow!("column reason: {code} is no reason")))?;
            State::Dead { started_at, ended_at, reason }
        }
        CANCELLED => State::Cancelled { started_at, ended_at },
        code => return Err(Error::Internal(anyhow::anyhow!("column state: {code} is no state"))),
    };
    let counts = match row.opt_count("taken")? {
        Some(taken) => Some(Counts {
            taken,
            done: row.opt_count("done")?.unwrap_or(0),
            failed: row.opt_count("undone")?.unwrap_or(0),
            left: row.opt_count("remain")?,
        }),
        None => None,
    };
    let (message, print) = (row.opt_text("message")?, row.opt_int("print")?);
    Ok(Run { first_started_at: started_at, counts, message, print, ..shared(row, state)? })
}

fn attempt(row: &Row) -> Result<Attempt> {
    Ok(Attempt {
        attempt: row.small("attempt")?,
        node: row.int("node")?,
        started_at: row.time("started_at")?,
        ended_at: Some(row.time("ended_at")?),
        outcome: row.text("outcome")?,
        message: row.opt_text("message")?,
        delay_ms: row.opt_int("delay_ms")?,
        used: used(row)?,
    })
}

fn used(row: &Row) -> Result<Option<Used>> {
    let Some((peak_memory, requests)) = row.opt_count("peak_memory")?.zip(row.opt_count("requests")?) else { return Ok(None) };
    let took = row.opt_text("took")?.map(|text| serde_json::from_str(&text)).transpose()?.unwrap_or_default();
    Ok(Some(Used { peak_memory, requests, took }))
}
