//! Claims runs as slots are free and hands each to a task of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::ring::{Ring, Rule};
use super::{Context, attempt};
use crate::error::Result;
use crate::id::Id;
use crate::store::claim::{Lane, Want};

/// A claim happens at least so often, should every signal be lost.
const POLL: Duration = Duration::from_secs(5);
/// After another node was seen to claim for the same tenants, or to have filled their limits.
const HELD: Duration = Duration::from_millis(50);
/// Runs of one claim at most: the writer does other things between two.
const CLAIM: u32 = 1_024;

struct Worker {
    context: Arc<Context>,
    ring: Ring,
    in_flight: u32,
    ended: mpsc::UnboundedReceiver<Id>,
    ends: mpsc::UnboundedSender<Id>,
}

pub(super) async fn run(context: Arc<Context>, stop: CancellationToken) {
    let (ends, ended) = mpsc::unbounded_channel();
    let mut worker = Worker { context: context.clone(), ring: Ring::default(), in_flight: 0, ended, ends };
    let mut definitions = context.store.signals().definitions();
    worker.look_everywhere().await;
    loop {
        let pause = match worker.claim().await {
            Ok(pause) => {
                context.duties.came_round("worker", context.clock.now(), pause);
                pause
            }
            Err(wrong) => {
                tracing::error!(duty = "worker", error = %wrong, "a claim failed; it is tried again");
                Duration::from_secs(1)
            }
        };
        if pause.is_zero() && !stop.is_cancelled() {
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = context.store.signals().work() => {}
            Some(tenant) = worker.ended.recv() => worker.end(tenant),
            Ok(()) = definitions.changed() => {
                while let Err(wrong) = context.definitions.refresh(&context.store).await {
                    tracing::error!(duty = "worker", error = %wrong, "definitions could not be read; it is tried again");
                    context.clock.sleep(Duration::from_secs(1)).await;
                }
                worker.look_everywhere().await;
            }
            () = context.clock.sleep(pause) => {
                if pause == POLL {
                    worker.look_everywhere().await;
                }
            }
        }
    }
    context.duties.ended("worker");
    // Running attempts record their own end; wait for all of them.
    while worker.in_flight > 0 {
        if let Some(tenant) = worker.ended.recv().await {
            worker.end(tenant);
        }
    }
}

impl Worker {
    /// Asks the store for all lanes with work: at the start, after a change of definitions, and now and then.
    async fn look_everywhere(&mut self) {
        let lanes = async { self.context.store.read().await?.lanes().await };
        match lanes.await {
            Ok(lanes) => lanes.into_iter().for_each(|(tenant, job)| self.ring.add(tenant, job)),
            Err(wrong) => tracing::error!(duty = "worker", error = %wrong, "lanes could not be read"),
        }
    }

    fn end(&mut self, tenant: Id) {
        self.in_flight -= 1;
        self.ring.ended(tenant, 1);
    }

    /// One claim; answers when another may find more.
    async fn claim(&mut self) -> Result<Duration> {
        while let Ok(tenant) = self.ended.try_recv() {
            self.end(tenant);
        }
        for (tenant, job) in self.context.store.signals().take_lanes() {
            self.ring.add(tenant, job);
        }
        let slots = self.context.settings.worker.runs_in_flight.saturating_sub(self.in_flight).min(CLAIM);
        if slots == 0 || self.context.live.is_draining() || !self.context.pulse.may_claim() {
            return Ok(POLL);
        }
        let chosen = self.ring.choose(slots, |tenant| rule(&self.context, tenant), |job| open(&self.context, job));
        if chosen.is_empty() {
            return Ok(POLL);
        }
        let lanes = chosen.iter().map(|(tenant, job, runs)| Lane { tenant: *tenant, job: *job, runs: *runs }).collect();
        let taken = self.context.store.claim(Want { lanes }).await?;
        let mut emptied = false;
        for (tenant, job, asked) in &chosen {
            let got = taken.runs.iter().filter(|claimed| claimed.run.job == *job).count();
            if got < *asked as usize && !taken.held.contains(tenant) {
                self.ring.empty(*tenant, *job);
                emptied = true;
            }
        }
        let any = !taken.runs.is_empty();
        for claimed in taken.runs {
            let tenant = claimed.run.tenant;
            self.in_flight += 1;
            self.ring.started(tenant, 1);
            let (context, ends) = (self.context.clone(), self.ends.clone());
            tokio::spawn(async move {
                attempt::make(&context, claimed).await;
                // The receiver waits for every one that was started.
                let _ = ends.send(tenant);
            });
        }
        // A lane that was empty has left the ring; another may have what its slots were kept for.
        Ok(match (any || emptied, taken.held.is_empty()) {
            (true, _) => Duration::ZERO,
            (false, false) => HELD,
            (false, true) => POLL,
        })
    }
}

fn rule(context: &Context, tenant: Id) -> Rule {
    let tenant = context.definitions.tenant(tenant);
    tenant.map_or(Rule { weight: 1, running: u32::MAX }, |tenant| Rule { weight: tenant.weight, running: tenant.limits.running })
}

/// A removed job's last runs still end: only a pause, or a plugin that is not loaded here, keeps runs waiting.
fn open(context: &Context, job: Id) -> bool {
    context
        .definitions
        .job(job)
        .is_none_or(|known| known.job.paused_at.is_none() && known.digests().all(|digest| context.executor.has(digest)))
}
