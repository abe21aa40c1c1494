//! A whole server: idle, asked over HTTP, and draining.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::process::{cpu, resident_mb};
use super::stamps::{Stamping, Stamps};
use super::store::{BATCH, bare_run};
use super::{Measure, Plan, at, step};
use crate::app::Who;
use crate::app::apply::Source;
use crate::cli::serve::{Access, Server};
use crate::domain::job::Job;
use crate::error::{Error, Result};
use crate::id::Id;

/// Requests one after the other, on an idle server.
const LATENCIES: usize = 300;
/// Callers at a time.
const CALLERS: usize = 64;

pub(super) async fn measure(folder: &Path, plan: &Plan) -> Result<Vec<Measure>> {
    let mut measures = Vec::new();
    step("idle server");
    let stamps = Arc::new(Stamps::default());
    let settings = super::settings(folder.join("server"), plan);
    let wrapped = stamps.clone();
    let server = Server::start_with(settings, move |inner| Arc::new(Stamping { inner, stamps: wrapped, answers: false })).await?;
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
    step("pages beside 16 infinite loops");
    measures.extend(super::guests::beside_loops(server).await?);
    step("64 callers enqueue over HTTP");
    measures.push(enqueue_rate(server).await?);
    step("drain: guests in fresh sandboxes");
    measures.push(drain(server, &jobs, stamps, plan).await?);
    measures.push(Measure { name: "resident memory after the drain", value: resident_mb()?, unit: "MB", target: "" });
    Ok(())
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
            crate::cli::pause(Duration::from_millis(5));
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
    let mut at = |share| at(&mut took, share);
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
        app.pause(&job.tenant_name, &job.spec.name, None, &Who::server()).await?;
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
