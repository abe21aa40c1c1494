//! Jobs: seen, started, paused.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::Value;

use super::Paged;
use super::extract::{Asked, At, Body, Caller};
use super::shape::{EffectiveJson, JobJson, List, NewRunJson, Nothing, NoticedJson, PauseJson, PluginOfJob, TriggerOfJob};
use super::{read, rollout};
use crate::app::enqueue::Request;
use crate::app::{App, Who};
use crate::clock::Timestamp;
use crate::domain::health::Health;
use crate::domain::job::Job;
use crate::domain::rollout::Rollout;
use crate::domain::tenant::Tenant;
use crate::domain::trigger::{Cause, TriggerSpec};
use crate::error::{Error, Result};
use crate::store::Tx;
use crate::store::health::JobHealth;
use crate::store::notice::Noticed;
use crate::web::dashboard::job::{Sources, ceiling_lines, limit_lines, policy_lines, trigger_lines};

const KEY_LIMIT: usize = 255;

pub async fn list(
    State(app): State<App>,
    Caller(who): Caller,
    At(tenant): At<String>,
    Asked(paged): Asked<Paged>,
) -> Result<Json<List<JobJson>>> {
    let mut tx = app.store.read().await?;
    let tenant = read::scope(&mut tx, &who, &tenant).await?;
    let limit = super::limit(paged.limit)? as usize;
    let List { items: jobs, next, count } =
        List::page(tx.jobs_of(tenant.id).await?, paged.after.as_deref(), limit, |job| job.spec.name.clone());
    let (healths, rollouts) = (tx.healths().await?, tx.rollouts().await?);
    let mut items = Vec::with_capacity(jobs.len());
    for job in &jobs {
        let digest = rollouts.get(&job.id).map_or(&*job.digest, Rollout::current);
        items.push(shape(&mut tx, &tenant, job, digest, healths.get(&job.id), 1, app.now()).await?);
    }
    Ok(Json(List { items, next, count }))
}

pub async fn show(State(app): State<App>, Caller(who): Caller, At((tenant, job)): At<(String, String)>) -> Result<Json<JobJson>> {
    Ok(Json(one(&app, &who, &tenant, &job).await?))
}

pub(super) async fn one(app: &App, who: &Who, tenant: &str, job: &str) -> Result<JobJson> {
    let mut tx = app.store.read().await?;
    let tenant = read::scope(&mut tx, who, tenant).await?;
    let job = tx.need_job(tenant.id, job).await?;
    let health = tx.healths().await?.remove(&job.id);
    let found = tx.rollout(job.id).await?;
    let digest = found.as_ref().map_or(&*job.digest, Rollout::current);
    let mut json = shape(&mut tx, &tenant, &job, digest, health.as_ref(), 5, app.now()).await?;
    json.spec = Some(serde_json::to_value(&job.spec)?);
    let said = tx.said_of_job(tenant.id, job.id).await?;
    let sources = Sources { spec: &job.spec, tenant: &tenant, settings: &app.settings, said, job: job.id };
    let limits = limit_lines(&tx.grant_of(job.id).await?, &tenant.ceiling);
    let lines = [policy_lines(&sources), trigger_lines(&sources), ceiling_lines(&sources), limits].into_iter().flatten();
    json.effective =
        lines.map(|line| EffectiveJson { what: line.what.into(), value: line.value, from: line.from.into() }).collect();
    if let Some(found) = found {
        json.rollout = Some(rollout::shape(&mut tx, tenant.id, found).await?);
    }
    Ok(json)
}

