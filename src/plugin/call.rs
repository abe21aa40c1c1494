//! One call of one export in a fresh store, under the clock: deadline, stall limit, stop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::Store;
use wasmtime_wasi::{FsPerms, WasiCtx};

use super::bindings::exports::windlass::plugin::backlog::{Measurement, Target};
use super::bindings::exports::windlass::plugin::config::Problem;
use super::bindings::exports::windlass::plugin::finish::Totals;
use super::bindings::exports::windlass::plugin::job::{Failure, Output, Work};
use super::command::Program;
use super::engine::Engine;
use super::host::http::{Gate, Outgoing};
use super::instance::{Context, Guest, store};
use super::journal::Level;
use super::loaded::Loaded;
use super::scratch::{Folders, PLACE};
use super::stdio::Stream;
use super::tape;
use super::trap::{Broken, explain, over_time};

/// How often a guest that waits in a host call is looked at: its stop flag and its progress have no other waker.
const GLANCE: Duration = Duration::from_millis(100);
/// A busy guest is stopped by its epoch; the watch over it waits so much longer, for the backtrace that the epoch brings.
const AFTER: Duration = Duration::from_millis(30);
/// Bytes of randomness that a guest may ask for at once; the host holds them.
const RANDOM: u64 = 1024 * 1024;

/// What is called.
pub enum Ask {
    Run(Work),
    /// After the last item.
    Finish(Work, Totals),
    Measure(Target),
    Check(String),
    Describe,
    /// A WASI program's main function.
    Program(Program),
}

/// What it returned.
pub enum Told {
    Ran(Result<Output, Failure>),
    Measured(Result<Measurement, Failure>),
    Checked(Result<(), Vec<Problem>>),
    Described(String),
    /// Exit code 0 or 1, and the last lines of standard output and error.
    Exited {
        code: i32,
        stdout: String,
        stderr: String,
    },
}

/// What every call needs of the house.
pub struct Room {
    pub engine: Engine,
    pub gate: Arc<Gate>,
    pub scratch: Folders,
}

impl Room {
    /// Waits for room, arms the deadline, makes an instance and calls it. `context` gets the deadline.
    pub async fn call(
        &self,
        plugin: &Loaded,
        context: impl FnOnce(Instant) -> Context,
        ask: Ask,
        limit: Duration,
    ) -> Result<Told, Broken> {
        let _room = self.engine.room(plugin.weight).await.map_err(|wrong| Broken::Host { message: wrong.to_string() })?;
        let context = Arc::new(context(Instant::now() + limit));
        context.journal.limit(&context.limits);
        let streams = (stream(&context, Level::Info), stream(&context, Level::Warn));
        let scratch = self.scratch.lend(&context).map_err(|wrong| Broken::Host { message: wrong.to_string() })?;
        let mut wasi = WasiCtx::builder();
        // No files but those of a scratch folder, no environment, no arguments, no sockets, no names: what is not given here does not exist.
        wasi.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
        wasi.max_random_size(RANDOM);
        tape::furnish(&context.tape, &mut wasi);
        wasi.stdout(streams.0.clone()).stderr(streams.1.clone());
        if let Ask::Program(program) = &ask {
            program.furnish(&mut wasi);
        }
        if let Some(scratch) = &scratch {
            let opened = wasi.env("TMPDIR", PLACE).preopened_dir(scratch.folder(), PLACE, FsPerms::ReadWrite);
            opened.map_err(|wrong| Broken::Host { message: format!("the scratch folder cannot be opened: {wrong:#}") })?;
        }
        let budget = scratch.as_ref().map(|scratch| Arc::clone(&scratch.budget));
        let mut store = store(&self.engine, &context, Outgoing::new(&context, &self.gate), budget, wasi.build());
        let watched = watched(enter(&mut store, plugin, ask), &context).await;
        store.data().outgoing.calls.close();
        context.journal.memory(store.data().memory_used());
        context.journal.took("scratch", scratch.as_ref().map_or(0, |scratch| scratch.budget.taken()));
        if let Ok(left) = store.get_fuel() {
            context.journal.burned(u64::MAX - left);
        }
        drop(store);
        if let Some(scratch) = scratch {
            scratch.end().await;
        }
        let (stdout, tail) = (streams.0.close(), streams.1.tail());
        let stderr = streams.1.close();
        let told = watched?.or_else(|error| match explain(&error, &tail, context.time_limit, &context.limits) {
            Broken::Exit(code) if plugin.command.is_some() => {
                Ok(Told::Exited { code, stdout: String::new(), stderr: String::new() })
            }
            broken => Err(broken),
        });
        match told {
            Ok(Told::Exited { code, .. }) => Ok(Told::Exited { code, stdout, stderr }),
            told => told,
        }
    }
}

