//! What came of a job's schedules, and making up for it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::extract::{Asked, At, Body, Caller};
use super::shape::{BackfillJson, Count, List, NewBackfillJson, OccurrenceJson};
use super::{limit, operation, read};
use crate::app::{App, backfill};
use crate::domain::dead::RATE;
use crate::error::{Error, Result};
use crate::store::ledger::{Line, Place, Query, RESULTS};

/// What a list of occurrences can be asked.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    result: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

pub async fn occurrences(
    State(app): State<App>,
    Caller(who): Caller,
    At((tenant, job)): At<(String, String)>,
    Asked(Wanted { result, after, limit: asked }): Asked<Wanted>,
) -> Result<Json<List<OccurrenceJson>>> {
    let mut tx = app.store.read().await?;
    let tenant = read::scope(&mut tx, &who, &tenant).await?;
    let job = tx.need_job(tenant.id, &job).await?;
    let limit = limit(asked)?;
    let before = after.as_deref().map(str::parse::<Place>).transpose().map_err(|wrong| Error::invalid("after", wrong))?;
    if let Some(result) = result.as_ref().filter(|result| !RESULTS.contains(&result.as_str())) {
        return Err(Error::invalid("result", format!("{result:?} is none; there are {}", RESULTS.join(", "))));
    }
    let query = Query { job: Some(job.id), result, before, limit: limit + 1, ..Query::default() };
    let mut lines = tx.ledger(&query).await?;
    let more = lines.len() > limit as usize;
    lines.truncate(limit as usize);
    let next = lines.last().filter(|_| more).map(|line| line.place().to_string());
    let shape = |Line { due_at, result, run, note, .. }| OccurrenceJson { due_at, result, run, note };
    let count = Count { value: lines.len() as u64, capped: more };
    Ok(Json(List { items: lines.into_iter().map(shape).collect(), next, count }))
}

/// 201 with the operation; with `dry_run` 200 with what it would do.
pub async fn backfill(
    State(app): State<App>,
    Caller(who): Caller,
    At((tenant, job)): At<(String, String)>,
    Body(new): Body<NewBackfillJson>,
) -> Result<Response> {
    read::within(&app, &who, &tenant).await?;
    let NewBackfillJson { from, to, schedule, again, rate, reason, expect, dry_run } = new;
    let asked = backfill::Asked { from, to, schedule, again };
    if dry_run {
        return Ok(Json(BackfillJson::from(app.preview_backfill(&tenant, &job, &asked, &who).await?)).into_response());
    }
    let (rate, reason) = (rate.unwrap_or(RATE), reason.unwrap_or_default());
    let begun = app.backfill(&tenant, &job, &asked, rate, reason, expect, &who).await?;
    Ok((StatusCode::CREATED, Json(operation::shape(&app, begun).await?)).into_response())
}
