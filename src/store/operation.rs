//! Operations on many dead runs, or on many instants of a schedule: what they were told to do is written down run by run, so that they go on where they
//! were after a restart, and change nothing but what somebody has seen and confirmed.

use std::collections::HashMap;

use super::dead::{DeadQuery, Over};
use super::record::{CANCELLED, DEAD, SUCCEEDED};
use super::sql::{Arg, Row, Sql, args};
use super::tx::{Tx, expect_rows};
use crate::clock::Timestamp;
use crate::domain::dead::{Action, Operation, OperationState};
use crate::domain::run::Enqueued;
use crate::error::{Error, Result};
use crate::id::Id;

/// One run of an operation, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationRun {
    pub tenant: Id,
    /// Of a backfill the instant, in Unix milliseconds.
    pub run: Id,
    pub result: Done,
    /// The new run, or the live one that it joined.
    pub rerun: Option<Id>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    Done,
    /// A rerun joined a live run of its job, which may have no more.
    Merged,
    /// It was left as it was.
    Left,
}

impl Done {
    const ALL: [Self; 3] = [Self::Done, Self::Merged, Self::Left];

    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Merged => "merged",
            Self::Left => "left",
        }
    }
}

static PUT: Sql = Sql::new(
    "INSERT INTO operation (id, tenant, kind, spec, total, done, failed, state, cursor, started_at, ended_at, by) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
);
static CHOSEN: Sql =
    Sql::new("INSERT INTO operation_run (operation, run, tenant) VALUES {3} ON CONFLICT (operation, run) DO NOTHING");
