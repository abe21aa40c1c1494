//! Runs: seen, run again, cancelled, read.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::extract::{Asked, At, Body, Caller};
use super::read;
use super::shape::{Count, List, LogJson, LogLine, RerunJson, RunId, RunJson, Started};
use crate::app::{App, Who};
use crate::domain::run::{Enqueued, StateFilter};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::Tx;
use crate::store::cancel::Cancelled;
use crate::store::log::Numbered;
use crate::store::run::{COUNT_CAP, RunQuery};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    state: Option<String>,
    job: Option<String>,
    after: Option<Id>,
    limit: Option<u32>,
}

pub async fn list(
    State(app): State<App>,
    Caller(who): Caller,
    At(tenant): At<String>,
    Asked(which): Asked<Which>,
) -> Result<Json<List<RunJson>>> {
    let mut tx = app.store.read().await?;
    let tenant = read::scope(&mut tx, &who, &tenant).await?;
    let limit = super::limit(which.limit)?;
    let job = match which.job {
        Some(name) => Some(job_of_name(&mut tx, tenant.id, &tenant.name, &name).await?),
        None => None,
    };
    let state = which.state.as_deref().map(state_filter).transpose()?;
    let query = RunQuery { job, state, before: which.after, limit: limit + 1 };
    let mut found = tx.runs(tenant.id, &query).await?;
    // One that ended between two statements was read in both of its places.
    found.dedup_by_key(|run| run.id);
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| more).map(|run| run.id.to_string());
    let count = match which.after {
        None if !more => found.len() as u64,
        _ => tx.count_runs(tenant.id, &query).await?,
    };
    let items = read::list(&app, &mut tx, &tenant, &found).await?;
    Ok(Json(List { items, next, count: Count::up_to(count, COUNT_CAP) }))
}

/// A job that was removed still has its history.
async fn job_of_name(tx: &mut Tx, tenant: Id, tenant_name: &str, name: &str) -> Result<Id> {
    if let Some(job) = tx.job(tenant, name).await? {
        return Ok(job.id);
    }
    let named = tx.job_names().await?.into_iter().find(|(_, of, job)| of == tenant_name && job == name);
    named.map(|(id, _, _)| id).ok_or_else(|| Error::not_found(format!("job {name}")))
}

fn state_filter(word: &str) -> Result<StateFilter> {
    StateFilter::parse(word).ok_or_else(|| {
        let words = StateFilter::ALL.map(StateFilter::word).join(", ");
        Error::invalid("state", format!("{word:?} is no state; there are {words}"))
    })
}

pub async fn show(State(app): State<App>, Caller(who): Caller, At((tenant, run)): At<(String, Id)>) -> Result<Json<RunJson>> {
    let mut tx = app.store.read().await?;
    let tenant = read::scope(&mut tx, &who, &tenant).await?;
    Ok(Json(read::run(&app, &mut tx, &tenant, run).await?))
}

pub async fn rerun(
    State(app): State<App>,
    Caller(who): Caller,
    At((tenant, run)): At<(String, Id)>,
    headers: HeaderMap,
    Body(body): Body<RerunJson>,
) -> Result<Response> {
    read::within(&app, &who, &tenant).await?;
    let answer = app.rerun(&tenant, run, body.items, &who).await?;
    started(&app, &who, &tenant, answer, &headers).await
}

/// 200 when it is over, 202 when it has been asked to stop.
pub async fn cancel(State(app): State<App>, Caller(who): Caller, At((tenant, run)): At<(String, Id)>) -> Result<Response> {
    read::within(&app, &who, &tenant).await?;
    let status = match app.cancel(&tenant, run, &who).await? {
        Cancelled::Now => StatusCode::OK,
        Cancelled::Asked => StatusCode::ACCEPTED,
    };
    let mut tx = app.store.read().await?;
    let tenant = read::scope(&mut tx, &who, &tenant).await?;
    Ok((status, Json(read::run(&app, &mut tx, &tenant, run).await?)).into_response())
}

/// 201 for a new run, 200 for one that was there.
pub async fn started(app: &App, who: &Who, tenant: &str, answer: Enqueued, headers: &HeaderMap) -> Result<Response> {
    let (merged, repeated) = (matches!(answer, Enqueued::Merged(_)), matches!(answer, Enqueued::Repeated(_)));
    let status = if matches!(answer, Enqueued::New(_)) { StatusCode::CREATED } else { StatusCode::OK };
    let id = answer.id();
    let mut response = if minimal(headers) {
        let mut response = (status, Json(Started { run: RunId { id }, merged, repeated })).into_response();
        response.headers_mut().insert("preference-applied", HeaderValue::from_static("return=minimal"));
        response
    } else {
        let mut tx = app.store.read().await?;
        let tenant = read::scope(&mut tx, who, tenant).await?;
        let run = read::run(app, &mut tx, &tenant, id).await?;
        (status, Json(Started { run, merged, repeated })).into_response()
    };
    if let Ok(place) = HeaderValue::from_str(&format!("/api/v1/tenants/{tenant}/runs/{id}")) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

/// RFC 7240: who starts thousands of runs needs their ids alone.
fn minimal(headers: &HeaderMap) -> bool {
    let wants =
        |value: &HeaderValue| value.to_str().is_ok_and(|text| text.split([',', ';']).any(|part| part.trim() == "return=minimal"));
    headers.get_all("prefer").iter().any(wants)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lines {
    /// That attempt alone.
    attempt: Option<u32>,
    /// `attempt.number` of the last line seen.
    after: Option<String>,
    limit: Option<usize>,
}

const LINES: usize = 1_000;
const LINES_LIMIT: usize = 10_000;

pub async fn logs(
    State(app): State<App>,
    Caller(who): Caller,
    At((tenant, run)): At<(String, Id)>,
    Asked(lines): Asked<Lines>,
) -> Result<Json<LogJson>> {
    let limit = lines.limit.unwrap_or(LINES);
    if !(1..=LINES_LIMIT).contains(&limit) {
        return Err(Error::invalid("limit", format!("{limit} is not from 1 to {LINES_LIMIT}")));
    }
    let mut tx = app.store.read().await?;
    let tenant = read::scope(&mut tx, &who, &tenant).await?;
    // First the state: a final one then means that all lines are there.
    let state = read::run(&app, &mut tx, &tenant, run).await?.state;
    let (attempt, number) = match lines.after.as_deref() {
        Some(cursor) => line_after(cursor)?,
        None => (lines.attempt.unwrap_or(0), 0),
    };
    let (mut found, dropped) = tx.log_of(tenant.id, run, attempt, number).await?;
    found.retain(|line| lines.attempt.is_none_or(|only| line.attempt == only));
    let count = Count { value: found.len() as u64, capped: false };
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|line| format!("{}.{}", line.attempt, line.number));
    let items = found.into_iter().map(line).collect();
    Ok(Json(LogJson { lines: List { items, next, count }, dropped, state }))
}

fn line(numbered: Numbered) -> LogLine {
    let Numbered { attempt, number, line } = numbered;
    LogLine { attempt, number, at: line.at, level: line.level, message: line.message, fields: line.fields.into_iter().collect() }
}

fn line_after(cursor: &str) -> Result<(u32, u64)> {
    let parts = cursor.split_once('.').and_then(|(attempt, number)| Some((attempt.parse().ok()?, number.parse().ok()?)));
    parts.ok_or_else(|| Error::invalid("after", format!("{cursor:?} is no place in a log: attempt.number, as in 2.17")))
}
