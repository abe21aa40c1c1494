//! Proves that every enabled schedule has its next time before it, and mends what has not. A schedule that has lost its next
//! time would be silent for ever, and one whose next time was set by a clock that ran ahead for as long as that was.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::Context;
use crate::clock::Timestamp;
use crate::domain::schedule::Schedule;
use crate::error::Result;
use crate::id::Id;
use crate::store::schedule::{Mended, Occurrence, Standing};

const EVERY: Duration = Duration::from_secs(5);
/// After so long without a look everything is looked at.
const AWAY: Duration = Duration::from_secs(60);
/// A time that has passed is the scheduler's to settle. It had so many looks, 2 minutes of them, for it.
const PATIENCE: u32 = 24;

/// What earlier looks came to.
#[derive(Default)]
pub(super) struct Seen {
    /// When the last look was.
    at: Option<Timestamp>,
    /// Times that have passed, by schedule, and how many looks ago.
    passed: HashMap<Id, (Timestamp, u32)>,
    /// Schedules that cannot be mended: said once.
    told: HashSet<Id>,
}

pub(super) async fn tick(context: Arc<Context>, seen: Arc<Mutex<Seen>>) -> Result<Duration> {
    let (now, mut seen) = (context.clock.now(), seen.lock().await);
    // At the start, when the clock was set back, and after a time in which another node led, or none: next times may have been
    // found by a clock that ran ahead.
    if seen.at.is_none_or(|before| now < before || now.since(before) > AWAY) {
        let mut after = Id(0);
        loop {
            let page = context.store.read().await?.standing_schedules(after).await?;
            let Some(last) = page.last() else { break };
            after = last.trigger.id;
            let ahead = page.into_iter().filter(|standing| standing.next_due_at.is_some_and(|next| next > now)).collect();
            seen.mend(&context, ahead, now).await?;
        }
    }
    seen.at = Some(now);
    let lost = context.store.read().await?.lost_schedules(now).await?;
    let passed = std::mem::take(&mut seen.passed);
    let mut due = Vec::new();
    for standing in lost {
        let (trigger, at) = (standing.trigger.id, standing.next_due_at);
        let looks =
            at.map_or(PATIENCE, |at| passed.get(&trigger).filter(|before| before.0 == at).map_or(0, |before| before.1 + 1));
        seen.passed.extend(at.map(|at| (trigger, (at, looks))));
        if looks >= PATIENCE {
            due.push(standing);
        }
    }
    seen.mend(&context, due, now).await?;
    Ok(EVERY)
}

impl Seen {
    /// Gives each the first time after now that the ledger does not have yet, if it has not got that already.
    async fn mend(&mut self, context: &Context, schedules: Vec<Standing>, now: Timestamp) -> Result<()> {
        let (mut mended, mut missed) = (Vec::new(), Vec::new());
        for standing in schedules {
            let Standing { trigger, next_due_at } = &standing;
            let zone = context.definitions.tenant(trigger.tenant).map_or(chrono_tz::Tz::UTC, |tenant| tenant.zone);
            let schedule = trigger.spec.schedule().map(|spec| spec.of(trigger.job, zone));
            let next = match &schedule {
                Some(Ok(schedule)) => first_open(context, &standing, schedule, now).await?,
                _ => None,
            };
            let Some(next) = next else {
                if self.told.insert(trigger.id) {
                    tracing::error!(trigger.id = %trigger.id, job.id = %trigger.job, "an enabled schedule has no next time; apply its file again");
                }
                continue;
            };
            if *next_due_at == Some(next) {
                continue;
            }
            tracing::warn!(
                trigger.id = %trigger.id, job.id = %trigger.job, next = next.rfc3339(), was = next_due_at.map(Timestamp::rfc3339),
                "the next time of a schedule was wrong and is mended"
            );
            self.told.remove(&trigger.id);
            let note = Some("the scheduler did not come to it; the watchdog went on".into());
            let occurrence = |due_at| {
                let (tenant, job) = (trigger.tenant, trigger.job);
                Occurrence { trigger: trigger.id, due_at, tenant, job, result: "missed", run: None, note }
            };
            missed.extend(next_due_at.filter(|at| *at <= now).map(occurrence));
            mended.push(Mended { trigger: trigger.id, was: *next_due_at, next });
        }
        if mended.is_empty() {
            return Ok(());
        }
        let mut tx = context.store.begin().await?;
        tx.mend_schedules(&mended).await?;
        tx.put_occurrences(&missed, now).await?;
        tx.commit().await
    }
}

/// The first time after now that is not settled in the ledger: a clock that ran ahead has run those that are.
async fn first_open(context: &Context, standing: &Standing, schedule: &Schedule, now: Timestamp) -> Result<Option<Timestamp>> {
    let first = schedule.after(now);
    if first == standing.next_due_at || first.is_none() {
        return Ok(first);
    }
    let settled: HashSet<Timestamp> =
        context.store.read().await?.settled_after(standing.trigger.id, now).await?.into_iter().collect();
    Ok(schedule.next(now, settled.len() + 1).into_iter().find(|at| !settled.contains(at)))
}
