//! Files that runs left behind: listed, and their bytes.

use axum::Json;
use axum::extract::State;
use axum::response::Response;

use super::extract::{At, Caller};
use super::read;
use super::shape::{ArtifactJson, List};
use crate::app::App;
use crate::domain::artifact::Artifact;
use crate::error::Result;
use crate::id::Id;
use crate::web::download;

pub async fn list(
    State(app): State<App>,
    Caller(who): Caller,
    At((tenant, run)): At<(String, Id)>,
) -> Result<Json<List<ArtifactJson>>> {
    let mut tx = app.store.read().await?;
    let tenant = read::scope(&mut tx, &who, &tenant).await?;
    let run = read::known(&mut tx, &tenant, run).await?;
    let found = tx.artifacts_of(tenant.id, run.id).await?;
    Ok(Json(List::whole(found.into_iter().map(shape).collect())))
}

fn shape(Artifact { name, media_type, bytes, digest, created_at, .. }: Artifact) -> ArtifactJson {
    ArtifactJson { name, media_type, bytes, digest, created_at }
}

pub async fn download(
    State(app): State<App>,
    Caller(who): Caller,
    At((tenant, run, name)): At<(String, Id, String)>,
) -> Result<Response> {
    let tenant = read::scope(&mut app.store.read().await?, &who, &tenant).await?;
    download::artifact(&app, tenant.id, run, &name).await
}
