//! Makes the runs of schedules that are due. Every instant leaves an occurrence: ran, late, merged, missed, suppressed.

use std::sync::Arc;
use std::time::Duration;

use super::Context;
use crate::clock::Timestamp;
use crate::domain::run::{Enqueued, NewRun};
use crate::domain::trigger::{CatchUp, Cause, Overlap, ScheduleSpec, Trigger, TriggerSpec};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::Tx;
use crate::store::schedule::{Due, Occurrence};

/// The longest rest: a commit of definitions wakes earlier.
const POLL: Duration = Duration::from_secs(30);
/// Later than this is called late.
const LATE: Duration = Duration::from_secs(60);
/// Instants that `catch_up = "all"` makes up for at most, and that are listed one by one.
const CATCH_UP: usize = 100;

pub(super) async fn tick(context: Arc<Context>) -> Result<Duration> {
    let now = context.clock.now();
    let next = context.store.read().await?.next_due().await?;
    if next.is_none_or(|next| next > now) {
        return Ok(next.map_or(POLL, |next| next.since(now)).min(POLL));
    }
    let mut tx = context.store.begin().await?;
    let mut plan = Plan::default();
    for due in tx.due_schedules(now).await? {
        plan.occur(&context, due, now);
    }
    let occurrences = plan.carry_out(&mut tx, now).await?;
    tx.commit().await?;
    // There may be more than one look takes, one that has become due meanwhile, or a job not yet known.
    Ok(if occurrences == 0 { Duration::from_secs(1) } else { Duration::ZERO })
}

/// What a look comes to, gathered before anything is written.
#[derive(Default)]
struct Plan {
    /// Triggers and when they are due next.
    advanced: Vec<(Id, Option<Timestamp>)>,
    occurrences: Vec<Occurrence>,
    /// New runs, each with the place of its occurrence.
    runs: Vec<(usize, NewRun)>,
}

impl Plan {
    /// Settles all instants of one schedule up to now, and moves it on.
    fn occur(&mut self, context: &Context, due: Due, now: Timestamp) {
        let TriggerSpec::Schedule(spec) = &due.trigger.spec else { return };
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
        let mut instants = vec![due.due_at];
        instants.extend(schedule.next(due.due_at, CATCH_UP).into_iter().take_while(|at| *at <= now));
        // After a long downtime: those in the middle are not listed, the last one is.
        instants.extend(schedule.before(now).filter(|last| instants.last().is_some_and(|at| at < last)));
        self.advanced.push((due.trigger.id, schedule.after(now)));
        let first_taken = first_taken(spec, &instants, now);
        for (n, at) in instants.iter().enumerate() {
            let (result, note) = if n < first_taken {
                let missed = format!("Windlass was not there; catch_up = {:?}", spec.catch_up).to_lowercase();
                ("missed", Some(missed))
            } else if known.job.paused_at.is_some() {
                ("suppressed", Some("the job is paused".into()))
            } else if spec.start_deadline.is_some_and(|deadline| now.since(*at) > deadline.0) {
                ("missed", Some("later than its start deadline".into()))
            } else {
                self.runs.push((self.occurrences.len(), new_run(&known.job, spec, *at)));
                (if now.since(*at) > LATE { "late" } else { "ran" }, None)
            };
            let Trigger { id: trigger, tenant, job, .. } = due.trigger;
            self.occurrences.push(Occurrence { trigger, due_at: *at, tenant, job, result, run: None, note });
        }
    }

    /// Writes all of it; answers how many instants were settled.
    async fn carry_out(mut self, tx: &mut Tx, now: Timestamp) -> Result<usize> {
        let (places, runs): (Vec<usize>, Vec<NewRun>) = self.runs.into_iter().unzip();
        for (place, enqueued) in places.into_iter().zip(tx.enqueue(&[runs], now).await?.into_iter().flatten()) {
            let occurrence = &mut self.occurrences[place];
            let enqueued = match enqueued {
                Err(Error::TooMany(why)) => {
                    (occurrence.result, occurrence.note) = ("suppressed", Some(why));
                    continue;
                }
                enqueued => enqueued?,
            };
            occurrence.run = Some(enqueued.id());
            if !matches!(enqueued, Enqueued::New(_)) {
                occurrence.result = "merged";
                occurrence.note = Some(format!("merged with run {}", enqueued.id()));
            }
        }
        tx.advance_schedules(&self.advanced).await?;
        tx.put_occurrences(&self.occurrences, now).await?;
        Ok(self.occurrences.len())
    }
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

fn new_run(job: &crate::domain::job::Job, spec: &ScheduleSpec, due_at: Timestamp) -> NewRun {
    let deadline = spec.start_deadline.or(job.spec.start_deadline);
    NewRun {
        tenant: job.tenant,
        job: job.id,
        revision: job.revision,
        cause: Cause::Schedule,
        input: spec.input.clone(),
        due_at: None,
        start_by: deadline.map(|deadline| due_at.plus(deadline.0)),
        parent: None,
        requested_by: None,
        max_live: match spec.overlap {
            Overlap::Skip => 1,
            Overlap::Allow => job.spec.max_live,
        },
        idempotency: None,
    }
}
