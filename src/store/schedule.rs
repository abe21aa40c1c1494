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
    /// ran, late, merged, skipped, missed, suppressed
    pub result: &'static str,
    pub run: Option<Id>,
    pub note: Option<String>,
}

/// A schedule that is due.
#[derive(Debug, Clone, PartialEq)]
pub struct Due {
    pub trigger: Trigger,
    pub due_at: Timestamp,
}

static OF_JOB: Sql = Sql::new("SELECT id, tenant, job, position, spec FROM trigger WHERE job = $1 ORDER BY position");
static INSERT: Sql = Sql::new("INSERT INTO trigger (id, tenant, job, position, kind, spec) VALUES ($1, $2, $3, $4, $5, $6)");
static REMOVE: Sql = Sql::new("DELETE FROM trigger WHERE id = $1");
static REMOVE_SCHEDULE: Sql = Sql::new("DELETE FROM schedule WHERE trigger_id = $1");
static REMOVE_PROBE: Sql = Sql::new("DELETE FROM probe WHERE trigger_id = $1");
static MOVE: Sql = Sql::new("UPDATE trigger SET position = $1 WHERE id = $2");
static SCHEDULE: Sql =
    Sql::new("INSERT INTO schedule (trigger_id, tenant, job, enabled, next_due_at) VALUES ($1, $2, $3, 1, $4)");
static DUE: Sql = Sql::new(
    "SELECT t.id, t.tenant, t.job, t.position, t.spec, s.next_due_at FROM schedule s JOIN trigger t ON t.id = s.trigger_id \
     WHERE s.enabled = 1 AND s.next_due_at <= $1 ORDER BY s.next_due_at LIMIT 1000",
);
static NEXT_DUE: Sql = Sql::new("SELECT min(next_due_at) AS at FROM schedule WHERE enabled = 1");
static ADVANCE: Sql =
    Sql::new("UPDATE schedule SET next_due_at = v.column2 FROM (VALUES {2}) v WHERE schedule.trigger_id = v.column1");
static OVERDUE: Sql =
    Sql::new("SELECT trigger_id, next_due_at FROM schedule WHERE enabled = 1 AND (next_due_at IS NULL OR next_due_at < $1)");
static OCCURRED: Sql = Sql::new(
    "INSERT INTO occurrence (trigger_id, due_at, tenant, job, result, run, note, recorded_at) VALUES {8} ON CONFLICT (trigger_id, due_at) DO NOTHING",
);
static OCCURRENCES: Sql =
    Sql::new("SELECT due_at, result, run, note FROM occurrence WHERE job = $1 ORDER BY due_at DESC LIMIT $2");

impl Tx {
    pub async fn triggers_of(&mut self, job: Id) -> Result<Vec<Trigger>> {
        self.rows(&OF_JOB, args![job]).await?.iter().map(trigger).collect()
    }

    /// Makes these the job's triggers. One that stands already keeps its id and what it knows (next due time, probe).
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
        let mut kept = Vec::new();
        for (position, spec) in specs.iter().enumerate() {
            match standing.iter().position(|trigger| trigger.spec == *spec) {
                Some(at) => kept.push((position, standing.swap_remove(at).id, None)),
                None => kept.push((position, self.new_id(), Some(spec))),
            }
        }
        for gone in &standing {
            self.remove_trigger(gone.id).await?;
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
            self.exec(&INSERT, args![id, tenant, job, position, spec.kind(), serde_json::to_string(spec)?]).await?;
            match spec {
                TriggerSpec::Schedule(_) => {
                    self.exec(&SCHEDULE, args![id, tenant, job, next_due(spec)]).await?;
                }
                TriggerSpec::Backlog { .. } => self.put_probe(&Probe::new(id, tenant, job, now)).await?,
            }
        }
        Ok(())
    }

    pub(super) async fn remove_triggers(&mut self, job: Id) -> Result<()> {
        for trigger in self.triggers_of(job).await? {
            self.remove_trigger(trigger.id).await?;
        }
        Ok(())
    }

    async fn remove_trigger(&mut self, id: Id) -> Result<()> {
        for sql in [&REMOVE_SCHEDULE, &REMOVE_PROBE, &REMOVE] {
            self.exec(sql, args![id]).await?;
        }
        Ok(())
    }

    /// Schedules due by now, the oldest first, at most 1,000.
    pub async fn due_schedules(&mut self, now: Timestamp) -> Result<Vec<Due>> {
        let rows = self.rows(&DUE, args![now]).await?;
        rows.iter().map(|row| Ok(Due { trigger: trigger(row)?, due_at: row.time("next_due_at")? })).collect()
    }

    pub async fn next_due(&mut self) -> Result<Option<Timestamp>> {
        self.row(&NEXT_DUE, args![]).await?.map_or(Ok(None), |row| row.opt_time("at"))
    }

    /// Triggers, each with when it is due next.
    pub async fn advance_schedules(&mut self, next: &[(Id, Option<Timestamp>)]) -> Result<()> {
        let rows: Vec<_> = next.iter().map(|(trigger, at)| args![*trigger, *at]).collect();
        expect_rows(self.exec_keys(&ADVANCE, &rows).await?, rows.len(), "advance schedules")
    }

    /// Enabled schedules whose next time is missing or lies before `at`: there should be none.
    pub async fn overdue_schedules(&mut self, at: Timestamp) -> Result<Vec<Id>> {
        self.rows(&OVERDUE, args![at]).await?.iter().map(|row| row.id("trigger_id")).collect()
    }

    pub async fn put_occurrences(&mut self, occurrences: &[Occurrence], now: Timestamp) -> Result<()> {
        let rows = occurrences
            .iter()
            .map(|o| args![o.trigger, o.due_at, o.tenant, o.job, o.result, o.run, o.note.clone(), now])
            .collect();
        self.exec_rows(&OCCURRED, rows).await?;
        Ok(())
    }

    /// The last occurrences of a job, newest first: (due at, result, run, note).
    pub async fn occurrences_of(&mut self, job: Id, limit: u32) -> Result<Vec<(Timestamp, String, Option<Id>, Option<String>)>> {
        let rows = self.rows(&OCCURRENCES, args![job, limit]).await?;
        rows.iter()
            .map(|row| Ok((row.time("due_at")?, row.text("result")?, row.opt_int("run")?.map(Id), row.opt_text("note")?)))
            .collect()
    }
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
