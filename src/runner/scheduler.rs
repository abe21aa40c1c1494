//! Makes the runs of schedules that are due. Every instant leaves an occurrence: ran, late, queued, merged, skipped, missed,
//! suppressed. What is queued waits for a run of its job to end: the ledger itself is the queue.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::Context;
use super::definitions::Known;
use crate::clock::Timestamp;
use crate::domain::job::Job;
use crate::domain::run::{Enqueued, NewRun};
use crate::domain::trigger::{CatchUp, Cause, Overlap, ScheduleSpec, Trigger};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::Tx;
use crate::store::schedule::{Due, Occurrence, Queued};

/// The longest rest: a commit of definitions wakes earlier.
const POLL: Duration = Duration::from_secs(30);
/// Between two looks whether the run has ended that something waits for.
const WAITING: Duration = Duration::from_secs(1);
/// Later than this is called late.
const LATE: Duration = Duration::from_secs(60);
/// Instants that `catch_up = "all"` makes up for at most, and that are listed one by one.
const CATCH_UP: usize = 100;
/// What the last of those says.
const CUT: &str = "those between this one and the next were missed, and are too many to list";
/// Who cancels, as the cancelled run names it.
const BY: &str = "its schedule, whose next time has come";

pub(super) async fn tick(context: Arc<Context>) -> Result<Duration> {
    let now = context.clock.now();
    let mut look = context.store.read().await?;
    let (next, queued) = (look.next_due().await?, look.queued().await?);
    drop(look);
    if next.is_none_or(|next| next > now) && !queued.iter().any(|queued| queued.free) {
        let longest = if queued.is_empty() { POLL } else { WAITING };
        return Ok(next.map_or(longest, |next| next.since(now)).min(longest));
    }
    let mut tx = context.store.begin().await?;
    let mut plan = Plan::default();
    for queued in tx.queued().await? {
        plan.stand(&context, queued, now);
    }
    for due in tx.due_schedules(now).await? {
        plan.occur(&context, due, now);
    }
    let settled = plan.carry_out(&mut tx, now).await?;
    tx.commit().await?;
    // There may be more than one look takes, one that has become due meanwhile, or a job not yet known.
    Ok(if settled == 0 { WAITING } else { Duration::ZERO })
}

/// What a look comes to, gathered before anything is written.
#[derive(Default)]
struct Plan {
    /// Triggers and when they are due next.
    advanced: Vec<(Id, Option<Timestamp>)>,
    occurrences: Vec<Occurrence>,
    /// New runs, each with its instant.
    runs: Vec<(Instant, NewRun)>,
    /// Triggers of which an instant waits, and that instant.
    waiting: HashMap<Id, Timestamp>,
    /// Jobs whose unfinished runs are to make room.
    cancel: HashSet<(Id, Id)>,
}

/// One instant for which a run is to be made.
struct Instant {
    /// Its occurrence when the run is new.
    occurrence: Occurrence,
    overlap: Overlap,
    /// It stands in the ledger as queued.
    stands: bool,
}

impl Plan {
    /// One that waits: its turn may have come, or its time may be over.
    fn stand(&mut self, context: &Context, queued: Queued, now: Timestamp) {
        let Queued { trigger, due_at, note, free } = queued;
        let (Some(spec), Some(known)) = (trigger.spec.schedule(), context.definitions.job(trigger.job)) else { return };
        if too_late(spec, due_at, now) {
            let note = format!("{}, longer than its start deadline", note.unwrap_or_default());
            return self.occurrences.push(occurrence(&trigger, due_at, "missed", Some(note)));
        }
        self.waiting.insert(trigger.id, due_at);
        if free {
            let occurrence = occurrence(&trigger, due_at, ran_or_late(due_at, now), note);
            let instant = Instant { occurrence, overlap: spec.overlap, stands: true };
            self.runs.push((instant, new_run(&known.job, spec, due_at, now)));
        }
    }

