//! What a running guest needs of the store: the values of its secrets, and answers to its calls of `state`.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::Context;
use super::definitions::Known;
use crate::domain::limits::Limits;
use crate::error::Result;
use crate::id::Id;
use crate::plugin::{Journal, Refusal, Secret, StateAnswer, StateAsk, StateCall};

/// Bytes of one key, and of one value; how many, [`Limits`] says.
const STATE_KEY: usize = 256;
const STATE_VALUE: usize = 64 * 1024;

/// Values of the secrets that the job was granted.
pub(super) async fn secrets(context: &Context, known: &Known) -> Result<HashMap<String, Secret>> {
    if known.grant.secrets.is_empty() {
        return Ok(HashMap::new());
    }
    let (tenant, mut values) = (known.job.tenant, HashMap::new());
    for sealed in context.store.read().await?.secrets(tenant).await? {
        if known.grant.secret(&sealed.name).is_some() {
            let value = context.vault.unseal(tenant, &sealed.name, &sealed.nonce, &sealed.sealed)?;
            values.insert(sealed.name, Secret(Arc::from(value)));
        }
    }
    Ok(values)
}

/// The value of one secret; `None` when the tenant has no such secret.
pub(super) async fn secret(context: &Context, tenant: Id, name: &str) -> Result<Option<Vec<u8>>> {
    let sealed = context.store.read().await?.secrets(tenant).await?.into_iter().find(|sealed| sealed.name == name);
    sealed.map(|sealed| context.vault.unseal(tenant, name, &sealed.nonce, &sealed.sealed)).transpose()
}

/// Answers a guest's calls of `state` from the store, until the guest has ended.
pub(super) async fn serve_state(
    context: &Context,
    known: &Known,
    journal: &Journal,
    mut calls: mpsc::Receiver<StateCall>,
) -> std::convert::Infallible {
    let limits = known.limits();
    while let Some(StateCall { ask, answer }) = calls.recv().await {
        let answered = answer_state(context, known, journal, &limits, ask).await.unwrap_or_else(|wrong| {
            tracing::error!(tenant.name = %known.job.tenant_name, job.name = %known.job.spec.name, error = %wrong, "state could not be answered");
            Err(Refusal { code: "unavailable", message: "the store did not answer; try again".into() })
        });
        let _ = answer.send(answered);
    }
    std::future::pending().await
}

async fn answer_state(
    context: &Context,
    known: &Known,
    journal: &Journal,
    limits: &Limits,
    ask: StateAsk,
) -> Result<std::result::Result<StateAnswer, Refusal>> {
    let (job, now) = (known.job.id, context.clock.now());
    match ask {
        StateAsk::Get(key) | StateAsk::Set { key, .. } | StateAsk::Delete { key, .. } | StateAsk::Keys { prefix: key }
            if key.len() > STATE_KEY =>
        {
            Ok(Err(Refusal { code: "quota", message: format!("{} bytes of key; a key has at most {STATE_KEY}", key.len()) }))
        }
        StateAsk::Get(key) => Ok(Ok(StateAnswer::Entry(context.store.read().await?.state_get(job, &key).await?))),
        StateAsk::Keys { prefix } => Ok(Ok(StateAnswer::Keys(context.store.read().await?.state_keys(job, &prefix).await?))),
        StateAsk::Set { key, value, expected } => {
            let mut tx = context.store.begin().await?;
            let standing = tx.state_get(job, &key).await?;
            if let Some(refusal) = moved(&key, standing.as_ref().map(|(_, version)| *version), expected) {
                return Ok(Err(refusal));
            }
            let (keys, bytes) = tx.state_used(job).await?;
            // As the store counts: a new key is kept, too.
            let before = standing.as_ref().map_or(0, |(value, _)| (key.len() + value.len()) as u64);
            let with_this = bytes.saturating_sub(before) + (key.len() + value.len()) as u64;
            let (keys, bytes) = (keys + u64::from(standing.is_none()), with_this);
            if let Some(refusal) = over_quota(&key, &value, keys, bytes, limits) {
                return Ok(Err(refusal));
            }
            let version = standing.map_or(0, |(_, version)| version) + 1;
            tx.state_put(job, &key, value, version, now).await?;
            tx.commit().await?;
            journal.took("state_keys", keys);
            journal.took("state_bytes", bytes);
            Ok(Ok(StateAnswer::Version(version)))
        }
        StateAsk::Delete { key, expected } => {
            let mut tx = context.store.begin().await?;
            let standing = tx.state_get(job, &key).await?.map(|(_, version)| version);
            if let Some(refusal) = moved(&key, standing, expected) {
                return Ok(Err(refusal));
            }
            tx.state_delete(job, &key).await?;
            tx.commit().await?;
            Ok(Ok(StateAnswer::Done))
        }
    }
}

fn moved(key: &str, standing: Option<u64>, expected: Option<u64>) -> Option<Refusal> {
    let (standing, expected) = (standing.unwrap_or(0), expected?);
    (standing != expected).then(|| Refusal {
        code: "conflict",
        message: format!("{key:?} is at version {standing}, not {expected}: read it again"),
    })
}

fn over_quota(key: &str, value: &[u8], keys: u64, bytes: u64, limits: &Limits) -> Option<Refusal> {
    let (most_keys, most_bytes) = (limits.state_keys, limits.state_bytes.0);
    let message = if value.len() > STATE_VALUE {
        format!("{} bytes under {key:?}; a value has at most {STATE_VALUE}", value.len())
    } else if keys > most_keys {
        format!("{keys} keys; a job has at most {most_keys}; to raise it: grant.limits = {{ state_keys = … }}")
    } else if bytes > most_bytes {
        format!("{bytes} bytes in all; a job has at most {most_bytes}; to raise it: grant.limits = {{ state_bytes = … }}")
    } else {
        return None;
    };
    Some(Refusal { code: "quota", message })
}
