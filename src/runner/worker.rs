//! Claims runs as slots are free and hands each to a task of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::memory::Promised;
use super::ring::{Free, Pick, Ring, Rule};
use super::{Context, attempt};
use crate::clock::Timestamp;
use crate::domain::admission::{Bounds, Need, Shut};
use crate::error::Result;
use crate::id::Id;
use crate::store::claim::{Lane, Taken, Want};

/// A claim happens at least so often, should every signal be lost.
const POLL: Duration = Duration::from_secs(5);
/// After another node was seen to claim for the same tenants, or to have filled their limits.
const HELD: Duration = Duration::from_millis(50);
/// Runs of one claim at most: the writer does other things between two.
const CLAIM: u32 = 1_024;

struct Worker {
    context: Arc<Context>,
    ring: Ring,
    /// Runs whose guest has not ended; these alone take slots, for an end that is being recorded takes next to nothing.
    guests: u32,
    /// The same, and those whose end is not recorded.
    in_flight: u32,
    /// When all lanes with work were asked for.
    looked_at: Timestamp,
    ended: mpsc::UnboundedReceiver<Ended>,
    ends: mpsc::UnboundedSender<Ended>,
}

enum Ended {
    /// A guest, whose run is yet to be recorded.
    Guest,
    /// A run of a pick is over, after so long.
    Run(Arc<Pick>, Duration),
}

/// What a guest takes of the node, until this is dropped.
pub(super) struct Slot {
    promised: Promised,
    ends: mpsc::UnboundedSender<Ended>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        // Before the worker hears of it, and looks what is free.
        self.promised = Promised::default();
        // The receiver waits for every one that was started.
        let _ = self.ends.send(Ended::Guest);
    }
}

