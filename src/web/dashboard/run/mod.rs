//! Runs: lists, one run, its log, and the buttons.

use axum::Form;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;

use super::see_other;
use crate::domain::item::Items;
use crate::domain::run::Enqueued;
use crate::error::Result;
use crate::id::Id;
use crate::web::Web;
use crate::web::session::Session;

pub mod artifacts;
pub mod attempts;
pub mod filter;
pub mod index;
pub mod items;
pub mod log;
pub mod recording;
pub mod row;
pub mod show;
pub mod why;

/// Which button was pressed.
#[derive(Deserialize)]
pub struct Again {
    items: Option<Items>,
}

/// Leads to the new run: that is what one wants to see next.
pub async fn rerun(
    State(web): State<Web>,
    session: Session,
    Path((tenant, run)): Path<(String, String)>,
    Form(again): Form<Again>,
) -> Result<Response> {
    let run: Id = run.parse()?;
    let (word, new) = match web.app.rerun(&tenant, run, again.items, &session.who).await? {
        Enqueued::New(new) => ("again", new),
        Enqueued::Merged(new) | Enqueued::Repeated(new) => ("merged", new),
    };
    Ok(see_other(format!("/t/{tenant}/runs/{new}?done={word}.{tenant}.{new}")))
}

pub async fn discard(State(web): State<Web>, session: Session, Path((tenant, run)): Path<(String, String)>) -> Result<Response> {
    let run: Id = run.parse()?;
    web.app.discard(&tenant, run, &session.who).await?;
    Ok(see_other(format!("/t/{tenant}/runs/{run}?done=discarded")))
}

pub async fn undo(State(web): State<Web>, session: Session, Path((tenant, run)): Path<(String, String)>) -> Result<Response> {
    let run: Id = run.parse()?;
    web.app.undo_discard(&tenant, run, &session.who).await?;
    Ok(see_other(format!("/t/{tenant}/runs/{run}?done=undone")))
}

pub async fn cancel(State(web): State<Web>, session: Session, Path((tenant, run)): Path<(String, String)>) -> Result<Response> {
    let run: Id = run.parse()?;
    web.app.cancel(&tenant, run, &session.who).await?;
    Ok(see_other(format!("/t/{tenant}/runs/{run}?done=cancelled")))
}
