//! Moves runs: one duty, one file, one `tick`. The loop here sleeps, wakes on a signal, stops and logs; a tick reads the
//! truth, does what is due, and says how long it may rest. A lost signal costs time, never a run.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::clock::Clock;
use crate::config::{Role, Settings};
use crate::domain::duty::Duties;
use crate::egress::Egress;
use crate::error::Result;
use crate::objects::Objects;
use crate::plugin::Executor;
use crate::sink::Sinks;
use crate::store::Store;
use crate::trace::Traces;
use crate::vault::Vault;

mod alarm;
mod alive;
mod apart;
mod artifacts;
pub mod attempt;
mod conclude;
mod courier;
pub mod definitions;
mod fanout;
pub mod guest;
pub mod heartbeat;
pub mod items;
pub mod live;
pub mod memory;
mod notices;
pub mod operation;
pub mod prober;
pub mod promoter;
mod prover;
pub mod pruner;
mod queue;
pub mod reaper;
pub mod reconciler;
pub mod recorder;
mod resumer;
pub mod ring;
pub mod scheduler;
pub mod scribe;
mod sources;
mod tell;
mod trace;
mod version;
pub mod watchdog;
pub mod worker;

use definitions::Definitions;
use heartbeat::Pulse;
use live::LiveRuns;
use memory::Memory;

/// What the duties share.
pub struct Context {
    pub store: Store,
    pub executor: Arc<dyn Executor>,
    /// The way out of what the host itself asks: probes.
    pub egress: Arc<Egress>,
    pub clock: Arc<dyn Clock>,
    pub settings: Arc<Settings>,
    pub vault: Arc<Vault>,
    pub objects: Objects,
    pub definitions: Definitions,
    pub live: LiveRuns,
    pub memory: Memory,
    pub pulse: Pulse,
    pub items: items::Desk,
    pub shelf: recorder::Shelf,
    /// When each loop came round.
    pub duties: Duties,
    pub traces: Traces,
}

impl Context {
    pub fn new(
        store: Store,
        executor: Arc<dyn Executor>,
        egress: Arc<Egress>,
        clock: Arc<dyn Clock>,
        settings: Arc<Settings>,
        vault: Arc<Vault>,
        objects: Objects,
    ) -> Arc<Self> {
        let items = items::Desk::open(store.clone(), clock.clone());
        let memory = Memory::new(settings.worker.budget());
        let traces = Traces::of(settings.otel.as_ref(), store.node());
        let context = Arc::new(Self {
            store,
            executor,
            egress,
            clock,
            settings,
            vault,
            objects,
            definitions: Definitions::default(),
            live: LiveRuns::default(),
            memory,
            pulse: Pulse::default(),
            items,
            shelf: recorder::Shelf::default(),
            duties: Duties::default(),
            traces,
        });
        trace::hear_of_cancelled(&context);
        context
    }
}

/// How long running guests have, after the node was told to stop, to come to an end of their own.
pub const DRAIN_GRACE: Duration = Duration::from_secs(10);

/// The running duties of one node.
pub struct Runner {
    context: Arc<Context>,
    stop: CancellationToken,
    /// The heart beats until the last end is recorded.
    ended: DropGuard,
    duties: JoinSet<()>,
}

