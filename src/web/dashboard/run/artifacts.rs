//! Files that the run left behind: listed on its page, and saved from there.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::clock::Timestamp;
use crate::domain::artifact::Artifact;
use crate::error::Result;
use crate::id::Id;
use crate::span::Size;
use crate::web::address::encoded;
use crate::web::dashboard::tenant::need;
use crate::web::session::Session;
use crate::web::show::words;
use crate::web::{Web, download};

pub struct ArtifactRow {
    pub name: String,
    pub href: String,
    pub media_type: String,
    pub size: Size,
    pub digest: String,
    pub made_at: Timestamp,
}

impl ArtifactRow {
    pub fn short_digest(&self) -> String {
        words::short_digest(&self.digest)
    }
}

pub fn rows(found: Vec<Artifact>, tenant: &str, run: Id) -> Vec<ArtifactRow> {
    let row = |Artifact { name, media_type, bytes, digest, created_at, .. }| ArtifactRow {
        href: format!("/t/{tenant}/runs/{run}/artifacts/{}", encoded(&name)),
        name,
        media_type,
        size: Size(bytes),
        digest,
        made_at: created_at,
    };
    found.into_iter().map(row).collect()
}

pub async fn download(
    State(web): State<Web>,
    session: Session,
    Path((tenant, run, name)): Path<(String, String, String)>,
) -> Result<Response> {
    let run: Id = run.parse()?;
    let owner = need(&mut web.app.store.read().await?, &session, &tenant).await?;
    download::artifact(&web.app, owner.id, run, &name).await
}
