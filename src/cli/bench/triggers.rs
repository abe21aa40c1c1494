//! Very many triggers on a whole server: what schedules cost and how late they are, what polling backlogs costs.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::process::{cpu, resident_mb};
use super::stamps::{Stamping, Stamps};
use super::store::bare_tenant;
use super::{Measure, Plan, at, settings, step};
use crate::cli::serve::Server;
use crate::clock::{Clock, SystemClock};
use crate::domain::job::JobSpec;
use crate::domain::trigger::TriggerSpec;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::plugin::SERVER;

/// Jobs of one tenant, written in one transaction.
const EACH: usize = 1_000;
/// Two turns of the minute are in it.
const WATCHED: Duration = Duration::from_secs(125);
/// Ticks to take the median of.
const LOOKS: usize = 300;

pub(super) async fn measure(folder: &Path, plan: &Plan) -> Result<Vec<Measure>> {
    let mut measures = schedules(folder, plan, plan.many / 10).await?;
    measures.extend(backlogs(folder, plan, plan.many / 100).await?);
    Ok(measures)
}

/// Hourly, each at its own minute.
async fn schedules(folder: &Path, plan: &Plan, many: usize) -> Result<Vec<Measure>> {
    let stamps = Arc::new(Stamps::default());
    let server = start(folder, "schedules", plan, &stamps).await?;
    let before = resident_mb()?;
    step(&format!("{many} schedules are written"));
    define(&server, many, &json!({ "schedule": "~ * * * *" })).await?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    step(&format!("{many} schedules, for {} s", WATCHED.as_secs()));
    stamps.take();
    let took = cpu()?;
    tokio::time::sleep(WATCHED).await;
    let share = (cpu()? - took).as_secs_f64() / WATCHED.as_secs_f64() * 100.0;
    let memory = resident_mb()? - before;
    // Due on the minute; its id says when it was made.
    let late = |id: &Id| f64::from(u32::try_from(id.created_at().0.rem_euclid(60_000)).unwrap_or(0));
    let mut late: Vec<f64> = stamps.take().keys().map(late).collect();
    let runs = count(late.len());
    let mut looks = Vec::with_capacity(LOOKS);
    for _ in 0..LOOKS {
        let began = Instant::now();
        let mut tx = server.app.store.read().await?;
        tx.next_due().await?;
        tx.queued().await?;
        looks.push(began.elapsed().as_secs_f64() * 1e3);
    }
    server.stop().await;
    Ok(vec![
        Measure { name: "--many / 10 schedules: runs made", value: runs, unit: "runs", target: "" },
        Measure { name: "--many / 10 schedules: memory", value: memory, unit: "MB", target: "" },
        Measure { name: "--many / 10 schedules: CPU, with the runs", value: share, unit: "%", target: "" },
        Measure {
            name: "--many / 10 schedules: a tick that finds none due, p50",
            value: at(&mut looks, 0.5),
            unit: "ms",
            target: "",
        },
        Measure { name: "--many / 10 schedules: lateness, p50", value: at(&mut late, 0.5), unit: "ms", target: "" },
        Measure { name: "--many / 10 schedules: lateness, p99", value: at(&mut late, 0.99), unit: "ms", target: "≤ 1,000" },
    ])
}

/// Every 15 s; what a target would take to answer is not in it.
async fn backlogs(folder: &Path, plan: &Plan, many: usize) -> Result<Vec<Measure>> {
    let stamps = Arc::new(Stamps::default());
    let server = start(folder, "backlogs", plan, &stamps).await?;
    step(&format!("{many} backlog triggers are written"));
    define(&server, many, &json!({ "backlog": { "probe": "plugin", "every": "15s" } })).await?;
    tokio::time::sleep(Duration::from_secs(20)).await;
    step(&format!("{many} backlog triggers, for 60 s"));
    stamps.take_measured();
    let (took, span) = (cpu()?, Duration::from_secs(60));
    tokio::time::sleep(span).await;
    let share = (cpu()? - took).as_secs_f64() / span.as_secs_f64() * 100.0;
    let polls = count(stamps.take_measured()) / span.as_secs_f64();
    server.stop().await;
    Ok(vec![
        Measure { name: "--many / 100 backlogs every 15 s: polls", value: polls, unit: "1/s", target: "--many / 1,500" },
        Measure { name: "--many / 100 backlogs every 15 s: CPU", value: share, unit: "%", target: "" },
    ])
}

#[expect(clippy::cast_precision_loss, reason = "a number for people")]
fn count(n: usize) -> f64 {
    n as f64
}

async fn start(folder: &Path, name: &str, plan: &Plan, stamps: &Arc<Stamps>) -> Result<Server> {
    let wrapped = stamps.clone();
    Server::start_with(settings(folder.join(name), plan), move |inner| {
        Arc::new(Stamping { inner, stamps: wrapped, answers: true })
    })
    .await
}

/// Jobs of a guest that does nothing, each with the trigger.
async fn define(server: &Server, many: usize, trigger: &serde_json::Value) -> Result<()> {
    let now = SystemClock.now();
    for first in (0..many).step_by(EACH) {
        let mut tx = server.app.store.begin().await?;
        let tenant = bare_tenant(tx.new_id());
        tx.put_tenant(&tenant, now).await?;
        for n in first..many.min(first + EACH) {
            let spec = json!({ "name": format!("job-{n}"), "plugin": "noop", "triggers": [trigger] });
            let spec: JobSpec = serde_json::from_value(spec)?;
            let plugin = tx.find_plugin(SERVER, &spec.plugin).await?.ok_or_else(|| Error::not_found("the plugin noop"))?;
            let job = tx.put_job(tenant.id, &spec, &plugin.digest, "bench", now).await?;
            let next = |trigger: &TriggerSpec| match trigger {
                TriggerSpec::Schedule(schedule) => schedule.of(job.id, tenant.zone).ok()?.after(now),
                _ => None,
            };
            tx.put_triggers(tenant.id, job.id, &spec.triggers, now, next).await?;
        }
        tx.commit().await?;
    }
    server.app.load_plugins().await
}
