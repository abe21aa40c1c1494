//! The right of a node to runs: rows move from `ready` to `lease`, with the next attempt number and fence.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};

use super::sql::{Row, Sql, args};
use super::tx::{Tx, expect_rows};
use crate::clock::Timestamp;
use crate::domain::admission::{Bounds, Need};
use crate::domain::run::{Run, State};
use crate::domain::trigger::Cause;
use crate::error::{Error, Result};
use crate::id::Id;

/// Jobs to claim from, each with how many runs at most; in the order of the ring.
#[derive(Debug, Clone, Default)]
pub struct Want {
    pub lanes: Vec<Lane>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lane {
    pub tenant: Id,
    pub job: Id,
    pub runs: u32,
    pub bounds: Bounds,
    /// When it is one with a limit.
    pub class: Option<Arc<str>>,
}

/// What a claim came to.
#[derive(Debug, Default)]
pub struct Taken {
    pub runs: Vec<Claimed>,
    /// Jobs of which less was taken than asked, though there may be more: what they lack, seen over all nodes.
    pub held: HashMap<Id, Need>,
}

/// A run this node now has the right to, with its input.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    pub run: Run,
    pub input: Option<String>,
}

/// Lanes that one statement seeks; fewer are filled up with a job that does not exist.
const ARMS: usize = 16;
const NO_JOB: Id = Id(-1);

/// One seek along the primary key of `ready` for each lane.
static CLAIM: LazyLock<Sql> = LazyLock::new(|| {
    let arm = "SELECT * FROM (SELECT * FROM ready WHERE job = $1 ORDER BY job, id LIMIT $2) x";
    let text = format!(
        "INSERT INTO lease (node, started_at, id, job, tenant, revision, created_at, cause, payload, attempt, fence, failed, lost, snoozed, \
         first_started_at, start_by) SELECT CAST($1 AS BIGINT), CAST($2 AS BIGINT), id, job, tenant, revision, created_at, cause, payload, \
         attempt + 1, fence + 1, failed, lost, snoozed, COALESCE(first_started_at, CAST($3 AS BIGINT)), start_by FROM ({}) y WHERE true \
         RETURNING id, job, tenant, revision, created_at, cause, payload, attempt, fence, failed, lost, snoozed, first_started_at, start_by, \
         node, started_at",
        vec![arm; ARMS].join(" UNION ALL ")
    );
    Sql::new(text.leak())
});
static TAKE: Sql = Sql::new("DELETE FROM ready WHERE (job, id) IN (VALUES {2})");
static INPUTS: Sql = Sql::new("SELECT run, input FROM payload WHERE (tenant, run) IN (VALUES {2})");

impl Tx {
    /// Answers want by want.
    pub async fn claim(&mut self, wants: &[Want], now: Timestamp) -> Result<Vec<Taken>> {
        let mut answers = Vec::with_capacity(wants.len());
        for want in wants {
            let (lanes, held) = self.within_bounds(&want.lanes, now).await?;
            let mut taken = Taken { runs: Vec::new(), held };
            for lanes in lanes.chunks(ARMS) {
                taken.runs.extend(self.claim_lanes(lanes, now).await?);
            }
            let begun: Vec<&Run> = taken.runs.iter().map(|claimed| &claimed.run).collect();
            self.note_starts(&lanes, &begun, now).await?;
            unhold(&want.lanes, &lanes, &mut taken);
            answers.push(taken);
        }
        Ok(answers)
    }

    async fn claim_lanes(&mut self, lanes: &[Lane], now: Timestamp) -> Result<Vec<Claimed>> {
        let mut args = args![self.node, now, now];
        for n in 0..ARMS {
            let (job, limit) = lanes.get(n).map_or((NO_JOB, 0), |lane| (lane.job, lane.runs));
            args.extend(args![job, limit]);
        }
        let dialect = self.dialect();
        let rows = self.rows_text(CLAIM.for_rows(1, dialect), args).await?;
        let runs = rows.iter().map(leased).collect::<Result<Vec<_>>>()?;
        for run in &runs {
            self.news.counted.claimed(run, now);
        }
        let taken = self.exec_keys(&TAKE, &runs.iter().map(|run| args![run.job, run.id]).collect::<Vec<_>>()).await?;
        expect_rows(taken, runs.len(), "claim")?;
        let mut inputs = self.inputs(&runs).await?;
        Ok(runs.into_iter().map(|run| Claimed { input: inputs.remove(&run.id).flatten(), run }).collect())
    }

    async fn inputs(&mut self, runs: &[Run]) -> Result<HashMap<Id, Option<String>>> {
        let keys: Vec<_> = runs.iter().filter(|run| run.payload).map(|run| args![run.tenant, run.id]).collect();
        self.rows_for(&INPUTS, &keys).await?.iter().map(|row| Ok((row.id("run")?, row.opt_text("input")?))).collect()
    }
}

/// A lane that had fewer runs than might begin is empty, not held; and the others of its tenant were cut for starts that were
/// not used.
fn unhold(wanted: &[Lane], allowed: &[Lane], taken: &mut Taken) {
    let mut got: HashMap<Id, u32> = HashMap::new();
    for claimed in &taken.runs {
        *got.entry(claimed.run.job).or_default() += 1;
    }
    let mut spared = BTreeSet::new();
    for lane in allowed.iter().filter(|lane| got.get(&lane.job).copied().unwrap_or(0) < lane.runs) {
        taken.held.remove(&lane.job);
        spared.insert(lane.tenant);
    }
    for lane in wanted.iter().filter(|lane| spared.contains(&lane.tenant)) {
        if let Some(need @ Need::Starts(_)) = taken.held.get_mut(&lane.job) {
            *need = Need::Alone(false);
        }
    }
}

/// A row of `lease` as a run.
pub(super) fn leased(row: &Row) -> Result<Run> {
    Ok(Run {
        state: State::Running { node: row.int("node")?, started_at: row.time("started_at")?, stopping: false },
        ..unfinished(row)?
    })
}

/// The columns that `ready`, `later` and `lease` share; the state is for the caller to set.
pub(super) fn unfinished(row: &Row) -> Result<Run> {
    let state = State::Waiting { due_at: row.time("created_at")?, why: None };
    Ok(Run {
        fence: row.int("fence")?,
        first_started_at: row.opt_time("first_started_at")?,
        start_by: row.opt_time("start_by")?,
        ..shared(row, state)?
    })
}

/// The columns that all four tables of runs share.
pub(super) fn shared(row: &Row, state: State) -> Result<Run> {
    Ok(Run {
        id: row.id("id")?,
        tenant: row.id("tenant")?,
        job: row.id("job")?,
        revision: row.id("revision")?,
        cause: cause(row)?,
        payload: row.int("payload")? != 0,
        attempt: row.small("attempt")?,
        fence: 0,
        failed: row.small("failed")?,
        lost: row.small("lost")?,
        snoozed: row.small("snoozed")?,
        created_at: row.time("created_at")?,
        first_started_at: None,
        start_by: None,
        state,
        counts: None,
        message: None,
        print: None,
    })
}

pub(super) fn cause(row: &Row) -> Result<Cause> {
    let code = row.int("cause")?;
    Cause::from_code(code).ok_or_else(|| Error::Internal(anyhow::anyhow!("column cause: {code} is no trigger kind")))
}
