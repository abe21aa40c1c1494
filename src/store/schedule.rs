//! Triggers, and the moving part of those that are schedules: when they are due next, and what came of each instant.

use super::sql::{Row, Sql, args};
use super::tx::{Tx, expect_rows};
use crate::clock::Timestamp;
use crate::domain::backlog::Probe;
use crate::domain::trigger::{Trigger, TriggerSpec};
use crate::error::Result;
use crate::id::Id;

/// What came of one instant at which a schedule was due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    pub trigger: Id,
    pub due_at: Timestamp,
    pub tenant: Id,
    pub job: Id,
    /// ran, late, queued, merged, skipped, missed, suppressed, backfilled
    pub result: &'static str,
    pub run: Option<Id>,
    pub note: Option<String>,
}

/// A schedule that is due.
#[derive(Debug, Clone, PartialEq)]
pub struct Due {
    pub trigger: Trigger,
    pub due_at: Timestamp,
    /// It has had its run: by a clock that ran ahead.
    pub had_a_run: bool,
}

/// An instant that waits for a run of its job to end.
#[derive(Debug, Clone, PartialEq)]
pub struct Queued {
    pub trigger: Trigger,
    pub due_at: Timestamp,
    pub note: Option<String>,
    /// No run of its job is unfinished.
    pub free: bool,
}

/// A schedule and when it is due next.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    pub trigger: Trigger,
    pub next_due_at: Option<Timestamp>,
}

/// Another next time for a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    pub trigger: Id,
    /// It is left alone when this is not what stands.
    pub was: Option<Timestamp>,
    pub next: Timestamp,
}

static OF_JOB: Sql = Sql::new("SELECT id, tenant, job, position, spec FROM trigger WHERE job = $1 ORDER BY position");
static INSERT: Sql =
    Sql::new("INSERT INTO trigger (id, tenant, job, position, kind, spec, follows) VALUES ($1, $2, $3, $4, $5, $6, $7)");
static REMOVE: Sql = Sql::new("DELETE FROM trigger WHERE id = $1");
static REMOVE_SCHEDULE: Sql = Sql::new("DELETE FROM schedule WHERE trigger_id = $1");
static REMOVE_PROBE: Sql = Sql::new("DELETE FROM probe WHERE trigger_id = $1");
static REMOVE_NOTICES: Sql = Sql::new("DELETE FROM notice WHERE job = $1 AND trigger_id = $2");
static UNQUEUE: Sql = Sql::new(
    "UPDATE occurrence SET result = 'skipped', note = 'its trigger was removed' WHERE trigger_id = $1 AND result = 'queued'",
);
static CHANGE: Sql = Sql::new("UPDATE trigger SET spec = $1, follows = $2 WHERE id = $3");
static MOVE: Sql = Sql::new("UPDATE trigger SET position = $1 WHERE id = $2");
static SCHEDULE: Sql =
    Sql::new("INSERT INTO schedule (trigger_id, tenant, job, enabled, next_due_at) VALUES ($1, $2, $3, 1, $4)");
static DUE: Sql = Sql::new(
    "SELECT t.id, t.tenant, t.job, t.position, t.spec, s.next_due_at, \
     (SELECT count(*) FROM occurrence o WHERE o.trigger_id = s.trigger_id AND o.due_at = s.next_due_at AND o.run IS NOT NULL) AS runs \
     FROM schedule s JOIN trigger t ON t.id = s.trigger_id \
     WHERE s.enabled = 1 AND s.next_due_at <= $1 ORDER BY s.next_due_at LIMIT 1000",
);
static NEXT_DUE: Sql = Sql::new("SELECT min(next_due_at) AS at FROM schedule WHERE enabled = 1");
static ADVANCE: Sql =
    Sql::new("UPDATE schedule SET next_due_at = v.column2 FROM (VALUES {2}) v WHERE schedule.trigger_id = v.column1");