async fn shape(
    tx: &mut Tx,
    tenant: &Tenant,
    job: &Job,
    digest: &str,
    health: Option<&JobHealth>,
    times: usize,
    now: Timestamp,
) -> Result<JobJson> {
    let version = tx.plugin_by_digest(job.tenant, digest).await?.map(|plugin| plugin.version);
    let triggers = job.spec.triggers.iter().map(|spec| trigger(spec, tenant, job, times, now)).collect::<Result<Vec<_>>>()?;
    Ok(JobJson {
        tenant: tenant.name.clone(),
        name: job.spec.name.clone(),
        plugin: PluginOfJob {
            wanted: job.spec.plugin.to_string(),
            name: job.spec.plugin.name.clone(),
            version,
            digest: digest.to_owned(),
        },
        class: job.spec.class.clone(),
        priority: job.spec.priority,
        max_live: job.spec.max_live,
        paused_at: job.paused_at,
        paused_by: job.paused_by.clone(),
        paused_until: job.paused_until,
        health: health_of(job, health).word().to_owned(),
        why: health.map(|health| health.why.clone()).unwrap_or_default(),
        since: health.map(|health| health.since),
        next_due_at: triggers.iter().filter_map(|trigger| trigger.next.first().copied()).min(),
        triggers,
        revision: job.revision,
        created_at: job.created_at,
        updated_at: job.updated_at,
        rollout: None,
        spec: None,
        effective: Vec::new(),
    })
}

/// The watchdog's word; a pause counts at once.
pub fn health_of(job: &Job, health: Option<&JobHealth>) -> Health {
    if job.paused_at.is_some() { Health::Paused } else { health.map_or(Health::Ok, |health| health.health) }
}

fn trigger(spec: &TriggerSpec, tenant: &Tenant, job: &Job, times: usize, now: Timestamp) -> Result<TriggerOfJob> {
    let (next, words) = match spec {
        TriggerSpec::Schedule(schedule) => match schedule.of(job.id, tenant.zone) {
            Ok(schedule) => (schedule.next(now, times), Some(schedule.describe())),
            Err(wrong) => (Vec::new(), Some(wrong)),
        },
        _ => (Vec::new(), None),
    };
    let fields = serde_json::to_value(spec)?;
    // `{"backlog": {…}}` says its kind twice.
    let fields = match (spec, fields) {
        (TriggerSpec::Schedule(_), fields) => fields,
        (_, Value::Object(mut outer)) => outer.remove(spec.kind()).unwrap_or_default(),
        (_, fields) => fields,
    };
    Ok(TriggerOfJob { kind: spec.kind().to_owned(), spec: fields, next, words })
}

pub async fn start(
    State(app): State<App>,
    Caller(who): Caller,
    At((tenant, job)): At<(String, String)>,
    headers: HeaderMap,
    Body(body): Body<NewRunJson>,
) -> Result<Response> {
    read::within(&app, &who, &tenant).await?;
    let request = Request { input: body.input, idempotency_key: key(&headers)? };
    let answer = app.run_now(&tenant, &job, request, Cause::Api, &who).await?;
    super::run::started(&app, &who, &tenant, answer, &headers).await
}

/// 202: it will be in the input of a run.
pub async fn notify(
    State(app): State<App>,
    Caller(who): Caller,
    At((tenant, job)): At<(String, String)>,
    headers: HeaderMap,
    Body(payload): Body<Value>,
) -> Result<(StatusCode, Json<NoticedJson>)> {
    read::within(&app, &who, &tenant).await?;
    let Noticed { id, repeated } = app.notify_as(&tenant, &job, key(&headers)?.as_deref(), &payload, &who).await?;
    Ok((StatusCode::ACCEPTED, Json(NoticedJson { id, repeated })))
}

fn key(headers: &HeaderMap) -> Result<Option<String>> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str().map(str::trim) {
        Ok(key) if (1..=KEY_LIMIT).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(Error::invalid("Idempotency-Key", format!("1 to {KEY_LIMIT} visible ASCII characters are right"))),
    }
}

pub async fn pause(
    State(app): State<App>,
    Caller(who): Caller,
    At((tenant, job)): At<(String, String)>,
    Body(asked): Body<PauseJson>,
) -> Result<Json<JobJson>> {
    read::within(&app, &who, &tenant).await?;
    app.pause(&tenant, &job, asked.until, &who).await?;
    Ok(Json(one(&app, &who, &tenant, &job).await?))
}

pub async fn resume(
    State(app): State<App>,
    Caller(who): Caller,
    At((tenant, job)): At<(String, String)>,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<JobJson>> {
    read::within(&app, &who, &tenant).await?;
    app.resume(&tenant, &job, &who).await?;
    Ok(Json(one(&app, &who, &tenant, &job).await?))
}
