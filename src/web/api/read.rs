//! From the store's rows to the shapes: what several routes share.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::shape::{AttemptJson, PluginOfRun, ProgressJson, RunJson, SettledJson, TriggerOfRun, nothing};
use crate::app::explain::Scene;
use crate::app::{App, Who};
use crate::clock::Timestamp;
use crate::domain::admission::{Need, Shut};
use crate::domain::item::{ItemCounts, presence};
use crate::domain::run::{Payload, Progress, Run, State};
use crate::domain::tenant::Tenant;
use crate::domain::trigger::Cause;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::Tx;
use crate::store::job::Revision;
use crate::store::record::OUTSIDE_NODE;

/// So young, it has not been looked at yet: whoever enqueues is not kept waiting for a reason.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Bytes of an input or an output that a list carries.
const IN_LIST: usize = 4 * 1024;

/// The tenant, if the caller may look into it. One that he may not see is not there, in the same words.
pub async fn scope(tx: &mut Tx, who: &Who, name: &str) -> Result<Arc<Tenant>> {
    visible(tx.known_tenant(name).await?, who)
}

fn visible(tenant: Arc<Tenant>, who: &Who) -> Result<Arc<Tenant>> {
    match who.tenant {
        Some(own) if own != tenant.id => Err(Error::not_found(format!("tenant {}", tenant.name))),
        _ => Ok(tenant),
    }
}

/// [`scope`] before a change: `app` knows who may, and this keeps its answers from telling tenants apart.
pub async fn within(app: &App, who: &Who, name: &str) -> Result<()> {
    if who.tenant.is_some() {
        visible(app.store.need_tenant(name).await?, who)?;
    }
    Ok(())
}

/// A run of the tenant.
pub async fn known(tx: &mut Tx, tenant: &Tenant, id: Id) -> Result<Run> {
    // A run that goes from one table to another between two statements is in neither: look again.
    for _ in 0..3 {
        if let Some(run) = tx.run(tenant.id, id).await? {
            return Ok(run);
        }
    }
    Err(Error::not_found(format!("run {id}")))
}

/// One run with everything.
pub async fn run(app: &App, tx: &mut Tx, tenant: &Tenant, id: Id) -> Result<RunJson> {
    let run = known(tx, tenant, id).await?;
    let attempts = tx.attempts_of(&run).await?;
    let mut json = runs(app, tx, tenant, std::slice::from_ref(&run), usize::MAX)
        .await?
        .pop()
        .ok_or_else(|| Error::not_found(format!("run {id}")))?;
    if json.error.is_none() && matches!(run.state, State::Waiting { .. }) {
        json.error = attempts.first().and_then(|last| last.message.clone());
    }
    let attempt = |a: crate::domain::attempt::Attempt| AttemptJson {
        attempt: a.attempt,
        node: a.node,
        started_at: a.started_at,
        ended_at: a.ended_at,
        outcome: a.outcome,
        message: a.message,
        delay_ms: a.delay_ms,
        peak_memory: a.used.as_ref().map(|used| used.peak_memory),
        requests: a.used.as_ref().map(|used| used.requests),
        took: a.used.map(|used| used.took).unwrap_or_default(),
    };
    json.attempts = Some(attempts.into_iter().map(attempt).collect());
    Ok(json)
}

/// Runs of a tenant as a list shows them.
pub async fn list(app: &App, tx: &mut Tx, tenant: &Tenant, found: &[Run]) -> Result<Vec<RunJson>> {
    runs(app, tx, tenant, found, IN_LIST).await
}

async fn runs(app: &App, tx: &mut Tx, tenant: &Tenant, found: &[Run], body_limit: usize) -> Result<Vec<RunJson>> {
    // What never began has reported nothing.
    let begun: Vec<Id> = found.iter().filter(|run| run.attempt > 0).map(|run| run.id).collect();
    let mut progress: HashMap<Id, Progress> = tx.progress_of(tenant.id, &begun).await?.into_iter().collect();
    let used = tx.used_digests_of(tenant.id, &begun).await?;
    // Its items it has from the run that it runs again.
    let may_have_items = found.iter().filter(|run| run.attempt > 0 || run.cause == Cause::Rerun);
    let items = tx.item_counts(&may_have_items.map(|run| (tenant.id, run.id)).collect::<Vec<_>>()).await?;
    let is_held = |run: &Run| is_due(run) && app.now().since(run.created_at) >= AT_ONCE;
    let scene = if found.iter().any(is_held) { app.scene(tx, tenant).await? } else { Scene::unseen(tenant) };
    let mut shown = Vec::with_capacity(found.len());
    for run in found {
        let revision = tx.known_revision(run.revision).await?;
        let payload = if run.payload { tx.payload(tenant.id, run.id).await? } else { Payload::default() };
        let settled = match run.state {
            State::Dead { .. } => tx.settled(tenant.id, run.id).await?.map(SettledJson::from),
            _ => None,
        };
        let facts = Facts {
            tenant: &tenant.name,
            plugin: plugin(tx, run.tenant, used.get(&run.id).unwrap_or(&revision.digest), &revision).await?,
            progress: progress.remove(&run.id),
            items: items.get(&run.id).copied().unwrap_or_default(),
            workers: workers(tx, run, &revision, app.now()).await?,
            waits: if is_due(run) { Some(waits(app, tx, &scene, run, &revision).await?) } else { None },
            revision: &revision,
            settled,
            body_limit,
        };
        shown.push(shape(run, payload, facts)?);
    }
    Ok(shown)
}

