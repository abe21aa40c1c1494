//! A guest without a server: `windlass plugin run`, and what `windlass doctor` tries.

use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

pub mod items;
pub mod shelf;

use super::kept;
use crate::clock::{Clock, ManualClock, SystemClock};
use crate::config::Settings;
use crate::domain::grant::{Ceiling, Grant};
use crate::egress::Egress;
use crate::error::Result;
use crate::id::Id;
use crate::plugin::{self, Compiler, Journal, Refusal, Sandbox, StateAnswer, StateAsk, StateCall, StatePort, Work};

/// Calls with a folder of its own, which is gone afterwards; what was compiled in it is kept for the next call.
pub async fn in_a_folder<T, F: Future<Output = Result<T>>>(name: &str, call: impl FnOnce(PathBuf) -> F) -> Result<T> {
    let cache = kept::cache();
    let folder = cache.clone().unwrap_or_else(std::env::temp_dir).join(format!("windlass-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    if let Some(cache) = &cache {
        kept::lend(cache, &folder)?;
    }
    let answer = call(folder.clone()).await;
    if let Some(cache) = &cache {
        kept::keep(cache, &folder);
    }
    std::fs::remove_dir_all(&folder)?;
    answer
}

/// As a server with these settings would have it.
pub fn sandbox(settings: &Settings, data_dir: PathBuf) -> Result<Sandbox> {
    Sandbox::new(made(settings, data_dir, Arc::new(SystemClock))?)
}

/// The same; what the host notes has the times of this clock.
pub fn sandbox_at(settings: &Settings, data_dir: PathBuf, clock: ManualClock) -> Result<Sandbox> {
    Sandbox::new(made(settings, data_dir, Arc::new(clock))?)
}

/// The same, and it counts what guests execute, which takes more time.
pub fn counting(settings: &Settings, data_dir: PathBuf, clock: ManualClock) -> Result<Sandbox> {
    Sandbox::counting(made(settings, data_dir, Arc::new(clock))?)
}

fn made(settings: &Settings, data_dir: PathBuf, clock: Arc<dyn Clock>) -> Result<plugin::Settings> {
    Ok(plugin::Settings {
        threads: settings.worker.guest_threads,
        runs: settings.worker.runs_in_flight,
        data_dir,
        compiler: Compiler::Process(settings.binary.clone()),
        egress: Egress::of(settings, Vec::new(), Arc::clone(&clock))?,
        clock,
    })
}

/// The first attempt of a run by hand that is granted nothing.
pub fn work(job: &str, digest: String, time_limit: Duration, state: StatePort) -> Work {
    Work {
        tenant: "local".into(),
        job: job.to_owned(),
        run: Id(1),
        attempt: 1,
        trigger: "manual",
        config: "{}".into(),
        input: "{}".into(),
        digest,
        time_limit,
        grace: (time_limit / 10).min(Duration::from_secs(5)),
        stall_limit: None,
        grant: Arc::new(Grant::default()),
        ceiling: Arc::new(Ceiling::default()),
        secrets: Arc::default(),
        journal: Arc::new(Journal::default()),
        stop: Arc::default(),
        state,
        items: None,
        artifacts: None,
        tape: Arc::default(),
    }
}

/// A job's state: values with their versions.
pub type Kept = HashMap<String, (Vec<u8>, u64)>;

/// A job's state that lasts as long as the call.
pub async fn keep_state(calls: mpsc::Receiver<StateCall>) -> std::convert::Infallible {
    keep_state_in(&mut Kept::new(), calls).await
}

/// The same, for who looks at it afterwards.
pub async fn keep_state_in(kept: &mut Kept, mut calls: mpsc::Receiver<StateCall>) -> std::convert::Infallible {
    while let Some(StateCall { ask, answer }) = calls.recv().await {
        // A guest that was stopped meanwhile does not mind.
        let _ = answer.send(answered(kept, ask));
    }
    std::future::pending().await
}

fn answered(kept: &mut Kept, ask: StateAsk) -> Result<StateAnswer, Refusal> {
    let stands = |kept: &Kept, key: &str, expected: Option<u64>| {
        let version = kept.get(key).map_or(0, |(_, version)| *version);
        match expected {
            Some(expected) if expected != version => {
                Err(Refusal { code: "conflict", message: format!("{key} has version {version}, not {expected}") })
            }
            _ => Ok(version),
        }
    };
    match ask {
        StateAsk::Get(key) => Ok(StateAnswer::Entry(kept.get(&key).cloned())),
        StateAsk::Set { key, value, expected } => {
            let version = stands(kept, &key, expected)? + 1;
            kept.insert(key, (value, version));
            Ok(StateAnswer::Version(version))
        }
        StateAsk::Delete { key, expected } => {
            stands(kept, &key, expected)?;
            kept.remove(&key);
            Ok(StateAnswer::Done)
        }
        StateAsk::Keys { prefix } => {
            let mut keys: Vec<String> = kept.keys().filter(|key| key.starts_with(&prefix)).cloned().collect();
            keys.sort_unstable();
            Ok(StateAnswer::Keys(keys))
        }
    }
}
