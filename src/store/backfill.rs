//! Makes up for instants of a schedule that have passed, as an operation: a run for each, no more unfinished at a time than the
//! job may have.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::operation::{Done, OperationRun};
use super::schedule::{Occurrence, trigger};
use super::sql::{Row, Sql, args};
use super::tx::Tx;
use crate::clock::Timestamp;
use crate::domain::backfill::{Window, had_a_run};
use crate::domain::dead::Operation;
use crate::domain::run::{Enqueued, NewRun};
use crate::domain::trigger::{Cause, ScheduleSpec, Trigger};
use crate::error::Result;
use crate::id::Id;

static SCHEDULE: Sql = Sql::new(
    "SELECT t.id, t.tenant, t.job, t.position, t.spec, j.revision, j.max_live, (SELECT count(*) FROM live l WHERE l.job = t.job) AS live \
     FROM trigger t JOIN job j ON j.id = t.job WHERE t.id = $1 AND j.removed_at IS NULL",
);
static BETWEEN: Sql =
    Sql::new("SELECT due_at, result FROM occurrence WHERE trigger_id = $1 AND due_at >= $2 AND due_at < $3 ORDER BY due_at");
static RESULTS: Sql = Sql::new("SELECT due_at, result FROM occurrence WHERE (trigger_id, due_at) IN (VALUES {2})");
static PUT: Sql = Sql::new(
    "INSERT INTO occurrence (trigger_id, due_at, tenant, job, result, run, note, recorded_at) VALUES {8} ON CONFLICT (trigger_id, due_at) DO UPDATE SET \
     result = excluded.result, run = excluded.run, note = excluded.note, recorded_at = excluded.recorded_at",
);

/// The schedule of a backfill as it stands now, and how many runs its job may begin.
struct Open {
    trigger: Trigger,
    revision: Id,
    max_live: u32,
    free: usize,
}

impl Tx {
    /// What came of a schedule's instants at or after `from` and before `to`, as far as the ledger has them.
    pub async fn results_between(&mut self, trigger: Id, from: Timestamp, to: Timestamp) -> Result<HashMap<Timestamp, String>> {
        self.rows(&BETWEEN, args![trigger, from, to]).await?.iter().map(result).collect()
    }

    /// How many of these instants can have their runs now, and what the next one waits for; all when their schedule is gone.
    pub(super) async fn startable(&mut self, window: &Window, next: &[(Id, Id)]) -> Result<(usize, Option<String>)> {
        let Some(open) = self.open(window.trigger).await? else { return Ok((next.len(), None)) };
        let room = open.free.min(next.len());
        let waits = || format!("max_live of the job ({} of {} unfinished)", open.max_live, open.max_live);
        Ok((room, (room < next.len()).then(waits)))
    }

    /// Makes the runs of these instants (tenant, instant).
    pub(super) async fn backfill(
        &mut self,
        o: &Operation,
        window: &Window,
        next: &[(Id, Id)],
        now: Timestamp,
    ) -> Result<Vec<OperationRun>> {
        let left = |tenant: Id, at: Id| OperationRun { tenant, run: at, result: Done::Left, rerun: None };
        let open = self.open(window.trigger).await?;
        let Some((open, spec)) = open.as_ref().and_then(|open| Some((open, open.trigger.spec.schedule()?))) else {
            return Ok(next.iter().map(|(tenant, at)| left(*tenant, *at)).collect());
        };
        let keys: Vec<_> = next.iter().map(|(_, at)| args![window.trigger, *at]).collect();
        let came: HashMap<Timestamp, String> = self.rows_for(&RESULTS, &keys).await?.iter().map(result).collect::<Result<_>>()?;
        let wanted = |at: &Id| window.again || !came.get(&Timestamp(at.0)).is_some_and(|result| had_a_run(result));
        let runs = next.iter().filter(|(_, at)| wanted(at)).map(|(_, at)| new_run(open, spec, Timestamp(at.0), &o.by)).collect();
        let mut answers = self.enqueue(&[runs], now).await?.into_iter().flatten();
        let (mut results, mut occurrences) = (Vec::with_capacity(next.len()), Vec::new());
        for (tenant, at) in next {
            let answer = if wanted(at) { answers.next() } else { None };
            let Some(Ok(Enqueued::New(run))) = answer else {
                results.push(left(*tenant, *at));
                continue;
            };
            results.push(OperationRun { tenant: *tenant, run: *at, result: Done::Done, rerun: Some(run) });
            let Trigger { id: trigger, tenant, job, .. } = open.trigger;
            let note = Some(format!("by {}", o.by));
            let due_at = Timestamp(at.0);
            occurrences.push(Occurrence { trigger, due_at, tenant, job, result: "backfilled", run: Some(run), note });
        }
        let rows =
            occurrences.into_iter().map(|o| args![o.trigger, o.due_at, o.tenant, o.job, o.result, o.run, o.note, now]).collect();
        self.exec_rows(&PUT, rows).await?;
        Ok(results)
    }

    async fn open(&mut self, of: Id) -> Result<Option<Open>> {
        let Some(row) = self.row(&SCHEDULE, args![of]).await? else { return Ok(None) };
        let (max_live, live) = (row.small("max_live")?, row.small("live")?);
        let free = if max_live == 0 { usize::MAX } else { max_live.saturating_sub(live) as usize };
        Ok(Some(Open { trigger: trigger(&row)?, revision: row.id("revision")?, max_live, free }))
    }
}

fn result(row: &Row) -> Result<(Timestamp, String)> {
    Ok((row.time("due_at")?, row.text("result")?))
}

/// It is told for which instant it is: the clock does not say it.
fn new_run(open: &Open, spec: &ScheduleSpec, due_at: Timestamp, by: &str) -> NewRun {
    let mut input = spec.input.clone().unwrap_or_else(|| json!({}));
    if let Value::Object(fields) = &mut input {
        fields.insert("due_at".into(), json!(due_at));
    }
    NewRun {
        tenant: open.trigger.tenant,
        job: open.trigger.job,
        revision: open.revision,
        cause: Cause::Schedule,
        input: Some(input),
        due_at: None,
        start_by: None,
        parent: None,
        requested_by: Some(format!("backfill, {by}")),
        max_live: open.max_live,
        idempotency: None,
    }
}
