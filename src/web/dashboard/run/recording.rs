//! The recording of an attempt as a file.

use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::domain::member::Role;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::Tx;
use crate::store::recording::Kept;
use crate::web::Web;
use crate::web::dashboard::tenant::need;
use crate::web::session::Session;

/// None for who may not read them: targets' answers stand in them.
pub async fn of_run(tx: &mut Tx, session: &Session, tenant: Id, run: Id) -> Result<Vec<Kept>> {
    match session.who.may(Role::Operator, tenant, "reading a recording") {
        Ok(()) => tx.recordings_of(tenant, run).await,
        Err(_) => Ok(Vec::new()),
    }
}

pub async fn file(
    State(web): State<Web>,
    session: Session,
    Path((tenant, run, attempt)): Path<(String, String, u32)>,
) -> Result<Response> {
    let run: Id = run.parse()?;
    let mut tx = web.app.store.read().await?;
    let owner = need(&mut tx, &session, &tenant).await?;
    session.who.may(Role::Operator, owner.id, "reading a recording")?;
    tx.need_run(owner.id, run).await?;
    let found = tx.recording(owner.id, run, Some(attempt)).await?;
    let (_, packed) = found.ok_or_else(|| Error::not_found(format!("a recording of attempt {attempt}")))?;
    let name = HeaderValue::from_str(&format!("attachment; filename=\"{run}-{attempt}.recording\""))
        .unwrap_or(HeaderValue::from_static("attachment"));
    let mut response = (StatusCode::OK, packed).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/gzip"));
    headers.insert(CONTENT_DISPOSITION, name);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(response)
}
