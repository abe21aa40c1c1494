//! `windlass bench`: what docs/design promises in numbers, measured on this machine. Prints JSON; asserts nothing.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use serde_json::json;

use super::serve::{Access, Server, runtime};
use crate::app::Who;
use crate::app::apply::Source;
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::domain::attempt::Outcome;
use crate::domain::backlog::Measurement;
use crate::domain::grant::Ceiling;
use crate::domain::job::Job;
use crate::domain::retry::Decision;
use crate::domain::run::{Final, NewRun};
use crate::domain::tenant::{Tenant, TenantLimits, TenantRetention};
use crate::domain::trigger::Cause;
use crate::error::{Error, Problem, Result};
use crate::id::Id;
use crate::plugin::{Answer, Executor, Work};
use crate::store::claim::{Lane, Want};
use crate::store::record::Finished;
use crate::store::{Database, Store};

/// Tenants and jobs of each: 300 lanes, the worst case for locality that the store's notes measured.
const TENANTS: usize = 100;
const JOBS: usize = 3;
/// Runs of one enqueue, claim and record.
const BATCH: usize = 1_024;
/// Requests one after the other, on an idle server.
const LATENCIES: usize = 300;
/// Callers at a time.
const CALLERS: usize = 64;

#[derive(Debug, Serialize)]
struct Measure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    /// As in the README's table of numbers.
    target: &'static str,
}

#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    seed: u64,
    runs: usize,
    cores: usize,
    measures: Vec<Measure>,
}

/// What is measured, and on what.
struct Plan {
    runs: usize,
    seed: u64,
    /// Both measures that need a database take it; a file each without.
    postgres: Option<String>,
}

/// Runs all measures in temporary folders.
pub fn run(runs: usize, seed: u64, postgres: Option<String>, json: bool) -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("windlass-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let measured = runtime()?.block_on(measure_all(&folder, &Plan { runs, seed, postgres }));
    std::fs::remove_dir_all(&folder)?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let report = Report { version: env!("CARGO_PKG_VERSION"), seed, runs, cores, measures: measured? };
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    println!("{:<46} {:>12} {:<8} target", "measure", "value", "unit");
    for m in &report.measures {
        println!("{:<46} {:>12.2} {:<8} {}", m.name, m.value, m.unit, m.target);
    }
    Ok(())
}

async fn measure_all(folder: &Path, plan: &Plan) -> Result<Vec<Measure>> {
    let mut measures = Vec::new();
    step("a run's whole life in the store, no guests");
    measures.push(store_life(&folder.join("store"), plan).await?);
    step("idle server");
    let stamps = Arc::new(Stamps::default());
    let mut settings = Settings { data_dir: folder.join("server"), listen: ([127, 0, 0, 1], 0).into(), ..Settings::default() };
    if let Some(url) = &plan.postgres {
        settings.database_url.clone_from(url);
    }
    let wrapped = stamps.clone();
    let server = Server::start_with(settings, move |inner| Arc::new(Stamping { inner, stamps: wrapped })).await?;
    let outcome = with_server(&server, &stamps, plan, &mut measures).await;
    server.stop().await;
    outcome?;
    Ok(measures)
}

async fn with_server(server: &Server, stamps: &Arc<Stamps>, plan: &Plan, measures: &mut Vec<Measure>) -> Result<()> {
    let jobs = define(server).await?;
    measures.extend(idle().await?);
    step("requests, one after the other: enqueue over HTTP until the guest starts");
    measures.extend(latency(server, stamps).await?);
    step("64 callers enqueue over HTTP");
    measures.push(enqueue_rate(server).await?);
    step("drain: guests in fresh sandboxes");
    measures.push(drain(server, &jobs, stamps, plan).await?);
    measures.push(Measure { name: "resident memory after the drain", value: resident_mb()?, unit: "MB", target: "" });
    Ok(())
}

fn step(what: &str) {
    eprintln!("measuring: {what} …");
}

