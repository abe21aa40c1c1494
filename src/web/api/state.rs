//! What a job's plugin keeps between its runs.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::extract::{Asked, At, Caller};
use super::shape::{Count, List, StateJson, StateValueJson};
use super::{Paged, read};
use crate::app::App;
use crate::error::{Error, Result};

pub async fn list(
    State(app): State<App>,
    Caller(who): Caller,
    At((tenant, job)): At<(String, String)>,
    Asked(page): Asked<Paged>,
) -> Result<Json<List<StateJson>>> {
    let limit = super::limit(page.limit)?;
    let mut tx = app.store.read().await?;
    let tenant = read::scope(&mut tx, &who, &tenant).await?;
    let job = tx.need_job(tenant.id, &job).await?;
    let count = Count { value: tx.state_count(job.id).await?, capped: false };
    let mut kept = tx.state_list(job.id, page.after.as_deref(), limit + 1).await?;
    let more = kept.len() > limit as usize;
    kept.truncate(limit as usize);
    let next = kept.last().filter(|_| more).map(|last| last.key.clone());
    let shape = |kept: crate::store::job_state::Kept| StateJson {
        key: kept.key,
        bytes: kept.bytes,
        version: kept.version,
        updated_at: kept.updated_at,
    };
    Ok(Json(List { items: kept.into_iter().map(shape).collect(), next, count }))
}

pub async fn show(
    State(app): State<App>,
    Caller(who): Caller,
    At((tenant, job, key)): At<(String, String, String)>,
) -> Result<Json<StateValueJson>> {
    let mut tx = app.store.read().await?;
    let tenant = read::scope(&mut tx, &who, &tenant).await?;
    let found = tx.need_job(tenant.id, &job).await?;
    let (value, version) = tx
        .state_get(found.id, &key)
        .await?
        .ok_or_else(|| Error::not_found(format!("the key {key:?} of {}/{job}", tenant.name)))?;
    let base64 = STANDARD.encode(&value);
    Ok(Json(StateValueJson { key, version, bytes: value.len() as u64, text: String::from_utf8(value).ok(), base64 }))
}

pub async fn delete(
    State(app): State<App>,
    Caller(who): Caller,
    At((tenant, job, key)): At<(String, String, String)>,
) -> Result<StatusCode> {
    read::within(&app, &who, &tenant).await?;
    app.delete_state(&tenant, &job, &key, &who).await?;
    Ok(StatusCode::NO_CONTENT)
}
