//! Runs whose node is gone go back to the queue; runs that somebody cancelled are stopped.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::conclude::{Ended, conclude, tell};
use super::live::Why;
use super::{Context, random, trace};
use crate::config::{Role, Roles};
use crate::domain::attempt::Outcome;
use crate::domain::retry::{Decision, decide};
use crate::domain::run::{Final, Reason, Run};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::node::Node;
use crate::store::record::{Finished, Recorded};

/// From being asked to stop to being stopped: both within the 10 s that design.md gives a cancel.
const CANCEL_GRACE: Duration = Duration::from_secs(5);
const EVERY: Duration = Duration::from_secs(1);
/// Looks between two at which this node asks what it holds without knowing.
const UNKNOWN: u32 = 5;

/// Gives runs back that nobody executes: those of stopped nodes, where there are many; all, when a node starts that alone
/// owns its file. Their node was lost, which has a budget of its own.
pub async fn take_back(context: &Context) -> Result<()> {
    let mut taken = 0;
    loop {
        let mut tx = context.store.read().await?;
        let leases = if context.store.is_shared() { tx.orphans().await? } else { tx.leases().await? };
        drop(tx);
        if leases.is_empty() {
            if taken > 0 {
                tracing::warn!(runs = taken, "runs of a node that died are back in the queue");
            }
            return Ok(());
        }
        taken += leases.len();
        let lost = ended(context, leases, &Outcome::Lost).await?;
        record(context, lost).await?;
    }
}

/// Of the process that had this file before: what its chunks had in hand is free at once, too.
pub async fn take_over(context: &Context) -> Result<()> {
    take_back(context).await?;
    let mut tx = context.store.begin().await?;
    tx.lapse_chunks(context.store.node(), context.clock.now()).await?;
    tx.commit().await
}

/// The ends of attempts that nobody executes.
async fn ended(context: &Context, runs: Vec<Run>, outcome: &Outcome) -> Result<Vec<Finished>> {
    let keys: Vec<_> = runs.iter().map(|run| (run.tenant, run.id)).collect();
    let mut items = context.store.read().await?.item_counts(&keys).await?;
    let mut all = Vec::with_capacity(runs.len());
    for run in &runs {
        let made = match context.definitions.revision(&context.store, run.revision).await {
            Ok(made) => Some(made),
            Err(wrong @ Error::Unavailable(_)) => return Err(wrong),
            Err(_) => None,
        };
        let decision = match &made {
            Some(made) => decide(outcome, run, &made.spec, context.clock.now(), random()),
            None => Decision::End(Final::Dead(Reason::Undecodable)),
        };
        let items = items.remove(&run.id).and_then(|counts| Some((counts, &made.as_ref()?.spec.items)));
        let (finished, lines) = conclude(context, Ended { run, outcome, message: outcome.message(), decision, items }).await?;
        tell(context, run, lines).await?;
        all.push(finished);
    }
    Ok(all)
}

/// Records them; those that were still to be ended are in their traces then.
async fn record(context: &Context, ends: Vec<Finished>) -> Result<()> {
    let told = if context.traces.are_wanted() { ends.clone() } else { Vec::new() };
    let recorded = context.store.record(ends).await?;
    for (finished, _) in told.iter().zip(recorded).filter(|(_, recorded)| *recorded == Recorded::Yes) {
        trace::ended(context, finished).await;
    }
    Ok(())
}

/// Watches other nodes: whose heart has not beaten for the lease time is dead, and its runs are taken back.
pub(super) async fn run(context: Arc<Context>, stop: CancellationToken) {
    let mut watch = Watch::default();
    loop {
        if let Err(wrong) = watch.look(&context).await {
            tracing::warn!(duty = "reaper", error = %wrong, "a look at the other nodes failed; it is tried again");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

#[derive(Default)]
struct Watch {
    /// By node: its generation and heartbeat, and when this process saw them move. No clock but its own.
    seen: HashMap<i64, (i64, i64, Instant)>,
    looks: u32,
    /// Runs this node held at the last look without executing them.
    unknown: HashSet<Id>,
}

impl Watch {
    async fn look(&mut self, context: &Context) -> Result<()> {
        let nodes = context.store.read().await?.nodes().await?;
        let here = context.store.node();
        let (mut leads, mut living) = (true, 1);
        for node in nodes.iter().filter(|node| node.stopped_at.is_none() && node.id != here) {
            if !self.is_dead(node, context.settings.lease.lease.0) {
                // Who schedules not, or by a clock that nobody shares, is not waited for.
                leads &= here < node.id || !Roles::parse(&node.roles).has(Role::Scheduler) || is_far(context, node);
                living += 1;
                continue;
            }
            let mut tx = context.store.begin().await?;
            if tx.declare_dead(node, context.clock.now()).await? {
                tx.lapse_chunks(node.id, context.clock.now()).await?;
                tx.commit().await?;
                tracing::error!(node.id = node.id, node.name = %node.name, "a node is dead: its heart has not beaten for the lease time");
            }
        }
        context.pulse.lead(leads && context.settings.roles.has(Role::Scheduler));
        context.executor.shares(living);
        self.seen.retain(|id, _| nodes.iter().any(|node| node.id == *id));
        if nodes.iter().any(|node| node.stopped_at.is_some()) {
            take_back(context).await?;
        }
        self.looks += 1;
        if self.looks.is_multiple_of(UNKNOWN) {
            self.hand_back_unknown(context).await?;
        }
        Ok(())
    }

    fn is_dead(&mut self, node: &Node, lease: Duration) -> bool {
        let now = Instant::now();
        let seen = self.seen.entry(node.id).or_insert((node.generation, node.beat, now));
        if (seen.0, seen.1) != (node.generation, node.beat) {
            *seen = (node.generation, node.beat, now);
        }
        now.duration_since(seen.2) >= lease
    }

    /// A claim whose answer was lost with the connection holds runs that nobody executes. What is so at two looks is handed
    /// back; it has cost nobody anything.
    async fn hand_back_unknown(&mut self, context: &Context) -> Result<()> {
        let mut tx = context.store.read().await?;
        let held = tx.held().await?;
        let unknown: HashSet<Id> = held.into_iter().filter(|run| context.live.get(*run).is_none()).collect();
        let still: Vec<Id> = unknown.intersection(&self.unknown).copied().collect();
        let runs = tx.leases_of(&still).await?;
        drop(tx);
        self.unknown = unknown;
        let runs: Vec<Run> = runs.into_iter().filter(|run| context.live.get(run.id).is_none()).collect();
        if !runs.is_empty() {
            tracing::warn!(runs = runs.len(), "runs that were claimed without this node knowing are handed back");
            record(context, ended(context, runs, &Outcome::Drained).await?).await?;
        }
        Ok(())
    }
}

/// Whether the clock by which a node notes its heartbeats is further from this one's than clocks may be, beats and leases apart.
fn is_far(context: &Context, node: &Node) -> bool {
    let (here, there) = (context.clock.now(), node.beat_at);
    let lease = &context.settings.lease;
    here.since(there).max(there.since(here)) > lease.skew.0 + lease.lease.0
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
