//! Runs whose node is gone go back to the queue; runs that somebody cancelled are stopped.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::conclude::{Ended, conclude, tell};
use super::live::Why;
use super::{Context, random};
use crate::domain::attempt::Outcome;
use crate::domain::retry::{Decision, decide};
use crate::domain::run::{Final, Reason};
use crate::error::{Error, Result};

/// From being asked to stop to being stopped: both within the 10 s that design.md gives a cancel.
const CANCEL_GRACE: Duration = Duration::from_secs(5);
const EVERY: Duration = Duration::from_secs(1);

/// At the start of a node that alone owns its file, every lease is of a process that died: its runs were lost. Answers
/// how many.
pub async fn take_back(context: &Arc<Context>) -> Result<usize> {
    let mut taken = 0;
    loop {
        let leases = context.store.read().await?.leases().await?;
        if leases.is_empty() {
            return Ok(taken);
        }
        let runs: Vec<_> = leases.iter().map(|run| (run.tenant, run.id)).collect();
        let mut items = context.store.read().await?.item_counts(&runs).await?;
        let mut lost = Vec::with_capacity(leases.len());
        for run in leases {
            let (outcome, message) = (&Outcome::Lost, Outcome::Lost.message());
            let made = match context.definitions.revision(&context.store, run.revision).await {
                Ok(made) => Some(made),
                Err(wrong @ Error::Unavailable(_)) => return Err(wrong),
                Err(_) => None,
            };
            let decision = match &made {
                Some(made) => decide(outcome, &run, &made.spec, context.clock.now(), random()),
                None => Decision::End(Final::Dead(Reason::Undecodable)),
            };
            let items = items.remove(&run.id).and_then(|counts| Some((counts, &made.as_ref()?.spec.items)));
            let (finished, lines) = conclude(context, Ended { run: &run, outcome, message, decision, items }).await?;
            tell(context, &run, lines).await?;
            lost.push(finished);
        }
        taken += lost.len();
        context.store.record(lost).await?;
    }
}

/// Tells running guests that were cancelled, and stops those that did not listen.
pub(super) async fn stop_cancelled(context: Arc<Context>) -> Result<Duration> {
    if context.live.is_empty() {
        return Ok(EVERY);
    }
    let now = context.clock.now();
    for run in context.store.read().await?.asked_to_stop().await? {
        let Some(live) = context.live.get(run) else { continue };
        live.ask(Why::Cancelled, now);
        if live.asked_at().is_some_and(|asked| now.since(asked) >= CANCEL_GRACE) {
            live.stop.now.store(true, Ordering::Release);
        }
    }
    Ok(EVERY)
}
