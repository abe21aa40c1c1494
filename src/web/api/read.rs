//! From the store's rows to the shapes: what several routes share.

use std::collections::HashMap;

use serde_json::Value;

use super::shape::{AttemptJson, PluginOfRun, ProgressJson, RunJson, SettledJson, TriggerOfRun, nothing};
use crate::app::{App, Who};
use crate::clock::Timestamp;
use crate::domain::item::{ItemCounts, presence};
use crate::domain::run::{Payload, Progress, Run, State};
use crate::domain::tenant::Tenant;
use crate::domain::trigger::Cause;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::Tx;
use crate::store::job::Revision;
use crate::store::record::OUTSIDE_NODE;

/// Bytes of an input or an output that a list carries.
const IN_LIST: usize = 4 * 1024;

/// The tenant, if the caller may look into it. One that he may not see is not there, in the same words.
pub async fn scope(tx: &mut Tx, who: &Who, name: &str) -> Result<Tenant> {
    let hidden = || Error::not_found(format!("tenant {name}"));
    let tenant = tx.tenant(name).await?.ok_or_else(hidden)?;
    if who.tenant.is_some_and(|own| own != tenant.id) { Err(hidden()) } else { Ok(tenant) }
}

/// [`scope`] before a change: `app` knows who may, and this keeps its answers from telling tenants apart.
pub async fn within(app: &App, who: &Who, name: &str) -> Result<()> {
    if who.tenant.is_some() {
        scope(&mut app.store.read().await?, who, name).await?;
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
pub async fn run(tx: &mut Tx, tenant: &Tenant, id: Id, now: Timestamp) -> Result<RunJson> {
    let run = known(tx, tenant, id).await?;
    let attempts = tx.attempts_of(&run).await?;
    let mut json = runs(tx, tenant, std::slice::from_ref(&run), usize::MAX, now)
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
    };
    json.attempts = Some(attempts.into_iter().map(attempt).collect());
    Ok(json)
}

/// Runs of a tenant as a list shows them.
pub async fn list(tx: &mut Tx, tenant: &Tenant, found: &[Run], now: Timestamp) -> Result<Vec<RunJson>> {
    runs(tx, tenant, found, IN_LIST, now).await
}

async fn runs(tx: &mut Tx, tenant: &Tenant, found: &[Run], body_limit: usize, now: Timestamp) -> Result<Vec<RunJson>> {
    let ids: Vec<Id> = found.iter().map(|run| run.id).collect();
    let items = tx.item_counts(&ids.iter().map(|id| (tenant.id, *id)).collect::<Vec<_>>()).await?;
    let mut progress: HashMap<Id, Progress> = tx.progress_of(tenant.id, &ids).await?.into_iter().collect();
    let paused: HashMap<Id, String> = match found.iter().any(|run| matches!(run.state, State::Waiting { .. })) {
        true => tx
            .jobs_of(tenant.id)
            .await?
            .into_iter()
            .filter_map(|job| Some((job.id, job.paused_at.map(|_| job.paused_by)??)))
            .collect(),
        false => HashMap::new(),
    };
    let (mut revisions, mut versions) = (HashMap::new(), HashMap::new());
    let mut shown = Vec::with_capacity(found.len());
    for run in found {
        let revision = revision(tx, &mut revisions, run.revision).await?;
        let payload = if run.payload { tx.payload(tenant.id, run.id).await? } else { Payload::default() };
        let settled = match run.state {
            State::Dead { .. } => tx.settled(tenant.id, run.id).await?.map(|(rerun, at, by)| SettledJson { at, by, rerun }),
            _ => None,
        };
        let facts = Facts {
            tenant: &tenant.name,
            plugin: plugin(tx, run.tenant, &mut versions, &revision).await?,
            progress: progress.remove(&run.id),
            items: items.get(&run.id).copied().unwrap_or_default(),
            workers: workers(tx, run, &revision, now).await?,
            paused_by: paused.get(&run.job).map(String::as_str),
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
    paused_by: Option<&'a str>,
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
        why: why(run, facts.paused_by).or(facts.workers),
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

/// A waiting run can always say why it waits.
fn why(run: &Run, paused_by: Option<&str>) -> Option<String> {
    match &run.state {
        State::Waiting { .. } if paused_by.is_some() => paused_by.map(|by| format!("the job is paused by {by}")),
        State::Waiting { why: Some(why), .. } => Some(why.clone()),
        State::Waiting { .. } => Some("waits for a free worker".into()),
        State::Running { stopping: true, .. } => Some("asked to stop".into()),
        _ => None,
    }
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

async fn revision(tx: &mut Tx, known: &mut HashMap<Id, Revision>, id: Id) -> Result<Revision> {
    if let Some(revision) = known.get(&id) {
        return Ok(revision.clone());
    }
    let revision = tx.revision(id).await?.ok_or_else(|| Error::Internal(anyhow::anyhow!("revision {id} is gone")))?;
    known.insert(id, revision.clone());
    Ok(revision)
}

/// `versions` are known by digest: all runs of a list are one tenant's.
async fn plugin(
    tx: &mut Tx,
    tenant: Id,
    versions: &mut HashMap<String, Option<String>>,
    revision: &Revision,
) -> Result<PluginOfRun> {
    let digest = &revision.digest;
    if !versions.contains_key(digest) {
        let version = tx.plugin_by_digest(tenant, digest).await?.map(|plugin| plugin.version);
        versions.insert(digest.clone(), version);
    }
    let version = versions.get(digest).cloned().flatten();
    Ok(PluginOfRun { name: revision.spec.plugin.name.clone(), version, digest: digest.clone() })
}