    /// Settles all instants of one schedule up to now, and moves it on.
    fn occur(&mut self, context: &Context, due: Due, now: Timestamp) {
        let Some(spec) = due.trigger.spec.schedule() else { return };
        // Its job was added a moment ago: the definitions are read before the next look.
        let Some(known) = context.definitions.job(due.trigger.job) else { return };
        let zone = context.definitions.tenant(due.trigger.tenant).map_or(chrono_tz::Tz::UTC, |tenant| tenant.zone);
        let schedule = match spec.of(due.trigger.job, zone) {
            Ok(schedule) => schedule,
            Err(wrong) => {
                tracing::error!(trigger.id = %due.trigger.id, error = wrong, "a stored schedule cannot be read; it rests");
                return self.advanced.push((due.trigger.id, None));
            }
        };
        if due.had_a_run {
            // It stays as it is in the ledger; the next one has its own look.
            return self.advanced.push((due.trigger.id, schedule.after(due.due_at)));
        }
        let mut instants = vec![due.due_at];
        // One by one: those to come are not asked for, which for many a line is work.
        let next = std::iter::successors(schedule.after(due.due_at), |at| schedule.after(*at));
        instants.extend(next.take_while(|at| *at <= now).take(CATCH_UP - 1));
        // After a long downtime: those in the middle are not listed, which the one before them says; the last one is.
        let listed = instants.len();
        instants.extend(schedule.before(now).filter(|last| instants.last().is_some_and(|at| at < last)));
        let cut = instants.get(listed).is_some_and(|last| schedule.after(instants[listed - 1]).is_some_and(|at| at < *last));
        self.advanced.push((due.trigger.id, schedule.after(now)));
        let first_taken = first_taken(spec, &instants, now);
        for (n, at) in instants.iter().enumerate() {
            let cut = (cut && n + 1 == listed).then_some(CUT);
            match not_run(&known, spec, *at, n < first_taken, now) {
                Some((result, note)) => {
                    let note = also(Some(note), cut);
                    self.occurrences.push(occurrence(&due.trigger, *at, result, note));
                }
                None => self.take(&known, &due.trigger, spec, (*at, cut), now),
            }
        }
    }

    /// A run shall be made for this instant, of which there is this to note.
    fn take(&mut self, known: &Known, trigger: &Trigger, spec: &ScheduleSpec, of: (Timestamp, Option<&str>), now: Timestamp) {
        let (at, note) = of;
        if spec.overlap == Overlap::Cancel {
            self.cancel.insert((trigger.tenant, trigger.job));
            self.runs.retain(|(instant, _)| instant.occurrence.trigger != trigger.id);
            if let Some(before) = self.waiting.remove(&trigger.id) {
                self.occurrences.push(occurrence(trigger, before, "skipped", Some("the next time came while it waited".into())));
            }
        }
        let occurrence = occurrence(trigger, at, ran_or_late(at, now), note.map(str::to_owned));
        let instant = Instant { occurrence, overlap: spec.overlap, stands: false };
        self.runs.push((instant, new_run(&known.job, spec, at, now)));
    }

