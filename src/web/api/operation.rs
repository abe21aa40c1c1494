//! Operations on many dead runs: looked at, begun, followed, stopped.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::extract::{Asked, At, Body, Caller};
use super::shape::{List, NewOperationJson, OperationJson, PreviewJson, WhichJson};
use super::{Paged, limit};
use crate::app::App;
use crate::domain::dead::{Action, Operation, OperationState, Order, RATE};
use crate::error::{Error, Result};
use crate::id::Id;

pub async fn list(
    State(app): State<App>,
    Caller(who): Caller,
    Asked(Paged { after, limit: asked }): Asked<Paged>,
) -> Result<Json<List<OperationJson>>> {
    let limit = limit(asked)?;
    let before = after.as_deref().map(str::parse).transpose().map_err(|_| Error::invalid("after", "no id of an operation"))?;
    let mut found = app.operations(before, limit + 1, &who).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| more).map(|operation| operation.id.to_string());
    let mut list = List::whole(Vec::with_capacity(found.len()));
    for operation in found {
        list.items.push(shape(&app, operation).await?);
    }
    list.count.value = list.items.len() as u64;
    (list.count.capped, list.next) = (more, next);
    Ok(Json(list))
}

/// 201 with the operation; with `dry_run` 200 with what it would do.
pub async fn begin(State(app): State<App>, Caller(who): Caller, Body(new): Body<NewOperationJson>) -> Result<Response> {
    let NewOperationJson { action, which, rate, reason, expect, dry_run } = new;
    let action = Action::with_dead(&action)
        .ok_or_else(|| Error::invalid("action", format!("{action:?} is no action; there are rerun, discard, undo")))?;
    let which = which.which()?;
    if dry_run {
        return Ok(Json(PreviewJson::from(app.preview(action, &which, &who).await?)).into_response());
    }
    let order = Order { which, rate: rate.unwrap_or(RATE), reason: reason.unwrap_or_default(), backfill: None };
    let begun = app.operate(action, order, expect, &who).await?;
    Ok((StatusCode::CREATED, Json(shape(&app, begun).await?)).into_response())
}

pub async fn show(State(app): State<App>, Caller(who): Caller, At(id): At<Id>) -> Result<Json<OperationJson>> {
    let operation = app.operation(id, &who).await?;
    Ok(Json(shape(&app, operation).await?))
}

pub async fn cancel(State(app): State<App>, Caller(who): Caller, At(id): At<Id>) -> Result<Json<OperationJson>> {
    let operation = app.cancel_operation(id, &who).await?;
    Ok(Json(shape(&app, operation).await?))
}

/// A new operation that brings back what this one has discarded.
pub async fn undo(State(app): State<App>, Caller(who): Caller, At(id): At<Id>) -> Result<(StatusCode, Json<OperationJson>)> {
    let operation = app.undo_operation(id, &who).await?;
    Ok((StatusCode::CREATED, Json(shape(&app, operation).await?)))
}

pub(super) async fn shape(app: &App, o: Operation) -> Result<OperationJson> {
    let tenants = if o.tenant == Id(0) { Vec::new() } else { app.store.read().await?.tenants().await? };
    let tenant = tenants.into_iter().find(|tenant| tenant.id == o.tenant).map(|tenant| tenant.name);
    Ok(OperationJson {
        id: o.id,
        tenant,
        action: o.action.word().to_owned(),
        state: o.state.word().to_owned(),
        total: o.total,
        done: o.done,
        left: o.left,
        rate: o.order.rate,
        reason: o.order.reason,
        which: WhichJson::from(o.order.which),
        by: o.by,
        started_at: o.started_at,
        ended_at: o.ended_at,
        waits: o.waits.filter(|_| o.state == OperationState::Running),
    })
}
