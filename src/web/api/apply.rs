//! Tenants and jobs from files.

use axum::Json;
use axum::extract::State;

use super::extract::{Body, Caller};
use super::shape::{Applied, ApplyJson, ChangeJson, DifferenceJson};
use crate::app::App;
use crate::app::apply::Source;
use crate::app::change::{Change, Difference, Outcome};
use crate::error::Result;

pub async fn apply(State(app): State<App>, Caller(who): Caller, Body(asked): Body<ApplyJson>) -> Result<Json<Applied>> {
    let sources = asked.files.into_iter().map(|file| Source { path: file.path, text: file.text }).collect();
    let changes = app.apply_and_prune(sources, &asked.prune, asked.dry_run, &who).await?;
    Ok(Json(Applied { changes: changes.into_iter().map(shape).collect(), dry_run: asked.dry_run }))
}

fn shape(change: Change) -> ChangeJson {
    let (result, diff) = match change.result {
        Outcome::Created => ("created", Vec::new()),
        Outcome::Updated(what) => ("updated", what),
        Outcome::UpToDate => ("already up to date", Vec::new()),
        Outcome::Removed => ("removed", Vec::new()),
    };
    let diff: Vec<_> = diff.into_iter().map(|Difference { key, old, new }| DifferenceJson { key, old, new }).collect();
    let what = diff.iter().map(|difference| difference.key.clone()).collect();
    ChangeJson { object: change.object, result: result.to_owned(), what, diff }
}
