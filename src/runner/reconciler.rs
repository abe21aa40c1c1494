//! Runs whose items are worked on outside: what a worker lost is handed out again or given up, and a run whose items have
//! ended is ended by them. First what can be mended, then what has waited too long: a run that ends well is not stopped.

use std::sync::Arc;
use std::time::Duration;

use super::attempt::record;
use super::conclude::{Ended, conclude, tell};
use super::{Context, definitions::Made};
use crate::clock::Timestamp;
use crate::domain::attempt::Outcome;
use crate::domain::health::words;
use crate::domain::item::ItemCounts;
use crate::domain::retry::{Budget, Decision};
use crate::domain::run::{Final, Reason, Run, State};
use crate::error::Result;
use crate::id::Id;

const EVERY: Duration = Duration::from_secs(1);
/// While there is no such run.
const IDLE: Duration = Duration::from_secs(5);

/// What one round did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Round {
    /// Items that may be handed out once more.
    pub again: u64,
    /// Items given up.
    pub lost: u64,
    /// Runs ended.
    pub ended: u64,
    /// Items and runs that could not be judged; the log says why. The others were.
    pub unfixable: u64,
}

pub(super) async fn tick(context: Arc<Context>) -> Result<Duration> {
    let any = !context.store.read().await?.outside_runs(Id(0)).await?.is_empty();
    context.items.note_outside(any);
    if !any {
        return Ok(IDLE);
    }
    let round = reconcile(&context).await?;
    if round != Round::default() {
        let Round { again, lost, ended, unfixable } = round;
        tracing::info!(again, lost, ended, unfixable, "items of workers outside were reconciled");
    }
    Ok(EVERY)
}

/// One round.
///
/// # Errors
/// When the store cannot be read at all.
pub async fn reconcile(context: &Arc<Context>) -> Result<Round> {
    let mut round = Round::default();
    take_back(context, &mut round).await?;
    let mut after = Id(0);
    loop {
        let runs = context.store.read().await?.outside_runs(after).await?;
        let Some(last) = runs.last() else { return Ok(round) };
        after = last.id;
        for run in runs {
            match judge(context, &run).await {
                Ok(ended) => round.ended += u64::from(ended),
                Err(wrong) => {
                    round.unfixable += 1;
                    tracing::error!(run.id = %run.id, error = %wrong, "a run whose items are outside could not be judged");
                }
            }
        }
    }
}

async fn take_back(context: &Arc<Context>, round: &mut Round) -> Result<()> {
    let now = context.clock.now();
    let lapsed = context.store.read().await?.lapsed_items(now).await?;
    if lapsed.is_empty() {
        return Ok(());
    }
    let mut judged = Vec::with_capacity(lapsed.len());
    for lapsed in lapsed {
        match context.definitions.revision(&context.store, lapsed.revision).await {
            Ok(made) if made.spec.items.outside => judged.push((lapsed, made.spec.items.max_deliver)),
            Ok(made) => judged.push((lapsed, made.spec.retry.attempts)),
            // Its run is told of below.
            Err(_) => round.unfixable += 1,
        }
    }
    let mut tx = context.store.begin().await?;
    (round.again, round.lost) = tx.take_back(&judged, now).await?;
    tx.commit().await
}

/// Ends the run if it is over; answers whether it is.
async fn judge(context: &Arc<Context>, run: &Run) -> Result<bool> {
    let made = context.definitions.revision(&context.store, run.revision).await?;
    let mut tx = context.store.read().await?;
    let counts = tx.item_counts(&[(run.tenant, run.id)]).await?.remove(&run.id).unwrap_or_default();
    let cancelled = tx.cancelled_by(run.tenant, run.id).await?;
    let used = tx.used_digest(run.tenant, run.id).await?;
    let moved = tx.progress_of(run.tenant, &[run.id]).await?.pop().map(|(_, progress)| progress.at);
    drop(tx);
    let now = context.clock.now();
    let Some((outcome, decision)) = verdict(run, &made, counts, cancelled, moved, now) else { return Ok(false) };
    // What a plugin does after the last item is an attempt like any other, on whatever node takes it.
    let decision = match decision {
        Decision::End(Final::Succeeded)
            if counts.total() > 0 && context.executor.finishes(used.as_deref().unwrap_or(&made.digest)) =>
        {
            let why = "its items have ended; it is to be finished".into();
            Decision::Again { due_at: now, delay: Duration::ZERO, why, spent: Budget::None }
        }
        decision => decision,
    };
    let message = outcome.message();
    let ended = Ended { run, outcome: &outcome, message, decision, items: Some((counts, &made.spec.items)) };
    let (finished, lines) = conclude(context, ended).await?;
    tell(context, run, lines).await?;
    record(context, finished).await;
    Ok(true)
}

/// What the run has come to; `None` while it goes on.
fn verdict(
    run: &Run,
    made: &Made,
    counts: ItemCounts,
    cancelled: Option<String>,
    moved: Option<Timestamp>,
    now: Timestamp,
) -> Option<(Outcome, Decision)> {
    let State::Running { started_at, .. } = run.state else { return None };
    if cancelled.is_some() {
        return Some((Outcome::Cancelled, Decision::End(Final::Cancelled)));
    }
    if counts.open() == 0 {
        let summary = counts.words();
        return Some((Outcome::Succeeded { summary, data: None, counts: None }, Decision::End(Final::Succeeded)));
    }
    let still = now.since(moved.map_or(started_at, |moved| moved.max(started_at)));
    let lasted = now.since(run.first_started_at.unwrap_or(started_at));
    let over = |limit: Option<crate::span::Span>, used: Duration| limit.filter(|limit| used >= limit.0);
    let message = match (over(made.spec.total_limit, lasted), over(made.spec.stall_limit, still)) {
        (Some(limit), _) => format!("not over within {}", words(limit.0)),
        (None, Some(limit)) => format!("no result for {}", words(limit.0)),
        (None, None) => return None,
    };
    Some((Outcome::TimedOut { message }, Decision::End(Final::Dead(Reason::TotalLimit))))
}