static CHOSEN_OF: Sql = Sql::new(
    "INSERT INTO operation_run (operation, run, tenant) SELECT CAST($1 AS BIGINT), o.run, o.tenant FROM operation_run o \
     WHERE o.operation = $2 AND o.result = 'done'",
);
static ALL: Sql = Sql::new("SELECT * FROM operation WHERE id < $1 ORDER BY id DESC LIMIT $2");
static OF_TENANT: Sql = Sql::new("SELECT * FROM operation WHERE tenant = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
static ONE: Sql = Sql::new("SELECT * FROM operation WHERE id = $1");
static OPEN: Sql = Sql::new("SELECT * FROM operation WHERE ended_at IS NULL ORDER BY id");
static NEXT: Sql = Sql::new("SELECT tenant, run FROM operation_run WHERE operation = $1 AND run > $2 ORDER BY run LIMIT $3");
/// Whoever moves the cursor has the batch: another node that read the same changes nothing.
static MOVE: Sql = Sql::new("UPDATE operation SET cursor = $1 WHERE id = $2 AND cursor = $3 AND ended_at IS NULL");
static COUNT: Sql = Sql::new("UPDATE operation SET done = $1, failed = $2, state = $3, ended_at = $4, waits = $5 WHERE id = $6");
static WAITS: Sql = Sql::new("UPDATE operation SET waits = $1 WHERE id = $2 AND ended_at IS NULL");
static RESULTS: Sql = Sql::new(
    "INSERT INTO operation_run (operation, run, tenant, result, rerun) VALUES {5} ON CONFLICT (operation, run) DO UPDATE SET \
     result = excluded.result, rerun = excluded.rerun",
);
static CANCEL: Sql = Sql::new("UPDATE operation SET state = $1, ended_at = $2 WHERE id = $3 AND ended_at IS NULL");
static RUNS: Sql = Sql::new(
    "SELECT tenant, run, result, rerun FROM operation_run WHERE operation = $1 AND result IS NOT NULL AND run < $2 ORDER BY run DESC LIMIT $3",
);
static ENDED: Sql = Sql::new("SELECT id, state FROM done WHERE (tenant, id) IN (VALUES {2})");
static RUN_NOW: Sql = Sql::new("SELECT id FROM lease WHERE (id) IN (VALUES {1})");
static CUT_RUNS: Sql = Sql::new(
    "DELETE FROM operation_run WHERE operation IN (SELECT o.id FROM operation o WHERE o.ended_at IS NOT NULL AND o.id < $1)",
);
static CUT: Sql = Sql::new("DELETE FROM operation WHERE ended_at IS NOT NULL AND id < $1");

impl Tx {
    /// Begins it with the runs that were chosen for its id; answers it with their number.
    pub async fn put_operation(&mut self, o: &Operation) -> Result<()> {
        let args = args![
            o.id,
            o.tenant,
            o.action.word(),
            serde_json::to_string(&o.order)?,
            o.total,
            o.done,
            o.left,
            o.state.word(),
            o.cursor,
            o.started_at,
            o.ended_at,
            &o.by
        ];
        self.exec(&PUT, args).await?;
        self.news.operated = true;
        Ok(())
    }

    /// Chooses the dead runs of a tenant that fit, at most `limit`; answers how many.
    pub async fn choose(&mut self, operation: Id, tenant: Id, query: &DeadQuery, limit: u64, now: Timestamp) -> Result<u64> {
        self.choose_dead(operation, tenant, query, limit, now).await
    }

    /// Chooses these runs (tenant, run).
    pub async fn choose_these(&mut self, operation: Id, runs: &[(Id, Id)]) -> Result<u64> {
        self.exec_rows(&CHOSEN, runs.iter().map(|(tenant, run)| args![operation, *run, *tenant]).collect()).await
    }

    /// Chooses the runs that another operation has dealt with.
    pub async fn choose_of(&mut self, operation: Id, other: Id) -> Result<u64> {
        self.exec(&CHOSEN_OF, args![operation, other]).await
    }

    /// Operations, newest first: of one tenant, or all.
    pub async fn operations(&mut self, tenant: Option<Id>, before: Option<Id>, limit: u32) -> Result<Vec<Operation>> {
        let before = before.unwrap_or(Id(i64::MAX));
        let rows = match tenant {
            Some(tenant) => self.rows(&OF_TENANT, args![tenant, before, limit]).await?,
            None => self.rows(&ALL, args![before, limit]).await?,
        };
        rows.iter().map(operation).collect()
    }

    pub async fn operation(&mut self, id: Id) -> Result<Option<Operation>> {
        self.row(&ONE, args![id]).await?.as_ref().map(operation).transpose()
    }

    /// Those that are not over.
    pub async fn open_operations(&mut self) -> Result<Vec<Operation>> {
        self.rows(&OPEN, args![]).await?.iter().map(operation).collect()
    }

    /// Ends it where it stands; answers whether it was not over.
    pub async fn cancel_operation(&mut self, id: Id, now: Timestamp) -> Result<bool> {
        Ok(self.exec(&CANCEL, args![OperationState::Cancelled.word(), now, id]).await? == 1)
    }

    /// Deals with its next runs, at most its rate; answers it as it stands then.
    ///
    /// # Errors
    /// `Conflict` when it is over, or another node was there first.
    pub async fn work_on(&mut self, o: &Operation, now: Timestamp) -> Result<Operation> {
        let mut next = self.next_of(o).await?;
        let (room, waits) = self.room_of(o, &next, now).await?;
        let last = room == next.len() && next.len() < o.order.rate as usize;
        next.truncate(room);
        let mut after = Operation { waits, ..o.clone() };
        if next.is_empty() && !last {
            if after.waits != o.waits {
                self.exec(&WAITS, args![after.waits.clone(), o.id]).await?;
            }
            return Ok(after);
        }
        after.cursor = next.last().map_or(o.cursor, |(_, run)| *run);
        if self.exec(&MOVE, args![after.cursor, o.id, o.cursor]).await? != 1 {
            return Err(Error::Conflict(format!("operation {} is over, or another node works on it", o.id)));
        }
        let results = match &o.order.backfill {
            Some(window) => self.backfill(o, window, &next, now).await?,
            None => self.deal_with(o, &next, now).await?,
        };
        let left = results.iter().filter(|result| result.result == Done::Left).count() as u64;
        after.left += left;
        after.done += results.len() as u64 - left;
        if last {
            (after.state, after.ended_at) = (OperationState::Done, Some(now));
        }
        let args = args![after.done, after.left, after.state.word(), after.ended_at, after.waits.clone(), o.id];
        expect_rows(self.exec(&COUNT, args).await?, 1, "operation")?;
        let row = |r: OperationRun| -> Vec<Arg> { args![o.id, r.run, r.tenant, r.result.word(), r.rerun] };
        let expected = results.len();
        expect_rows(self.exec_rows(&RESULTS, results.into_iter().map(row).collect()).await?, expected, "operation")?;
        Ok(after)
    }

    /// Whether a batch would find no place for anything, as the one before: what is asked of a reader before a loan is taken.
    pub async fn still_waits(&mut self, o: &Operation, now: Timestamp) -> Result<bool> {
        if o.waits.is_none() {
            return Ok(false);
        }
        let next = self.next_of(o).await?;
        Ok(!next.is_empty() && self.room_of(o, &next, now).await? == (0, o.waits.clone()))
    }

    async fn next_of(&mut self, o: &Operation) -> Result<Vec<(Id, Id)>> {
        let next = self.rows(&NEXT, args![o.id, o.cursor, o.order.rate]).await?;
        next.iter().map(|row| Ok((row.id("tenant")?, row.id("run")?))).collect()
    }

    /// How many of the next pieces can be dealt with now, and what the one behind them waits for. What finds no place is not
    /// left, but waits for its turn.
    async fn room_of(&mut self, o: &Operation, next: &[(Id, Id)], now: Timestamp) -> Result<(usize, Option<String>)> {
        let tenants: Vec<Id> = next.iter().map(|(tenant, _)| *tenant).collect();
        match (o.action, &o.order.backfill) {
            (Action::Discard | Action::Undo, _) => Ok((next.len(), None)),
            (Action::Rerun | Action::Backfill, None) => self.places_for(&tenants, now).await,
            (_, Some(window)) => {
                let (startable, waits) = self.startable(window, next).await?;
                let (room, full) = self.places_for(&tenants[..startable], now).await?;
                Ok((room, full.or(waits)))
            }
        }
    }

    async fn deal_with(&mut self, o: &Operation, next: &[(Id, Id)], now: Timestamp) -> Result<Vec<OperationRun>> {
        let found: Vec<Over> = self.over(next).await?.into_iter().filter(|over| over.dead).collect();
        let fits = |over: &&Over| match (o.action, &over.settled) {
            (Action::Rerun | Action::Discard | Action::Backfill, settled) => settled.is_none(),
            (Action::Undo, settled) => settled.as_ref().is_some_and(|settled| settled.can_be_undone(now)),
        };
        let fitting: Vec<Over> = found.iter().filter(fits).cloned().collect();
        let keys: Vec<(Id, Id)> = fitting.iter().map(|over| (over.tenant, over.id)).collect();
        let mut came: HashMap<Id, (Done, Option<Id>)> = keys.iter().map(|(_, run)| (*run, (Done::Done, None))).collect();
        match o.action {
            Action::Discard => self.discard(&keys, &o.by, now).await?,
            Action::Undo => self.undo_discard(&keys).await?,
            // Dealt with elsewhere.
            Action::Backfill => {}
            Action::Rerun => {
                let answers = self.rerun(&fitting, None, &o.by, now).await?;
                for (over, answer) in fitting.iter().zip(answers) {
                    let came_of = match answer {
                        Ok(Enqueued::New(new)) => (Done::Done, Some(new)),
                        Ok(joined) if over.input.is_none() => (Done::Merged, Some(joined.id())),
                        // Its own input was not run again.
                        Ok(joined) => (Done::Left, Some(joined.id())),
                        Err(_) => (Done::Left, None),
                    };
                    came.insert(over.id, came_of);
                }
            }
        }
        let of = |(tenant, run): &(Id, Id)| {
            let (result, rerun) = came.get(run).copied().unwrap_or((Done::Left, None));
            OperationRun { tenant: *tenant, run: *run, result, rerun }
        };
        Ok(next.iter().map(of).collect())
    }

    /// Runs that were dealt with, the newest first.
    pub async fn operation_runs(&mut self, operation: Id, before: Option<Id>, limit: u32) -> Result<Vec<OperationRun>> {
        let rows = self.rows(&RUNS, args![operation, before.unwrap_or(Id(i64::MAX)), limit]).await?;
        rows.iter().map(operation_run).collect()
    }

    /// The states of runs (tenant, run): `waiting`, `running`, `succeeded`, `dead` or `cancelled`.
    pub async fn states_of(&mut self, runs: &[(Id, Id)]) -> Result<HashMap<Id, &'static str>> {
        let mut states: HashMap<Id, &'static str> = runs.iter().map(|(_, run)| (*run, "waiting")).collect();
        let keys: Vec<_> = runs.iter().map(|(_, run)| args![*run]).collect();
        for row in self.rows_for(&RUN_NOW, &keys).await? {
            states.insert(row.id("id")?, "running");
        }
        let keys: Vec<_> = runs.iter().map(|(tenant, run)| args![*tenant, *run]).collect();
        for row in self.rows_for(&ENDED, &keys).await? {
            let state = match row.int("state")? {
                SUCCEEDED => "succeeded",
                DEAD => "dead",
                CANCELLED => "cancelled",
                _ => continue,
            };
            states.insert(row.id("id")?, state);
        }
        Ok(states)
    }

    /// Forgets operations that are over and begun before.
    pub async fn prune_operations(&mut self, before: Timestamp) -> Result<()> {
        let first = Id::first_at(before);
        self.exec(&CUT_RUNS, args![first]).await?;
        self.exec(&CUT, args![first]).await?;
        Ok(())
    }
}