static STANDING: Sql = Sql::new(
    "SELECT t.id, t.tenant, t.job, t.position, t.spec, s.next_due_at FROM schedule s JOIN trigger t ON t.id = s.trigger_id \
     WHERE s.enabled = 1 AND s.trigger_id > $1 ORDER BY s.trigger_id LIMIT 1000",
);
static LOST: Sql = Sql::new(
    "SELECT t.id, t.tenant, t.job, t.position, t.spec, s.next_due_at FROM schedule s JOIN trigger t ON t.id = s.trigger_id \
     WHERE s.enabled = 1 AND (s.next_due_at IS NULL OR s.next_due_at <= $1) LIMIT 1000",
);
static MEND: Sql = Sql::new(
    "UPDATE schedule SET next_due_at = v.column2 FROM (VALUES {3}) v WHERE schedule.trigger_id = v.column1 AND COALESCE(schedule.next_due_at, -1) = v.column3",
);
static SETTLED: Sql = Sql::new(
    "SELECT due_at FROM occurrence WHERE trigger_id = $1 AND due_at > $2 AND result <> 'missed' ORDER BY due_at LIMIT 1000",
);
static OCCURRED: Sql = Sql::new(
    "INSERT INTO occurrence (trigger_id, due_at, tenant, job, result, run, note, recorded_at) VALUES {8} ON CONFLICT (trigger_id, due_at) DO UPDATE SET \
     result = excluded.result, run = excluded.run, note = excluded.note, recorded_at = excluded.recorded_at WHERE occurrence.result IN ('queued', 'missed')",
);
static QUEUED: Sql = Sql::new(
    "SELECT t.id, t.tenant, t.job, t.position, t.spec, o.due_at, o.note, (SELECT count(*) FROM live l WHERE l.job = o.job) AS live \
     FROM occurrence o JOIN trigger t ON t.id = o.trigger_id WHERE o.result = 'queued' ORDER BY live, o.due_at LIMIT 1000",
);
static LIVE_OF: Sql = Sql::new("SELECT run FROM live WHERE job = $1 ORDER BY run");
static OCCURRENCES: Sql =
    Sql::new("SELECT due_at, result, run, note FROM occurrence WHERE job = $1 ORDER BY due_at DESC LIMIT $2");

static INSTANT: Sql = Sql::new(
    "SELECT o.due_at, t.spec FROM (SELECT trigger_id, due_at, run FROM occurrence WHERE job = $1 AND due_at <= $2 ORDER BY due_at DESC LIMIT 100) o \
     JOIN trigger t ON t.id = o.trigger_id WHERE o.run = $3 ORDER BY o.due_at DESC LIMIT 1",
);

impl Tx {
    pub async fn triggers_of(&mut self, job: Id) -> Result<Vec<Trigger>> {
        self.rows(&OF_JOB, args![job]).await?.iter().map(trigger).collect()
    }

