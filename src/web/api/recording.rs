//! What an attempt can be played again with: its recording, and the component that it ran.

use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::extract::{Asked, At, Caller};
use super::read;
use crate::app::App;
use crate::domain::member::Role;
use crate::error::{Error, Result};
use crate::id::Id;

type File = ([(HeaderName, HeaderValue); 2], Vec<u8>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// The newest that has a recording, when absent.
    attempt: Option<u32>,
}

pub async fn of_run(
    State(app): State<App>,
    Caller(who): Caller,
    At((tenant, run)): At<(String, Id)>,
    Asked(which): Asked<Which>,
) -> Result<File> {
    let mut tx = app.store.read().await?;
    let tenant = read::scope(&mut tx, &who, &tenant).await?;
    // Bodies of targets stand in it, which a log need not show.
    who.may(Role::Operator, tenant.id, "reading a recording")?;
    tx.need_run(tenant.id, run).await?;
    let Some((attempt, packed)) = tx.recording(tenant.id, run, which.attempt).await? else {
        let of = which.attempt.map(|attempt| format!("attempt {attempt} of ")).unwrap_or_default();
        return Err(Error::NotFound(format!(
            "no recording of {of}run {run} is here: a job keeps those of failed attempts, unless its record says never or always"
        )));
    };
    Ok(file("application/gzip", &format!("{run}-{attempt}.recording"), packed))
}

/// The server's, and those of the tenants that the caller may see.
pub async fn component(State(app): State<App>, Caller(who): Caller, At(digest): At<String>) -> Result<File> {
    let mut tx = app.store.read().await?;
    let plugins = tx.plugins().await?;
    let seen = |owner: Id| owner == Id(0) || who.tenant.is_none_or(|own| own == owner);
    let missing = || Error::not_found(format!("plugin {digest}"));
    let plugin = plugins.iter().find(|plugin| plugin.digest == digest && seen(plugin.tenant)).ok_or_else(missing)?;
    let bytes = tx.plugin_bytes(&digest).await?.ok_or_else(missing)?;
    Ok(file("application/wasm", &format!("{}.wasm", plugin.name), bytes))
}

/// `name`: letters, digits, `-` and `.`.
fn file(media_type: &'static str, name: &str, bytes: Vec<u8>) -> File {
    let name = HeaderValue::from_str(&format!("attachment; filename=\"{name}\""));
    let name = name.unwrap_or(HeaderValue::from_static("attachment"));
    ([(CONTENT_TYPE, HeaderValue::from_static(media_type)), (CONTENT_DISPOSITION, name)], bytes)
}