pub(super) async fn run(context: Arc<Context>, stop: CancellationToken) {
    let (ends, ended) = mpsc::unbounded_channel();
    let (ring, looked_at) = (Ring::default(), context.clock.now());
    let mut worker = Worker { context: context.clone(), ring, guests: 0, in_flight: 0, looked_at, ended, ends };
    let mut definitions = context.store.signals().definitions();
    context.duties.came_round("worker", context.clock.uptime(), Duration::ZERO);
    worker.look_everywhere().await;
    loop {
        let pause = match worker.claim().await {
            Ok(pause) => {
                context.duties.came_round("worker", context.clock.uptime(), pause);
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
            Some(ended) = worker.ended.recv() => worker.end(ended),
            () = context.memory.given_back() => {}
            Ok(()) = definitions.changed() => {
                context.definitions.read(&context).await;
                worker.look_everywhere().await;
            }
            () = context.clock.sleep(pause) => {
                let now = context.clock.now();
                // Also after the clock was set back.
                if now < worker.looked_at || now.since(worker.looked_at) >= POLL {
                    worker.look_everywhere().await;
                }
            }
        }
    }
    context.duties.ended("worker");
    // Running attempts record their own end; wait for all of them.
    while worker.in_flight > 0 {
        if let Some(ended) = worker.ended.recv().await {
            worker.end(ended);
        }
    }
}

impl Worker {
    /// Asks the store for all lanes with work: at the start, after a change of definitions, and now and then.
    async fn look_everywhere(&mut self) {
        self.looked_at = self.context.clock.now();
        let lanes = async { self.context.store.read().await?.lanes().await };
        match lanes.await {
            Ok(lanes) => lanes.into_iter().for_each(|(tenant, job)| self.add(tenant, job)),
            Err(wrong) => tracing::error!(duty = "worker", error = %wrong, "lanes could not be read"),
        }
    }

    fn add(&mut self, tenant: Id, job: Id) {
        let priority = rule(&self.context, tenant, job).priority;
        self.ring.add(tenant, job, priority, self.context.clock.now());
    }

    fn end(&mut self, ended: Ended) {
        match ended {
            Ended::Guest => self.guests -= 1,
            Ended::Run(pick, took) => {
                self.in_flight -= 1;
                self.ring.ended(&pick, took);
            }
        }
    }

    /// One claim; answers when another may find more.
    async fn claim(&mut self) -> Result<Duration> {
        while let Ok(ended) = self.ended.try_recv() {
            self.end(ended);
        }
        for (tenant, job) in self.context.store.signals().take_lanes() {
            self.add(tenant, job);
        }
        let most = self.context.settings.worker.runs_in_flight;
        // With those whose end waits at most twice as many: where runs can be claimed and not recorded, they must not pile up.
        let slots = most.saturating_sub(self.guests).min((most * 2).saturating_sub(self.in_flight)).min(CLAIM);
        if slots == 0 || self.context.live.is_draining() || !self.context.pulse.may_claim() {
            return Ok(POLL);
        }
        let (memory, now) = (&self.context.memory, self.context.clock.now());
        let free = Free { slots, memory: memory.free(), budget: memory.budget() };
        let picks = self.ring.choose(free, now, |tenant, job| rule(&self.context, tenant, job));
        if picks.is_empty() {
            return Ok(self.ring.rests_until(now).map_or(POLL, |until| until.since(now).min(POLL)));
        }
        let needs = picks.iter().map(|pick| pick.rule.bounds.memory.saturating_mul(pick.runs)).fold(0, u32::saturating_add);
        let Some(mut promised) = memory.try_take(needs) else {
            // A probe was quicker.
            picks.iter().for_each(|pick| self.ring.missed(pick, pick.runs));
            return Ok(HELD);
        };
        let claimed = self.context.store.claim(Want { lanes: picks.iter().map(lane).collect() }).await;
        let taken = match claimed {
            Ok(taken) => taken,
            Err(wrong) => {
                picks.iter().for_each(|pick| self.ring.missed(pick, pick.runs));
                return Err(wrong);
            }
        };
        let emptied = self.note_missed(&picks, &taken, now);
        let (any, is_held) = (!taken.runs.is_empty(), !taken.held.is_empty());
        let picks: HashMap<Id, Arc<Pick>> = picks.into_iter().map(|pick| (pick.job, Arc::new(pick))).collect();
        for claimed in taken.runs {
            let Some(pick) = picks.get(&claimed.run.job).cloned() else { continue };
            (self.guests, self.in_flight) = (self.guests + 1, self.in_flight + 1);
            let (context, ends) = (self.context.clone(), self.ends.clone());
            let slot = Slot { promised: promised.split(pick.rule.bounds.memory), ends: ends.clone() };
            tokio::spawn(async move {
                let began = Instant::now();
                attempt::make(&context, claimed, slot).await;
                // The same.
                let _ = ends.send(Ended::Run(pick, began.elapsed()));
            });
        }
        // A lane that was empty has left the ring; another may have what its slots were kept for.
        Ok(match (any || emptied, is_held) {
            (true, _) => Duration::ZERO,
            (false, true) => HELD,
            (false, false) => POLL,
        })
    }

    /// Takes back what was chosen and not claimed. Answers whether a lane was empty, and its slots are another's.
    fn note_missed(&mut self, picks: &[Pick], taken: &Taken, now: Timestamp) -> bool {
        let (mut emptied, mut got) = (false, HashMap::<Id, u32>::new());
        for claimed in &taken.runs {
            *got.entry(claimed.run.job).or_default() += 1;
        }
        for pick in picks {
            let missed = pick.runs.saturating_sub(got.get(&pick.job).copied().unwrap_or(0));
            if missed == 0 {
                continue;
            }
            self.ring.missed(pick, missed);
            match taken.held.get(&pick.job) {
                None => {
                    self.ring.empty(pick.tenant, pick.job);
                    emptied = true;
                }
                Some(Need::Starts(_)) => self.ring.rest(pick.tenant, Timestamp((now.minute() + 1) * 60_000)),
                Some(_) => {}
            }
        }
        emptied
    }
}

fn lane(pick: &Pick) -> Lane {
    let Pick { tenant, job, runs, rule, .. } = pick;
    Lane { tenant: *tenant, job: *job, runs: *runs, bounds: rule.bounds, class: rule.class.clone() }
}

fn rule(context: &Context, tenant: Id, job: Id) -> Rule {
    let (known, tenant) = (context.definitions.job(job), context.definitions.tenant(tenant));
    let weight = tenant.as_ref().map_or(1, |tenant| tenant.weight);
    // A removed job's last runs still end.
    let (Some(known), Some(tenant)) = (known, tenant) else {
        return Rule { weight, priority: 0, class: None, bounds: Bounds::default() };
    };
    let spec = &known.job.spec;
    let class = context.settings.classes.get(&spec.class);
    let is_loaded = || known.digests().all(|digest| context.executor.has(digest));
    let shut = match known.job.paused_at {
        Some(_) => Some(Shut::Paused),
        None => (!is_loaded()).then_some(Shut::Unloaded),
    };
    Rule {
        weight,
        priority: spec.priority + class.map_or(0, |class| class.priority),
        class: class.filter(|class| class.running.is_some()).map(|_| spec.class.as_str().into()),
        bounds: Bounds::of(&tenant.limits, spec, class, known.memory(), shut),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::memory::Memory;
    use crate::span::Size;

    #[test]
    fn a_guest_is_heard_of_after_its_memory_is_free() {
        let memory = Memory::new(Size::mib(100));
        let (ends, mut ended) = mpsc::unbounded_channel();
        let slot = Slot { promised: memory.try_take(64).unwrap(), ends };
        assert_eq!((memory.free(), ended.try_recv().is_ok()), (36, false));
        let freed = std::thread::spawn(move || {
            assert!(matches!(ended.blocking_recv(), Some(Ended::Guest)));
            memory.free()
        });
        drop(slot);
        assert_eq!(freed.join().unwrap(), 100);
    }
}
