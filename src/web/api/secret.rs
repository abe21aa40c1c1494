//! Secrets: set and listed, never read.

use axum::Json;
use axum::extract::State;

use super::extract::{At, Caller, Raw};
use super::read;
use super::shape::{List, SecretJson};
use crate::app::secret::Listed;
use crate::app::{App, Who};
use crate::error::{Error, Result};

pub async fn list(State(app): State<App>, Caller(who): Caller, At(tenant): At<String>) -> Result<Json<List<SecretJson>>> {
    read::within(&app, &who, &tenant).await?;
    Ok(Json(List::whole(app.list_secrets(&tenant, &who).await?.into_iter().map(shape).collect())))
}

pub async fn show(
    State(app): State<App>,
    Caller(who): Caller,
    At((tenant, name)): At<(String, String)>,
) -> Result<Json<SecretJson>> {
    Ok(Json(one(&app, &who, &tenant, &name).await?))
}

/// The body is the value, byte for byte.
pub async fn set(
    State(app): State<App>,
    Caller(who): Caller,
    At((tenant, name)): At<(String, String)>,
    Raw(value): Raw,
) -> Result<Json<SecretJson>> {
    read::within(&app, &who, &tenant).await?;
    app.set_secret(&tenant, &name, &value, &who).await?;
    Ok(Json(one(&app, &who, &tenant, &name).await?))
}

/// The same, where there is one already.
pub async fn rotate(
    State(app): State<App>,
    Caller(who): Caller,
    At((tenant, name)): At<(String, String)>,
    Raw(value): Raw,
) -> Result<Json<SecretJson>> {
    read::within(&app, &who, &tenant).await?;
    app.rotate_secret(&tenant, &name, &value, &who).await?;
    Ok(Json(one(&app, &who, &tenant, &name).await?))
}

async fn one(app: &App, who: &Who, tenant: &str, name: &str) -> Result<SecretJson> {
    read::within(app, who, tenant).await?;
    let found = app.list_secrets(tenant, who).await?.into_iter().find(|secret| secret.name == name);
    found.map(shape).ok_or_else(|| Error::not_found(format!("secret {name}")))
}

fn shape(secret: Listed) -> SecretJson {
    SecretJson { name: secret.name, version: secret.version, updated_at: secret.updated_at, used_at: secret.used_at }
}
