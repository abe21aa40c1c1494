//! Runs whose node is gone go back to the queue; runs that somebody cancelled are stopped.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::live::Why;
use super::{Context, random};
use crate::domain::attempt::Outcome;
use crate::domain::retry::{Decision, decide};
use crate::domain::run::{Final, Reason, fingerprint};
use crate::error::{Error, Result};
use crate::store::record::Finished;

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
        let mut lost = Vec::with_capacity(leases.len());
        for run in leases {
            let now = context.clock.now();
            let decision = match context.definitions.revision(&context.store, run.revision).await {
                Ok(made) => decide(&Outcome::Lost, &run, &made.spec, now, random()),
                Err(wrong @ Error::Unavailable(_)) => return Err(wrong),
                Err(_) => Decision::End(Final::Dead(Reason::Undecodable)),
            };
            let message = Outcome::Lost.message();
            let print = match decision {
                Decision::End(Final::Dead(reason)) => Some(fingerprint(run.job, reason, &message)),
                _ => None,
            };
            lost.push(Finished { print, ..Finished::new(run, decision, Outcome::Lost.word(), message) });
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
