//! The real [`Executor`]: every call in a fresh sandbox, on threads of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::bindings::exports::windlass::plugin::{backlog, finish, job};
use super::call::{Ask, Room, Told};
use super::catalog::Catalog;
use super::command::Program;
use super::compiler::Compiler;
use super::engine::Engine;
use super::host::http::Gate;
use super::instance::Context;
use super::scratch::Folders;
use super::trap::Broken;
use super::{Answer, Executor, Work, outcome};
use crate::clock::Clock;
use crate::domain::attempt::Outcome;
use crate::domain::backlog::Measurement;
use crate::domain::item::ItemCounts;
use crate::domain::limits::Limits;
use crate::domain::span::Size;
use crate::egress::Egress;
use crate::error::{Problem, Result};

/// Guests beyond the runs in flight: probes and checks of configurations run beside them.
const BESIDE: u32 = 32;

/// What a sandbox is made of.
pub struct Settings {
    /// Threads that run guests; they bound the CPU that guests take. As many as cores is a good number.
    pub threads: usize,
    /// Runs in flight at a time (256 by default, design); the pool holds a few more.
    pub runs: u32,
    /// Compiled code lies in `compiled` below it, scratch folders in `scratch`, which is cleared.
    pub data_dir: PathBuf,
    pub compiler: Compiler,
    /// The way out of guests' requests.
    pub egress: Arc<Egress>,
    pub clock: Arc<dyn Clock>,
}

pub struct Sandbox {
    room: Arc<Room>,
    catalog: Arc<Catalog>,
    clock: Arc<dyn Clock>,
    guests: Threads,
}

/// The guests' runtime, apart from the server's: a busy guest would make every timer there late.
struct Threads {
    handle: tokio::runtime::Handle,
    /// Taken out at the end.
    runtime: Option<tokio::runtime::Runtime>,
}

impl Threads {
    fn new(count: usize) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(count.max(1))
            .thread_name("guest")
            // A guest that yields is queued again at once: without this, timers and sockets are looked at every 61st
            // time only, which is 610 ms.
            .event_interval(1)
            .enable_all()
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Dropping a runtime waits, which a thread of another runtime must not.
            runtime.shutdown_background();
        }
    }
}

impl Sandbox {
    /// Takes some 10 ms. Fails when the data folder cannot be written or is another user's, and when the machine gives no
    /// threads.
    pub fn new(settings: Settings) -> Result<Self> {
        Self::made(settings, false)
    }

    /// One that counts what its guests execute ([`super::Journal::fuel`]): the same for the same calls, at the price of time.
    /// Fails as [`Sandbox::new`] does.
    pub fn counting(settings: Settings) -> Result<Self> {
        Self::made(settings, true)
    }

    fn made(settings: Settings, fuel: bool) -> Result<Self> {
        let guests = Threads::new(settings.threads)?;
        let gate = Arc::new(Gate { egress: settings.egress, pool: Arc::default() });
        let scratch = Folders::open(&settings.data_dir)?;
        let room = Arc::new(Room { engine: Engine::new(settings.runs.saturating_add(BESIDE), fuel)?, gate, scratch });
        let catalog = Catalog::new(
            Arc::clone(&room),
            guests.handle.clone(),
            Arc::clone(&settings.clock),
            if fuel { settings.compiler.counting() } else { settings.compiler },
            &settings.data_dir,
        )?;
        Ok(Self { room, catalog: Arc::new(catalog), clock: settings.clock, guests })
    }

    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Guests that are granted scratch space have this folder from now on, and it stays as they leave it: for who tries one out.
    pub fn scratch_in(&self, folder: PathBuf) {
        self.room.scratch.give(folder);
    }

    /// Whether guests come from a pool; without one they start slower.
    pub fn is_pooled(&self) -> bool {
        self.room.engine.is_pooled()
    }

    /// Asks; the answer's future stops the guest when it is dropped.
    fn ask(&self, work: Work, ask: Ask) -> Answer<Result<Told, Broken>> {
        let Some(plugin) = self.catalog.get(&work.digest) else {
            let message = format!("plugin {} is not loaded on this node", work.digest);
            return Box::pin(std::future::ready(Err(Broken::Host { message })));
        };
        let (room, clock, limit) = (Arc::clone(&self.room), Arc::clone(&self.clock), work.time_limit);
        let limits = limits(&work);
        let tape = Arc::clone(&work.tape);
        let context = move |deadline| Context {
            tenant: work.tenant.into(),
            clock,
            journal: work.journal,
            stop: work.stop,
            limits,
            grant: work.grant,
            ceiling: work.ceiling,
            secrets: work.secrets,
            state: Some(work.state),
            items: work.items,
            artifacts: work.artifacts,
            tape: work.tape,
            item_bytes: AtomicU64::new(0),
            time_limit: limit,
            grace: work.grace,
            stall_limit: work.stall_limit,
            deadline,
        };
        let (guests, patience) = (self.guests.handle.clone(), tape.patience(limit));
        Box::pin(async move { on_guests(&guests, async move { room.call(&plugin, context, ask, patience).await }).await })
    }
}