struct Facts<'a> {
    tenant: &'a str,
    plugin: PluginOfRun,
    progress: Option<Progress>,
    items: ItemCounts,
    /// Of a run whose items are worked on outside: whether anybody does.
    workers: Option<String>,
    /// Of one that could run if there were room: what it waits for.
    waits: Option<String>,
    revision: &'a Revision,
    settled: Option<SettledJson>,
    body_limit: usize,
}

fn shape(run: &Run, payload: Payload, facts: Facts<'_>) -> Result<RunJson> {
    let mut left_out = Vec::new();
    let mut body = |name: &str, text: Option<String>, absent: Value| match text {
        Some(text) if text.len() > facts.body_limit => {
            left_out.push(name.to_owned());
            Value::Null
        }
        // What a guest answers is text; JSON as a rule.
        Some(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        None => absent,
    };
    let (input, output) = (body("input", payload.input, nothing()), body("output", payload.output, Value::Null));
    let succeeded = matches!(run.state, State::Succeeded { .. });
    let (due_at, started_at, ended_at) = times(&run.state);
    Ok(RunJson {
        id: run.id,
        tenant: facts.tenant.to_owned(),
        job: facts.revision.spec.name.clone(),
        state: run.state.word().to_owned(),
        page_state: run.page_state().to_owned(),
        why: why(run).or(facts.waits).or(facts.workers),
        trigger: trigger(run, payload.requested_by),
        input,
        attempt: run.attempt,
        failed: run.failed,
        lost: run.lost,
        snoozed: run.snoozed,
        max_attempts: facts.revision.spec.retry.attempts,
        created_at: run.created_at,
        due_at,
        started_at,
        ended_at,
        plugin: facts.plugin,
        progress: facts.progress.map(|p| ProgressJson { done: p.done, total: p.total, message: p.message }),
        items: facts.items,
        output,
        cause: match run.state {
            State::Dead { reason, .. } => Some(reason.word().to_owned()),
            _ => None,
        },
        rerun_of: payload.parent,
        summary: run.message.clone().filter(|_| succeeded),
        error: run.message.clone().filter(|_| !succeeded),
        counts: run.counts.map(Into::into),
        settled: facts.settled,
        group: run.print.map(|print| print.to_string()),
        left_out,
        attempts: None,
    })
}

/// Due, started, ended, as far as the state has them.
fn times(state: &State) -> (Option<Timestamp>, Option<Timestamp>, Option<Timestamp>) {
    match *state {
        State::Waiting { due_at, .. } => (Some(due_at), None, None),
        State::Running { started_at, .. } => (None, Some(started_at), None),
        State::Succeeded { started_at, ended_at } => (None, Some(started_at), Some(ended_at)),
        State::Dead { started_at, ended_at, .. } | State::Cancelled { started_at, ended_at } => {
            (None, started_at, Some(ended_at))
        }
    }
}

/// Of a run that waits for its time, or stops.
fn why(run: &Run) -> Option<String> {
    match &run.state {
        State::Waiting { why, .. } => why.clone(),
        State::Running { stopping: true, .. } => Some("asked to stop".into()),
        _ => None,
    }
}

fn is_due(run: &Run) -> bool {
    matches!(run.state, State::Waiting { why: None, .. })
}

/// The first thing that it lacks, which the worker would tell too.
async fn waits(app: &App, tx: &mut Tx, scene: &Scene<'_>, run: &Run, revision: &Revision) -> Result<String> {
    let job = match tx.known_job(run.tenant, &revision.spec.name).await {
        Ok(job) => Some(job),
        Err(Error::NotFound(_)) => None,
        Err(wrong) => return Err(wrong),
    };
    let lacks = app.needs(scene, job.as_deref()).into_iter().find(|need| need.room() == 0);
    let by = job.as_ref().and_then(|job| job.paused_by.as_deref());
    Ok(match (lacks, by) {
        (None, _) => "waits for a free worker".into(),
        (Some(Need::Open(Some(Shut::Paused))), Some(by)) => format!("the job is paused by {by}"),
        (Some(lacks), _) => format!("{}: {}", lacks.what().to_lowercase(), lacks.now(&revision.spec.class)),
    })
}

/// Of a run whose items are worked on outside.
async fn workers(tx: &mut Tx, run: &Run, revision: &Revision, now: Timestamp) -> Result<Option<String>> {
    let State::Running { node: OUTSIDE_NODE, .. } = run.state else { return Ok(None) };
    if !revision.spec.items.outside {
        return Ok(None);
    }
    Ok(Some(presence(&tx.item_workers(run.tenant, run.job).await?, now)))
}

/// Who or what asked for the run: a person, or so and so much work.
fn trigger(run: &Run, asked_by: Option<String>) -> TriggerOfRun {
    let kind = run.cause.word().to_owned();
    match run.cause {
        // The prober notes "backlog 305".
        Cause::Backlog => TriggerOfRun { kind, size: asked_by.and_then(|text| text.rsplit(' ').next()?.parse().ok()), by: None },
        _ => TriggerOfRun { kind, size: None, by: asked_by },
    }
}

async fn plugin(tx: &mut Tx, tenant: Id, digest: &str, revision: &Revision) -> Result<PluginOfRun> {
    let digest = digest.to_owned();
    let version = tx.known_version(tenant, &digest).await?.map(|version| version.to_string());
    Ok(PluginOfRun { name: revision.spec.plugin.name.clone(), version, digest })
}