/// Enqueue, claim, record of `runs` runs over 300 jobs, batch by batch; durable at each step.
async fn store_life(folder: &Path, plan: &Plan) -> Result<Measure> {
    std::fs::create_dir_all(folder)?;
    let database = match &plan.postgres {
        Some(url) => Database::parse(url, folder)?,
        None => Database::Sqlite(folder.join("windlass.db")),
    };
    let store = Store::open(database, Arc::new(SystemClock)).await?;
    // Claims on PostgreSQL lock their tenants.
    let mut tx = store.begin().await?;
    for n in 1..=TENANTS as i64 {
        tx.put_tenant(&bare_tenant(Id(n)), SystemClock.now()).await?;
    }
    tx.commit().await?;
    let runs = plan.runs;
    let mut lanes: Vec<(Id, Id)> = (0..TENANTS * JOBS).map(|n| (Id(1 + (n / JOBS) as i64), Id(1_000 + n as i64))).collect();
    lanes.shuffle(&mut StdRng::seed_from_u64(plan.seed));
    let began = Instant::now();
    let mut next = lanes.iter().cycle();
    for done in (0..runs).step_by(BATCH) {
        let n = BATCH.min(runs - done);
        let batch = next.by_ref().take(n).map(|(tenant, job)| bare_run(*tenant, *job, Id(1))).collect();
        for answer in store.enqueue(batch).await? {
            answer?;
        }
        let each = u32::try_from(n.div_ceil(lanes.len())).unwrap_or(u32::MAX);
        let wanted = lanes.iter().map(|(tenant, job)| Lane { tenant: *tenant, job: *job, runs: each }).collect();
        let claimed = store.claim(Want { lanes: wanted }).await?.runs;
        if claimed.len() != n {
            return Err(Error::Internal(anyhow::anyhow!("{} of {n} were claimed", claimed.len())));
        }
        let end = Decision::End(Final::Succeeded);
        let finished = claimed.into_iter().map(|claimed| Finished::new(claimed.run, end.clone(), "succeeded", ""));
        store.record(finished.collect()).await?;
    }
    let rate = runs as f64 / began.elapsed().as_secs_f64();
    store.close().await;
    let (name, target) = match plan.postgres {
        None => ("store: whole life of a run, SQLite FULL", "45,000 to 65,000 in the trial"),
        Some(_) => ("store: whole life of a run, PostgreSQL", "21,000 to 30,000 in the trial"),
    };
    Ok(Measure { name, value: rate, unit: "runs/s", target })
}

fn bare_tenant(id: Id) -> Tenant {
    let now = SystemClock.now();
    Tenant {
        id,
        name: format!("bare-{}", id.0),
        zone: chrono_tz::Tz::UTC,
        weight: 1,
        labels: BTreeMap::new(),
        limits: TenantLimits { running: u32::MAX },
        retention: TenantRetention::default(),
        ceiling: Ceiling::default(),
        created_at: now,
        updated_at: now,
    }
}

fn bare_run(tenant: Id, job: Id, revision: Id) -> NewRun {
    NewRun {
        tenant,
        job,
        revision,
        cause: Cause::Api,
        input: None,
        due_at: None,
        start_by: None,
        parent: None,
        requested_by: None,
        max_live: 0,
        idempotency: None,
    }
}

/// Ten tenants with three jobs each, of guests that do nothing.
async fn define(server: &Server) -> Result<Vec<Job>> {
    let job = |n| format!("[[job]]\nname = \"noop-{n}\"\nplugin = \"noop\"\nmax_live = 0\n");
    let file = |tenant| Source {
        path: format!("bench-{tenant}.toml"),
        text: format!("tenant = \"bench-{tenant}\"\nlimits = {{ running = 100000 }}\n{}{}{}", job(0), job(1), job(2)),
    };
    server.app.apply((0..10).map(file).collect(), false, &Who::server()).await?;
    server.app.store.read().await?.jobs().await
}

async fn idle() -> Result<Vec<Measure>> {
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (before, began) = (cpu()?, Instant::now());
    tokio::time::sleep(Duration::from_secs(8)).await;
    let share = (cpu()? - before).as_secs_f64() / began.elapsed().as_secs_f64() * 100.0;
    Ok(vec![
        Measure { name: "idle: resident memory", value: resident_mb()?, unit: "MB", target: "≤ 60" },
        Measure { name: "idle: CPU", value: share, unit: "%", target: "< 0.5" },
    ])
}

fn client(server: &Server) -> Result<(ureq::Agent, String, String)> {
    let text = std::fs::read_to_string(Access::file(&server.app.settings.data_dir))?;
    let access: Access = serde_json::from_str(&text)?;
    let url = format!("{}/api/v1/tenants/bench-0/jobs/noop-0/runs", access.server);
    Ok((ureq::Agent::new_with_defaults(), url, format!("Bearer {}", access.token)))
}