fn operation(row: &Row) -> Result<Operation> {
    let (kind, state) = (row.text("kind")?, row.text("state")?);
    let unknown = |column: &str, word: &str| Error::Internal(anyhow::anyhow!("column {column}: {word:?} is unknown"));
    Ok(Operation {
        id: row.id("id")?,
        tenant: row.id("tenant")?,
        action: Action::parse(&kind).ok_or_else(|| unknown("kind", &kind))?,
        order: row.json("spec")?,
        total: row.count("total")?,
        done: row.count("done")?,
        left: row.count("failed")?,
        state: OperationState::parse(&state).ok_or_else(|| unknown("state", &state))?,
        cursor: row.id("cursor")?,
        started_at: row.time("started_at")?,
        ended_at: row.opt_time("ended_at")?,
        by: row.text("by")?,
        waits: row.opt_text("waits")?,
    })
}

fn operation_run(row: &Row) -> Result<OperationRun> {
    let word = row.text("result")?;
    let result = Done::ALL.into_iter().find(|done| done.word() == word);
    Ok(OperationRun {
        tenant: row.id("tenant")?,
        run: row.id("run")?,
        result: result.ok_or_else(|| Error::Internal(anyhow::anyhow!("column result: {word:?} is unknown")))?,
        rerun: row.opt_int("rerun")?.map(Id),
    })
}