fn stream(context: &Context, level: Level) -> Stream {
    Stream::new(level, Arc::clone(&context.journal), Arc::clone(&context.clock))
}

async fn enter(store: &mut Store<Guest>, plugin: &Loaded, ask: Ask) -> wasmtime::Result<Told> {
    let missing = || wasmtime::format_err!("the plugin has no such export");
    if let Ask::Program(_) = ask {
        let command = plugin.command.as_ref().ok_or_else(missing)?.instantiate_async(&mut *store).await?;
        let code = i32::from(command.wasi_cli_run().call_run(store).await?.is_err());
        return Ok(Told::Exited { code, stdout: String::new(), stderr: String::new() });
    }
    let instance = plugin.pre.instantiate_async(&mut *store).await?;
    match ask {
        Ask::Run(work) => {
            let guest = plugin.job.as_ref().ok_or_else(missing)?.load(&mut *store, &instance)?;
            Ok(Told::Ran(guest.call_run(store, &work).await?))
        }
        Ask::Finish(work, totals) => {
            let guest = plugin.finish.as_ref().ok_or_else(missing)?.load(&mut *store, &instance)?;
            Ok(Told::Ran(guest.call_finish(store, &work, totals).await?))
        }
        Ask::Measure(target) => {
            let guest = plugin.backlog.as_ref().ok_or_else(missing)?.load(&mut *store, &instance)?;
            Ok(Told::Measured(guest.call_measure(store, &target).await?))
        }
        Ask::Check(config) => {
            let guest = plugin.config.as_ref().ok_or_else(missing)?.load(&mut *store, &instance)?;
            Ok(Told::Checked(guest.call_check(store, &config).await?))
        }
        Ask::Describe | Ask::Program(_) => {
            let guest = plugin.describe.as_ref().ok_or_else(missing)?.load(&mut *store, &instance)?;
            Ok(Told::Described(guest.call_describe(store).await?))
        }
    }
}

/// Waits for the call, and stops it where epochs do not reach: in a host call that sleeps.
async fn watched<T>(call: impl Future<Output = T>, context: &Context) -> Result<T, Broken> {
    let mut call = std::pin::pin!(call);
    let (mut reports, mut since) = (context.journal.reports(), Instant::now());
    loop {
        let pause = (context.remaining() + AFTER).min(GLANCE);
        tokio::select! {
            biased;
            returned = &mut call => return Ok(returned),
            () = tokio::time::sleep(pause) => {}
        }
        if context.stop.is_now() {
            return Err(Broken::Cancelled);
        }
        if Instant::now() >= context.deadline + AFTER {
            return Err(Broken::TimedOut { message: over_time(context.time_limit) + ", waiting in a call of the host" });
        }
        let Some(limit) = context.stall_limit else { continue };
        let now = context.journal.reports();
        if now != reports {
            (reports, since) = (now, Instant::now());
        } else if since.elapsed() >= limit {
            return Err(Broken::TimedOut { message: format!("no progress for {}", humantime::format_duration(limit)) });
        }
    }
}