    /// Makes these the job's triggers. One that stands already keeps its id and what it knows (next due time, probe); one that
    /// was changed keeps its id, with its ledger and the notifications that were taken in for it.
    /// `next_due` tells when a schedule is due first.
    pub async fn put_triggers(
        &mut self,
        tenant: Id,
        job: Id,
        specs: &[TriggerSpec],
        now: Timestamp,
        next_due: impl Fn(&TriggerSpec) -> Option<Timestamp>,
    ) -> Result<()> {
        let mut standing = self.triggers_of(job).await?;
        let mut kept: Vec<(usize, Id, Option<&TriggerSpec>)> = Vec::new();
        let mut other = Vec::new();
        for (position, spec) in specs.iter().enumerate() {
            match standing.iter().position(|trigger| trigger.spec == *spec) {
                Some(at) => kept.push((position, standing.remove(at).id, None)),
                None => other.push((position, spec)),
            }
        }
        for (position, spec) in other {
            match standing.iter().position(|trigger| trigger.spec.kind() == spec.kind()) {
                Some(at) => {
                    let id = standing.remove(at).id;
                    self.change_trigger((tenant, job), id, spec, now, next_due(spec)).await?;
                    kept.push((position, id, None));
                }
                None => kept.push((position, self.new_id(), Some(spec))),
            }
        }
        for gone in &standing {
            self.remove_trigger(gone).await?;
        }
        // Positions are unique: move what stays out of the way first.
        for (position, id, _) in kept.iter().filter(|(_, _, new)| new.is_none()) {
            self.exec(&MOVE, args![1_000_000 + *position, *id]).await?;
        }
        for (position, id, new) in kept {
            let Some(spec) = new else {
                self.exec(&MOVE, args![position, id]).await?;
                continue;
            };
            let follows = spec.after().map(|after| after.job.clone());
            self.exec(&INSERT, args![id, tenant, job, position, spec.kind(), serde_json::to_string(spec)?, follows]).await?;
            match spec {
                TriggerSpec::Schedule(_) => {
                    self.exec(&SCHEDULE, args![id, tenant, job, next_due(spec)]).await?;
                }
                TriggerSpec::Backlog { .. } => self.put_probe(&Probe::new(id, tenant, job, now)).await?,
                TriggerSpec::Webhook { .. } | TriggerSpec::After { .. } => {}
            }
        }
        Ok(())
    }

    /// Begins anew what its kind measures or counts; what was noticed for it, and its ledger, stay.
    async fn change_trigger(
        &mut self,
        (tenant, job): (Id, Id),
        id: Id,
        spec: &TriggerSpec,
        now: Timestamp,
        next_due: Option<Timestamp>,
    ) -> Result<()> {
        let follows = spec.after().map(|after| after.job.clone());
        self.exec(&CHANGE, args![serde_json::to_string(spec)?, follows, id]).await?;
        match spec {
            TriggerSpec::Schedule(_) => {
                for sql in [&REMOVE_SCHEDULE, &UNQUEUE] {
                    self.exec(sql, args![id]).await?;
                }
                self.exec(&SCHEDULE, args![id, tenant, job, next_due]).await?;
            }
            TriggerSpec::Backlog { .. } => self.put_probe(&Probe::new(id, tenant, job, now)).await?,
            TriggerSpec::Webhook { .. } | TriggerSpec::After { .. } => {}
        }
        Ok(())
    }

    pub(super) async fn remove_triggers(&mut self, job: Id) -> Result<()> {
        for trigger in self.triggers_of(job).await? {
            self.remove_trigger(&trigger).await?;
        }
        Ok(())
    }

    async fn remove_trigger(&mut self, gone: &Trigger) -> Result<()> {
        for sql in [&REMOVE_SCHEDULE, &REMOVE_PROBE, &UNQUEUE, &REMOVE] {
            self.exec(sql, args![gone.id]).await?;
        }
        self.exec(&REMOVE_NOTICES, args![gone.job, gone.id]).await?;
        Ok(())
    }

    /// Schedules due by now, the oldest first, at most 1,000.
    pub async fn due_schedules(&mut self, now: Timestamp) -> Result<Vec<Due>> {
        let rows = self.rows(&DUE, args![now]).await?;
        let due =
            |row: &Row| Ok(Due { trigger: trigger(row)?, due_at: row.time("next_due_at")?, had_a_run: row.int("runs")? > 0 });
        rows.iter().map(due).collect()
    }

    /// Instants that wait for a run to end, those first that need not any more; at most 1,000.
    pub async fn queued(&mut self) -> Result<Vec<Queued>> {
        let queued = |row: &Row| {
            let free = row.int("live")? == 0;
            Ok(Queued { trigger: trigger(row)?, due_at: row.time("due_at")?, note: row.opt_text("note")?, free })
        };
        self.rows(&QUEUED, args![]).await?.iter().map(queued).collect()
    }

