//! How much work waits at the targets.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use axum::Json;
use axum::extract::State;

use super::Paged;
use super::extract::{Asked, At, Caller};
use super::job::health_of;
use super::read;
use super::shape::{BacklogJson, List};
use crate::app::App;
use crate::clock::Timestamp;
use crate::domain::backlog::Probe;
use crate::domain::health::lag;
use crate::domain::job::Job;
use crate::domain::rate::{WINDOW, flow};
use crate::error::Result;
use crate::id::Id;
use crate::store::Tx;
use crate::store::health::JobHealth;
use crate::store::tally::Tally;

pub async fn of_tenant(
    State(app): State<App>,
    Caller(who): Caller,
    At(tenant): At<String>,
    Asked(paged): Asked<Paged>,
) -> Result<Json<List<BacklogJson>>> {
    let mut tx = app.store.read().await?;
    let tenant = read::scope(&mut tx, &who, &tenant).await?;
    let jobs = tx.jobs_of(tenant.id).await?;
    Ok(Json(page(&mut tx, jobs, &paged, app.now()).await?))
}

/// Of all tenants that the caller may see.
pub async fn all(State(app): State<App>, Caller(who): Caller, Asked(paged): Asked<Paged>) -> Result<Json<List<BacklogJson>>> {
    let mut tx = app.store.read().await?;
    let jobs = match who.tenant {
        Some(own) => tx.jobs_of(own).await?,
        None => tx.jobs().await?,
    };
    Ok(Json(page(&mut tx, jobs, &paged, app.now()).await?))
}

async fn page(tx: &mut Tx, mut jobs: Vec<Job>, paged: &Paged, now: Timestamp) -> Result<List<BacklogJson>> {
    jobs.retain(|job| lag_limit(job).is_some());
    let limit = super::limit(paged.limit)? as usize;
    // By what the cursor compares: "a-b/x" comes before "a/x".
    let key = |job: &Job| format!("{}/{}", job.tenant_name, job.spec.name);
    jobs.sort_by_cached_key(key);
    let List { items: jobs, next, count } = List::page(jobs, paged.after.as_deref(), limit, key);
    let healths = tx.healths().await?;
    let tallies = tx.tally_since(now.minus(WINDOW)).await?;
    let mut items = Vec::with_capacity(jobs.len());
    for job in &jobs {
        items.push(shape(tx, job, &healths, &tallies, now).await?);
    }
    Ok(List { items, next, count })
}

/// The promise of the job's backlog trigger; `None` when it has no such trigger.
fn lag_limit(job: &Job) -> Option<Option<Duration>> {
    job.spec.backlog().map(|backlog| backlog.lag_limit.map(|limit| limit.0))
}

async fn shape(
    tx: &mut Tx,
    job: &Job,
    healths: &HashMap<Id, JobHealth>,
    tallies: &BTreeMap<(Id, Id), Tally>,
    now: Timestamp,
) -> Result<BacklogJson> {
    // Before the first probe there is nothing to tell.
    let probe = tx.probes_of(job.id).await?.into_iter().next().unwrap_or_else(|| Probe::new(Id(0), job.tenant, job.id, now));
    let since = now.minus(WINDOW);
    let sizes: Vec<_> = tx.samples_of(job.id, since).await?.iter().filter_map(|sample| Some((sample.at, sample.size?))).collect();
    let done = tallies.get(&(job.tenant, job.id)).map_or(0, |tally| tally.done);
    let flow = flow(done, Timestamp(since.minute() * 60_000), &sizes, now);
    let health = healths.get(&job.id);
    Ok(BacklogJson {
        tenant: job.tenant_name.clone(),
        job: job.spec.name.clone(),
        size: probe.size,
        age_ms: probe.age_ms,
        lag_ms: lag(&probe, now).map(ms),
        lag_limit_ms: lag_limit(job).flatten().map(ms),
        rate_in_per_min: flow.map(|flow| tenths(flow.in_per_min)),
        rate_out_per_min: flow.map(|flow| tenths(flow.out_per_min)),
        empty_in_ms: probe.size.and_then(|size| flow?.empty_in(size)).map(ms),
        health: health_of(job, health).word().to_owned(),
        sampled_at: probe.sampled_at,
        error: probe.error,
        why: health.map(|health| health.why.clone()).unwrap_or_default(),
    })
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn tenths(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}