/// From before the request until the guest is about to start.
async fn latency(server: &Server, stamps: &Arc<Stamps>) -> Result<Vec<Measure>> {
    let (agent, url, token) = client(server)?;
    let requests = tokio::task::spawn_blocking(move || -> anyhow::Result<Vec<(Id, Instant)>> {
        let mut sent = Vec::with_capacity(LATENCIES);
        for _ in 0..LATENCIES {
            let began = Instant::now();
            let mut answer = agent.post(&url).header("Authorization", &token).send_json(json!({}))?;
            let run: serde_json::Value = answer.body_mut().read_json()?;
            sent.push((run["id"].as_str().unwrap_or_default().parse()?, began));
            super::pause(Duration::from_millis(5));
        }
        Ok(sent)
    });
    let sent = requests.await.map_err(|wrong| Error::Internal(wrong.into()))??;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let started = stamps.take();
    let mut took: Vec<f64> = sent
        .iter()
        .filter_map(|(run, began)| started.get(run).map(|at| at.saturating_duration_since(*began).as_secs_f64() * 1e3))
        .collect();
    took.sort_by(f64::total_cmp);
    let at = |share: f64| took.get((took.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
    Ok(vec![
        Measure { name: "enqueue over HTTP → guest starts, p50", value: at(0.5), unit: "ms", target: "≤ 2" },
        Measure { name: "enqueue over HTTP → guest starts, p99", value: at(0.99), unit: "ms", target: "≤ 10" },
    ])
}

async fn enqueue_rate(server: &Server) -> Result<Measure> {
    const EACH: usize = 150;
    let began = Instant::now();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..CALLERS {
        let (agent, url, token) = client(server)?;
        callers.spawn_blocking(move || -> anyhow::Result<()> {
            for _ in 0..EACH {
                agent.post(&url).header("Authorization", &token).send_json(json!({}))?;
            }
            Ok(())
        });
    }
    while let Some(done) = callers.join_next().await {
        done.map_err(|wrong| Error::Internal(wrong.into()))??;
    }
    let rate = (CALLERS * EACH) as f64 / began.elapsed().as_secs_f64();
    Ok(Measure { name: "durable enqueue over HTTP, 64 callers", value: rate, unit: "runs/s", target: "≥ 5,000" })
}

/// Enqueues while all jobs are paused, then lets them go.
async fn drain(server: &Server, jobs: &[Job], stamps: &Arc<Stamps>, plan: &Plan) -> Result<Measure> {
    let (app, runs) = (&server.app, plan.runs);
    idle_queue(server).await?;
    for job in jobs {
        app.pause(&job.tenant_name, &job.spec.name, &Who::server()).await?;
    }
    // Before: a worker may hear of a pause a moment late.
    stamps.take();
    let mut random = StdRng::seed_from_u64(plan.seed);
    for done in (0..runs).step_by(BATCH) {
        let batch = (0..BATCH.min(runs - done)).map(|_| &jobs[random.random_range(0..jobs.len())]);
        for answer in app.store.enqueue(batch.map(|job| bare_run(job.tenant, job.id, job.revision)).collect()).await? {
            answer?;
        }
    }
    let began = Instant::now();
    for job in jobs {
        app.resume(&job.tenant_name, &job.spec.name, &Who::server()).await?;
    }
    stamps.wait_for(runs).await;
    idle_queue(server).await?;
    let rate = runs as f64 / began.elapsed().as_secs_f64();
    let (name, target) = match plan.postgres {
        None => ("drain, SQLite FULL, no-op guests", "≥ 33,000 (first light 10,000)"),
        Some(_) => ("drain, PostgreSQL, no-op guests", "≥ 17,000"),
    };
    Ok(Measure { name, value: rate, unit: "runs/s", target })
}

/// Waits until nothing waits and nothing runs.
async fn idle_queue(server: &Server) -> Result<()> {
    loop {
        let mut tx = server.app.store.read().await?;
        if tx.lanes().await?.is_empty() && tx.running().await?.is_empty() {
            return Ok(());
        }
        drop(tx);
        // Most of what is committed meanwhile is a step nearer.
        let mut changes = server.app.store.signals().changes();
        let _ = tokio::time::timeout(Duration::from_millis(50), changes.changed()).await;
    }
}

fn resident_mb() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: f64 = text.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0.0);
    Ok(pages * rustix::param::page_size() as f64 / 1e6)
}

/// User and system time of this process.
fn cpu() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = [11, 12].into_iter().filter_map(|n| fields.get(n)?.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second()))
}

/// When guests were about to start, by run.
#[derive(Default)]
struct Stamps(Mutex<HashMap<Id, Instant>>);

impl Stamps {
    fn take(&self) -> HashMap<Id, Instant> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Until so many have started: it costs the database nothing.
    async fn wait_for(&self, runs: usize) {
        while self.0.lock().unwrap_or_else(PoisonError::into_inner).len() < runs {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The sandbox, with a look at the clock before each run.
struct Stamping {
    inner: Arc<dyn Executor>,
    stamps: Arc<Stamps>,
}

impl Executor for Stamping {
    fn execute(&self, work: Work) -> Answer<Outcome> {
        self.stamps.0.lock().unwrap_or_else(PoisonError::into_inner).insert(work.run, Instant::now());
        self.inner.execute(work)
    }

    fn measure(&self, work: Work) -> Answer<std::result::Result<Measurement, String>> {
        self.inner.measure(work)
    }

    fn check(&self, digest: &str, config: String) -> Answer<std::result::Result<(), Vec<Problem>>> {
        self.inner.check(digest, config)
    }

    fn has(&self, digest: &str) -> bool {
        self.inner.has(digest)
    }
}