    /// Unfinished runs of a job that may not have any number of them.
    pub async fn live_runs(&mut self, job: Id) -> Result<Vec<Id>> {
        self.rows(&LIVE_OF, args![job]).await?.iter().map(|row| row.id("run")).collect()
    }

    pub async fn next_due(&mut self) -> Result<Option<Timestamp>> {
        self.row(&NEXT_DUE, args![]).await?.map_or(Ok(None), |row| row.opt_time("at"))
    }

    /// Triggers, each with when it is due next.
    pub async fn advance_schedules(&mut self, next: &[(Id, Option<Timestamp>)]) -> Result<()> {
        let rows: Vec<_> = next.iter().map(|(trigger, at)| args![*trigger, *at]).collect();
        expect_rows(self.exec_keys(&ADVANCE, &rows).await?, rows.len(), "advance schedules")
    }

    /// Enabled schedules in the order of their ids, 1,000 at a time.
    pub async fn standing_schedules(&mut self, after: Id) -> Result<Vec<Standing>> {
        self.rows(&STANDING, args![after]).await?.iter().map(standing).collect()
    }

    /// Enabled schedules without a next time before them: there should be none for long. At most 1,000.
    pub async fn lost_schedules(&mut self, now: Timestamp) -> Result<Vec<Standing>> {
        self.rows(&LOST, args![now]).await?.iter().map(standing).collect()
    }

    pub async fn mend_schedules(&mut self, mended: &[Mended]) -> Result<()> {
        let rows: Vec<_> = mended.iter().map(|m| args![m.trigger, m.next, m.was.unwrap_or(Timestamp(-1))]).collect();
        self.exec_keys(&MEND, &rows).await?;
        Ok(())
    }

    /// Instants of a schedule after this one that the ledger has as settled, at most 1,000. One that was missed is not: nothing
    /// came of it, and if it is still to come, the clock that missed it was wrong.
    pub async fn settled_after(&mut self, trigger: Id, at: Timestamp) -> Result<Vec<Timestamp>> {
        self.rows(&SETTLED, args![trigger, at]).await?.iter().map(|row| row.time("due_at")).collect()
    }

    /// What stands already stays, but for what was queued, and for what was missed.
    pub async fn put_occurrences(&mut self, occurrences: &[Occurrence], now: Timestamp) -> Result<()> {
        let rows = occurrences
            .iter()
            .map(|o| args![o.trigger, o.due_at, o.tenant, o.job, o.result, o.run, o.note.clone(), now])
            .collect();
        self.exec_rows(&OCCURRED, rows).await?;
        Ok(())
    }

    /// The time that a run of the job is for, and its trigger: the last before the run was made, or one of few before that.
    pub async fn instant_of(&mut self, job: Id, run: Id, made_at: Timestamp) -> Result<Option<(Timestamp, TriggerSpec)>> {
        let row = self.row(&INSTANT, args![job, made_at, run]).await?;
        row.map(|row| Ok((row.time("due_at")?, row.json("spec")?))).transpose()
    }

    /// The last occurrences of a job, newest first: (due at, result, run, note).
    pub async fn occurrences_of(&mut self, job: Id, limit: u32) -> Result<Vec<(Timestamp, String, Option<Id>, Option<String>)>> {
        let rows = self.rows(&OCCURRENCES, args![job, limit]).await?;
        rows.iter()
            .map(|row| Ok((row.time("due_at")?, row.text("result")?, row.opt_int("run")?.map(Id), row.opt_text("note")?)))
            .collect()
    }
}

fn standing(row: &Row) -> Result<Standing> {
    Ok(Standing { trigger: trigger(row)?, next_due_at: row.opt_time("next_due_at")? })
}

pub(super) fn trigger(row: &Row) -> Result<Trigger> {
    Ok(Trigger {
        id: row.id("id")?,
        tenant: row.id("tenant")?,
        job: row.id("job")?,
        position: row.small("position")?,
        spec: row.json("spec")?,
    })
}