    /// Writes all of it; answers how many instants were settled.
    async fn carry_out(mut self, tx: &mut Tx, now: Timestamp) -> Result<usize> {
        for (tenant, job) in self.cancel {
            for run in tx.live_runs(job).await? {
                tx.cancel(tenant, run, BY, now).await?;
            }
        }
        let (instants, runs): (Vec<Instant>, Vec<NewRun>) = self.runs.into_iter().unzip();
        for (instant, enqueued) in instants.into_iter().zip(tx.enqueue(&[runs], now).await?.into_iter().flatten()) {
            let Instant { mut occurrence, overlap, stands } = instant;
            let enqueued = match enqueued {
                Err(Error::TooMany(_)) if stands => continue,
                Err(Error::TooMany(why)) => {
                    (occurrence.result, occurrence.note) = ("suppressed", also(Some(why), occurrence.note.as_deref()));
                    self.occurrences.push(occurrence);
                    continue;
                }
                enqueued => enqueued?,
            };
            match enqueued {
                Enqueued::New(run) => {
                    occurrence.run = Some(run);
                    if stands {
                        self.waiting.remove(&occurrence.trigger);
                    }
                }
                // It waits on.
                _ if stands => continue,
                Enqueued::Merged(run) | Enqueued::Repeated(run) => {
                    let (waits, cut) = (self.waiting.get(&occurrence.trigger), occurrence.note.take());
                    (occurrence.result, occurrence.run, occurrence.note) = match (overlap, waits) {
                        (Overlap::Skip | Overlap::Allow, _) => ("merged", Some(run), Some(format!("merged with run {run}"))),
                        (Overlap::Queue | Overlap::Cancel, None) => ("queued", None, Some(format!("waited for run {run}"))),
                        (Overlap::Queue | Overlap::Cancel, Some(at)) => {
                            ("skipped", None, Some(format!("the one due at {} waits already", at.rfc3339())))
                        }
                    };
                    occurrence.note = also(occurrence.note, cut.as_deref());
                    if occurrence.result == "queued" {
                        self.waiting.insert(occurrence.trigger, occurrence.due_at);
                    }
                }
            }
            self.occurrences.push(occurrence);
        }
        tx.advance_schedules(&self.advanced).await?;
        tx.put_occurrences(&self.occurrences, now).await?;
        Ok(self.occurrences.len())
    }
}

/// What comes of an instant that gets no run, and why.
fn not_run(known: &Known, spec: &ScheduleSpec, at: Timestamp, passed: bool, now: Timestamp) -> Option<(&'static str, String)> {
    if passed {
        Some(("missed", format!("Windlass was not there; catch_up = {:?}", spec.catch_up).to_lowercase()))
    } else if known.job.paused_at.is_some() {
        Some(("suppressed", "the job is paused".into()))
    } else {
        too_late(spec, at, now).then(|| ("missed", "later than its start deadline".into()))
    }
}

/// Both notes.
fn also(note: Option<String>, more: Option<&str>) -> Option<String> {
    match (note, more) {
        (Some(note), Some(more)) => Some(format!("{note}; {more}")),
        (note, more) => note.or_else(|| more.map(str::to_owned)),
    }
}

fn too_late(spec: &ScheduleSpec, at: Timestamp, now: Timestamp) -> bool {
    spec.start_deadline.is_some_and(|deadline| now.since(at) > deadline.0)
}

fn ran_or_late(at: Timestamp, now: Timestamp) -> &'static str {
    if now.since(at) > LATE { "late" } else { "ran" }
}

fn occurrence(trigger: &Trigger, due_at: Timestamp, result: &'static str, note: Option<String>) -> Occurrence {
    Occurrence { trigger: trigger.id, due_at, tenant: trigger.tenant, job: trigger.job, result, run: None, note }
}

/// From which instant on runs are made: those before were missed while no node was there.
fn first_taken(spec: &ScheduleSpec, instants: &[Timestamp], now: Timestamp) -> usize {
    let last = instants.len() - 1;
    match spec.catch_up {
        CatchUp::All => 0,
        CatchUp::Last => last,
        CatchUp::None if instants.last().is_some_and(|at| now.since(*at) <= LATE) => last,
        CatchUp::None => instants.len(),
    }
}

fn new_run(job: &Job, spec: &ScheduleSpec, due_at: Timestamp, now: Timestamp) -> NewRun {
    let deadline = spec.start_deadline.or(job.spec.start_deadline);
    let starts_at = due_at.plus(spec.delay(job.id, due_at));
    NewRun {
        tenant: job.tenant,
        job: job.id,
        revision: job.revision,
        cause: Cause::Schedule,
        input: spec.input.clone(),
        due_at: Some(starts_at).filter(|at| *at > now),
        start_by: deadline.map(|deadline| due_at.plus(deadline.0)),
        parent: None,
        requested_by: None,
        max_live: match spec.overlap {
            Overlap::Skip | Overlap::Queue | Overlap::Cancel => 1,
            Overlap::Allow => job.spec.max_live,
        },
        idempotency: None,
    }
}