impl Executor for Sandbox {
    fn execute(&self, work: Work) -> Answer<Outcome> {
        let most = limits(&work).output_bytes;
        let ask = match self.catalog.get(&work.digest) {
            Some(plugin) if plugin.command.is_some() => match Program::new(&work) {
                Ok(program) => Ask::Program(program),
                Err(message) => return Box::pin(std::future::ready(Outcome::Undecodable { message })),
            },
            _ => Ask::Run(job_work(&work)),
        };
        Box::pin(came_to(most, self.ask(work, ask)))
    }

    fn finish(&self, work: Work, totals: ItemCounts) -> Answer<Outcome> {
        let totals = finish::Totals { done: totals.done, failed: totals.failed, skipped: totals.skipped };
        let (ask, most) = (Ask::Finish(job_work(&work), totals), limits(&work).output_bytes);
        Box::pin(came_to(most, self.ask(work, ask)))
    }

    fn finishes(&self, digest: &str) -> bool {
        self.catalog.get(digest).is_some_and(|plugin| plugin.finish.is_some())
    }

    fn measure(&self, work: Work) -> Answer<Result<Measurement, String>> {
        if self.catalog.get(&work.digest).is_some_and(|plugin| plugin.backlog.is_none()) {
            let wrong = "the plugin has no backlog export: measure the backlog in another way, or choose a plugin that can";
            return Box::pin(std::future::ready(Err(wrong.to_owned())));
        }
        let target = backlog::Target {
            tenant: work.tenant.clone(),
            job: work.job.clone(),
            config: work.config.clone(),
            time_limit_ms: ms(work.time_limit),
            extras: Vec::new(),
        };
        let called = self.ask(work, Ask::Measure(target));
        Box::pin(async move {
            match called.await {
                Ok(Told::Measured(Ok(found))) => Ok(Measurement {
                    size: found.size.min(outcome::MOST),
                    age_ms: found.age_ms.map(|age| age.min(outcome::MOST)),
                }),
                Ok(Told::Measured(Err(failure))) => Err(outcome::failed(failure).message()),
                Ok(_) => Err("the plugin answered another question".into()),
                Err(broken) => Err(broken.to_string()),
            }
        })
    }

    fn check(&self, digest: &str, config: String) -> Answer<Result<(), Vec<Problem>>> {
        let problem = |message: String| Err(vec![Problem::new("", message)]);
        let Some(plugin) = self.catalog.get(digest) else {
            return Box::pin(std::future::ready(problem(format!("plugin {digest} is not loaded on this node"))));
        };
        if plugin.config.is_none() {
            return Box::pin(std::future::ready(Ok(())));
        }
        let catalog = Arc::clone(&self.catalog);
        Box::pin(async move {
            match catalog.aside(&plugin, Ask::Check(config)).await {
                Ok(Told::Checked(Ok(()))) => Ok(()),
                Ok(Told::Checked(Err(found))) => Err(found.into_iter().map(|it| Problem::new(it.field, it.message)).collect()),
                Ok(_) => problem("the plugin answered another question".into()),
                Err(broken) => problem(format!("the plugin could not check the configuration: {broken}")),
            }
        })
    }

    fn has(&self, digest: &str) -> bool {
        self.catalog.has(digest)
    }

    fn shares(&self, nodes: u32) {
        self.room.gate.egress.targets.shares(nodes);
    }
}

/// `most`: of the output's data.
async fn came_to(most: Size, called: Answer<Result<Told, Broken>>) -> Outcome {
    match called.await {
        Ok(Told::Ran(Ok(output))) => outcome::succeeded(output, most),
        Ok(Told::Ran(Err(failure))) => outcome::failed(failure),
        Ok(Told::Exited { code, stdout, stderr }) => outcome::exited(code, stdout, &stderr),
        Ok(_) => outcome::broken(Broken::Host { message: "the plugin answered another question".into() }),
        Err(broken) => outcome::broken(broken),
    }
}

/// Ends the guest's task with the future that waits for it.
struct Task<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs a call on the guests' threads.
pub async fn on_guests(
    guests: &tokio::runtime::Handle,
    call: impl Future<Output = Result<Told, Broken>> + Send + 'static,
) -> Result<Told, Broken> {
    let mut task = Task(guests.spawn(call));
    match (&mut task.0).await {
        Ok(told) => told,
        Err(wrong) if wrong.is_cancelled() => Err(Broken::Cancelled),
        Err(wrong) => {
            tracing::error!(error = %wrong, "a guest's task broke in the host");
            Err(Broken::Host { message: "the host broke while it ran the guest; the server's log says where".into() })
        }
    }
}

/// What holds for the attempt.
fn limits(work: &Work) -> Limits {
    Limits::of(&work.grant.limits, &work.ceiling.limits)
}

fn job_work(work: &Work) -> job::Work {
    job::Work {
        tenant: work.tenant.clone(),
        job: work.job.clone(),
        run: work.run.to_string(),
        attempt: work.attempt,
        trigger: work.trigger.to_owned(),
        config: work.config.clone(),
        input: work.input.clone(),
        time_limit_ms: ms(work.time_limit),
        extras: Vec::new(),
    }
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
