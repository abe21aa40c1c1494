//! Guests by themselves: what a fresh sandbox costs, what loading one costs, and who suffers from busy ones.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::process::resident_mb;
use super::{Measure, Plan, at, step};
use crate::cli::local;
use crate::cli::serve::Server;
use crate::clock::Timestamp;
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::plugin::catalog::digest;
use crate::plugin::{EMBEDDED, Executor, Sandbox, Tape, Work, deadline_cost};

/// Of each measure of calls.
const SPAN: Duration = Duration::from_secs(3);
/// Callers at a time that keep one thread busy.
const CALLERS: usize = 8;
/// Runs asleep at a time.
const SUSPENDED: u32 = 1_000;
/// Busy guests beside the pages.
const LOOPS: usize = 16;
const PAGES: usize = 200;

/// A program that does nothing else: `loop { again }`.
const LOOP: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x05\x03\x01\0\x01\
    \x07\x13\x02\x06memory\x02\0\x06_start\0\0\x0a\x09\x01\x07\0\x03\x40\x0c\0\x0b\x0b";

pub(super) async fn measure(folder: &Path, plan: &Plan) -> Result<Vec<Measure>> {
    let mut measures = Vec::new();
    step("plugins: compiled, and loaded again");
    let folder = folder.join("loading");
    measures.extend(loading(&folder, "mediawiki-jobs", bytes("mediawiki-jobs")).await?);
    for file in &plan.plugins {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        measures.extend(loading(&folder, &name, std::fs::read(file)?).await?);
    }
    measures.extend(loading(&folder, "noop", bytes("noop")).await?);
    let noop = digest(&bytes("noop"));
    step("a busy guest, with and without a deadline");
    measures.push(Measure {
        name: "a tight loop with a deadline to one without",
        value: deadline_cost()?,
        unit: "ratio",
        target: "",
    });
    step("fresh sandboxes");
    for (threads, callers, recorded, name, target) in [
        (1, 1, false, "one fresh sandbox and call, until its answer is there", ""),
        (1, CALLERS, false, "fresh sandbox and call, of a busy thread", "≤ 20"),
        (1, CALLERS, true, "the same, recorded as by default", ""),
        (2, CALLERS, false, "the same, of each of 2 busy threads", ""),
    ] {
        let sandbox = Arc::new(open(&folder, threads, 64)?);
        sandbox.catalog().load(&noop, bytes("noop")).await?;
        let value = calls(&sandbox, &noop, (threads, callers), recorded).await?;
        measures.push(Measure { name, value, unit: "µs", target });
    }
    step("1,000 runs asleep");
    measures.push(suspended(&folder, &noop).await?);
    Ok(measures)
}

pub(super) fn open(folder: &Path, threads: usize, runs: u32) -> Result<Sandbox> {
    std::fs::create_dir_all(folder)?;
    let mut settings = Settings::default();
    (settings.worker.guest_threads, settings.worker.runs_in_flight) = (threads, runs);
    local::sandbox(&settings, folder.to_owned())
}

pub(super) fn bytes(name: &str) -> Vec<u8> {
    EMBEDDED.iter().find(|plugin| plugin.name == name).map(|plugin| plugin.bytes.to_vec()).unwrap_or_default()
}

pub(super) fn work(digest: &str, time_limit: Duration) -> Work {
    local::work("bench", digest.to_owned(), time_limit, mpsc::channel(1).0)
}

async fn loading(folder: &Path, name: &str, bytes: Vec<u8>) -> Result<[Measure; 2]> {
    let sandbox = open(folder, 1, 8)?;
    let began = Instant::now();
    let digest = sandbox.catalog().add(bytes).await?.digest;
    let cold = ms(began);
    sandbox.catalog().unload(&digest);
    let began = Instant::now();
    sandbox.catalog().load_compiled(&digest).await?;
    let line = |what: &str, value| {
        // A handful of names, printed at the end of the process.
        Measure { name: Box::leak(format!("{name}: {what}").into_boxed_str()), value, unit: "ms", target: "" }
    };
    Ok([line("from push to ready, cold", cold), line("loaded from compiled code", ms(began))])
}

fn ms(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}

/// What a call takes of a thread, in µs. One caller waits for each answer, and the hand-over from thread to thread is most of that;
/// with more of them the thread always has one to do.
async fn calls(sandbox: &Arc<Sandbox>, digest: &str, (threads, callers): (usize, usize), recorded: bool) -> Result<f64> {
    let mut tasks = tokio::task::JoinSet::new();
    let began = Instant::now();
    for _ in 0..threads * callers {
        let (sandbox, digest) = (Arc::clone(sandbox), digest.to_owned());
        tasks.spawn(async move {
            let mut called = 0_u32;
            while began.elapsed() < SPAN {
                let mut work = work(&digest, Duration::from_secs(10));
                if recorded {
                    work.tape = Arc::new(Tape::record(Timestamp(0)));
                }
                sandbox.execute(work).await;
                called += 1;
            }
            called
        });
    }
    let called: u32 = tasks.join_all().await.into_iter().sum();
    Ok(began.elapsed().as_secs_f64() * 1e6 * threads as f64 / f64::from(called))
}

async fn suspended(folder: &Path, digest: &str) -> Result<Measure> {
    let sandbox = open(folder, 2, SUSPENDED)?;
    sandbox.catalog().load(digest, bytes("noop")).await?;
    sandbox.execute(work(digest, Duration::from_secs(10))).await;
    let before = resident_mb()?;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..SUSPENDED {
        let mut asleep = work(digest, Duration::from_secs(60));
        asleep.input = r#"{"sleep_ms": 4000}"#.into();
        tasks.spawn(sandbox.execute(asleep));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let value = (resident_mb()? - before) * 1e6 / 1024.0 / f64::from(SUSPENDED);
    tasks.join_all().await;
    Ok(Measure { name: "memory of a suspended run, of 1,000", value, unit: "KiB", target: "≤ 100" })
}

/// Pages of a server whose guests' threads are all busy.
pub(super) async fn beside_loops(server: &Server) -> Result<Vec<Measure>> {
    let digest = server.app.catalog.add(LOOP.to_vec()).await?.digest;
    let busy: Vec<_> =
        (0..LOOPS).map(|_| tokio::spawn(server.app.executor.execute(work(&digest, Duration::from_secs(60))))).collect();
    let url = format!("{}/login", server.url());
    let asked = tokio::task::spawn_blocking(move || -> anyhow::Result<Vec<f64>> {
        let agent = ureq::Agent::new_with_defaults();
        let mut took = Vec::with_capacity(PAGES);
        for _ in 0..PAGES {
            let began = Instant::now();
            agent.get(&url).call()?.body_mut().read_to_string()?;
            took.push(ms(began));
        }
        Ok(took)
    });
    let mut took = asked.await.map_err(|wrong| Error::Internal(wrong.into()))??;
    // Dropping what waits for a guest stops it.
    busy.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(vec![
        Measure { name: "a page beside 16 infinite loops, p50", value: at(&mut took, 0.5), unit: "ms", target: "" },
        Measure { name: "a page beside 16 infinite loops, p99", value: at(&mut took, 0.99), unit: "ms", target: "≤ 50" },
    ])
}
