//! Makes the runs of schedules that are due. Every instant leaves an occurrence: ran, late, merged, missed, suppressed.

use std::sync::Arc;
use std::time::Duration;

use super::Context;
use crate::clock::Timestamp;
use crate::domain::run::{Enqueued, NewRun};
use crate::domain::schedule::Schedule;
use crate::domain::trigger::{CatchUp, Cause, Overlap, ScheduleSpec, TriggerSpec};
use crate::error::Result;
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
    let due = tx.due_schedules(now).await?;
    let mut occurrences = Vec::new();
    for due in &due {
        occurrences.extend(occur(&context, &mut tx, due, now).await?);
    }
    tx.put_occurrences(&occurrences, now).await?;
    tx.commit().await?;
    // There may be more than one look takes, one that has become due meanwhile, or a job not yet known.
    Ok(if occurrences.is_empty() { Duration::from_secs(1) } else { Duration::ZERO })
}

/// Settles all instants of one schedule up to now, and moves it on.
async fn occur(context: &Context, tx: &mut Tx, due: &Due, now: Timestamp) -> Result<Vec<Occurrence>> {
    let TriggerSpec::Schedule(spec) = &due.trigger.spec else { return Ok(Vec::new()) };
    let Some(known) = context.definitions.job(due.trigger.job) else {
        // Its job was added a moment ago: the definitions are read before the next look.
        return Ok(Vec::new());
    };
    let zone = spec
        .zone
        .or_else(|| context.definitions.tenant(due.trigger.tenant).map(|tenant| tenant.zone))
        .unwrap_or(chrono_tz::Tz::UTC);
    let schedule = match Schedule::parse(&spec.schedule, zone, due.trigger.job) {
        Ok(schedule) => schedule,
        Err(wrong) => {
            tracing::error!(trigger.id = %due.trigger.id, error = wrong, "a stored schedule cannot be read; it rests");
            tx.advance_schedule(due.trigger.id, None).await?;
            return Ok(Vec::new());
        }
    };
    let mut instants = vec![due.due_at];
    instants.extend(schedule.next(due.due_at, CATCH_UP).into_iter().take_while(|at| *at <= now));
    // After a long downtime: those in the middle are not listed, the last one is.
    instants.extend(schedule.before(now).filter(|last| instants.last().is_some_and(|at| at < last)));
    tx.advance_schedule(due.trigger.id, schedule.after(now)).await?;
    let first_taken = first_taken(spec, &instants, now);
    let mut occurrences = Vec::with_capacity(instants.len());
    for (n, at) in instants.iter().enumerate() {
        let mut occurrence = Occurrence {
            trigger: due.trigger.id,
            due_at: *at,
            tenant: due.trigger.tenant,
            job: due.trigger.job,
            result: "missed",
            run: None,
            note: None,
        };
        if n < first_taken {
            occurrence.note = Some(format!("Windlass was not there; catch_up = {:?}", spec.catch_up).to_lowercase());
        } else if known.job.paused_at.is_some() {
            occurrence.result = "suppressed";
            occurrence.note = Some("the job is paused".into());
        } else if spec.start_deadline.is_some_and(|deadline| now.since(*at) > deadline.0) {
            occurrence.note = Some("later than its start deadline".into());
        } else {
            let run = new_run(&known.job, spec, *at);
            match tx.enqueue(&[vec![run]], now).await?.into_iter().flatten().next() {
                Some(Ok(Enqueued::New(run))) => {
                    occurrence.result = if now.since(*at) > LATE { "late" } else { "ran" };
                    occurrence.run = Some(run);
                }
                Some(Ok(known)) => {
                    occurrence.result = "merged";
                    occurrence.run = Some(known.id());
                    occurrence.note = Some(format!("merged with run {}", known.id()));
                }
                Some(Err(wrong)) => return Err(wrong),
                None => {}
            }
        }
        occurrences.push(occurrence);
    }
    Ok(occurrences)
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