impl Runner {
    /// Takes back what an earlier process of this file left running, then starts all duties.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start(context: Arc<Context>) -> Result<Self> {
        context.definitions.refresh(&context.store).await?;
        let stop = CancellationToken::new();
        let mut duties = JoinSet::new();
        let ended = CancellationToken::new();
        if context.store.is_shared() {
            // The right is there before the first claim.
            heartbeat::beat(&context).await;
            tokio::spawn(heartbeat::run(context.clone(), ended.clone()));
            duties.spawn(reaper::run(context.clone(), stop.clone()));
        } else {
            reaper::take_over(&context).await?;
        }
        let mut start = |name, wake, tick| duties.spawn(every(name, context.clone(), stop.clone(), wake, tick));
        start("tokens", None, tick(pruner::note_tokens));
        start("writer", None, tick(alive::write));
        let (roles, signals) = (&context.settings.roles, context.store.signals());
        if roles.has(Role::Scheduler) {
            let (seen, proven, alarms) = (Arc::default(), Arc::default(), Arc::default());
            let sinks = Arc::new(Sinks::of(&context.settings, context.egress.clone(), context.clock.clone())?);
            let (courier, idle, beats, failed) = (sinks.clone(), Arc::default(), sinks, Arc::default());
            start("scheduler", Some(signals.definitions()), for_all(scheduler::tick));
            start("resumer", Some(signals.definitions()), for_all(resumer::tick));
            start("watchdog", None, for_all(move |context| watchdog::tick(context, Arc::clone(&seen))));
            start("alarm", None, for_all(move |context| alarm::tick(context, Arc::clone(&alarms))));
            start("courier", None, for_all(move |context| courier::tick(context, Arc::clone(&courier), Arc::clone(&idle))));
            if context.settings.heartbeat.is_some() {
                start("heartbeat", None, for_all(move |context| alive::beat(context, Arc::clone(&beats), Arc::clone(&failed))));
            }
            start("prover", None, for_all(move |context| prover::tick(context, Arc::clone(&proven))));
            start("pruner", None, for_all(pruner::tick));
            start("reconciler", None, for_all(reconciler::tick));
            start("operations", Some(signals.operations()), for_all(operation::tick));
            start("notices", Some(signals.notices()), for_all(notices::tick));
            duties.spawn(promoter::run(context.clone(), stop.clone()));
            duties.spawn(prober::run(context.clone(), stop.clone()));
        }
        if roles.has(Role::Worker) {
            let mut start = |name, tick| duties.spawn(every(name, context.clone(), stop.clone(), None, tick));
            start("scribe", tick(scribe::tick));
            start("recorder", tick(recorder::tick));
            start("canceller", tick(reaper::stop_cancelled));
            duties.spawn(fanout::run(context.clone(), stop.clone()));
            duties.spawn(worker::run(context.clone(), stop.clone()));
        } else {
            duties.spawn(definitions::follow(context.clone(), stop.clone()));
        }
        Ok(Self { context, stop, ended: ended.drop_guard(), duties })
    }

    /// No new claims; running guests get a grace, then their runs go back to the queue without spending an attempt.
    pub async fn drain(mut self) {
        self.stop.cancel();
        self.context.live.drain();
        let clock = self.context.clock.clone();
        let ended = async { while self.duties.join_next().await.is_some() {} };
        tokio::pin!(ended);
        tokio::select! {
            () = &mut ended => {}
            () = clock.sleep(DRAIN_GRACE) => {
                self.context.live.stop_now();
                ended.await;
            }
        }
        // Of the last attempts.
        if let Err(wrong) = recorder::tick(self.context.clone()).await {
            tracing::warn!(error = %wrong, "the last recordings could not be stored");
        }
        self.context.traces.flush().await;
        drop(self.ended);
    }
}

type Tick = Box<dyn Fn(Arc<Context>) -> std::pin::Pin<Box<dyn Future<Output = Result<Duration>> + Send>> + Send>;

fn tick<F>(of: impl Fn(Arc<Context>) -> F + Send + 'static) -> Tick
where
    F: Future<Output = Result<Duration>> + Send + 'static,
{
    Box::new(move |context| Box::pin(of(context)))
}

/// How soon a node that follows looks whether it has to lead.
const FOLLOWING: Duration = Duration::from_secs(1);

/// A duty that one node has for all.
fn for_all<F>(of: impl Fn(Arc<Context>) -> F + Send + 'static) -> Tick
where
    F: Future<Output = Result<Duration>> + Send + 'static,
{
    Box::new(
        move |context| {
            if context.pulse.leads() { Box::pin(of(context)) } else { Box::pin(std::future::ready(Ok(FOLLOWING))) }
        },
    )
}

/// The pause after a tick that failed: long enough not to flood the log, short enough to be back soon.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// The loop of a duty: tick, rest as long as it says or until woken, again.
async fn every(
    name: &'static str,
    context: Arc<Context>,
    stop: CancellationToken,
    mut wake: Option<watch::Receiver<u64>>,
    tick: Tick,
) {
    // From now on it is missed, also when its first round hangs.
    context.duties.came_round(name, context.clock.uptime(), Duration::ZERO);
    loop {
        wake.iter_mut().for_each(watch::Receiver::mark_unchanged);
        let rest = match tick(context.clone()).await {
            Ok(rest) => {
                context.duties.came_round(name, context.clock.uptime(), rest);
                rest
            }
            Err(wrong) => {
                tracing::error!(duty = name, error = %wrong, "a duty failed; it tries again");
                AFTER_FAILURE
            }
        };
        tokio::select! {
            () = stop.cancelled() => return context.duties.ended(name),
            () = changed(&mut wake) => {}
            () = context.clock.sleep(rest) => {}
        }
    }
}

/// Never, when there is nothing to be woken by.
async fn changed(wake: &mut Option<watch::Receiver<u64>>) {
    match wake {
        // The store, which holds the other end, outlives its duties.
        Some(wake) => drop(wake.changed().await),
        None => std::future::pending().await,
    }
}

/// From 0 to 1, for jitter.
fn random() -> f64 {
    rand::random()
}
