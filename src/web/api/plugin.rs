//! Plugins: seen and pushed.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::extract::{Asked, Caller, Raw};
use super::read;
use super::shape::{List, PluginJson, Pushed};
use crate::app::App;
use crate::app::push::Called;
use crate::domain::plugin::Plugin;
use crate::error::{Error, Result};
use crate::id::Id;

/// The server's, and those of the tenants that the caller may see.
pub async fn list(State(app): State<App>, Caller(who): Caller) -> Result<Json<List<PluginJson>>> {
    let mut tx = app.store.read().await?;
    let names: HashMap<Id, String> = tx.tenants().await?.into_iter().map(|tenant| (tenant.id, tenant.name)).collect();
    let mut plugins = tx.plugins().await?;
    plugins.retain(|plugin| plugin.tenant == Id(0) || who.tenant.is_none_or(|own| own == plugin.tenant));
    let shape = |plugin: Plugin| {
        let tenant = names.get(&plugin.tenant).cloned();
        shape(plugin, tenant)
    };
    Ok(Json(List::whole(plugins.into_iter().map(shape).collect())))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct For {
    name: Option<String>,
    /// Its name when it says none itself: the command line sends the file's.
    fallback: Option<String>,
    /// Its version when it says none itself.
    version: Option<String>,
    tenant: Option<String>,
}

/// The body is the component. 201 for a new one, 200 when the same bytes were there.
pub async fn push(
    State(app): State<App>,
    Caller(who): Caller,
    Asked(to): Asked<For>,
    headers: HeaderMap,
    Raw(bytes): Raw,
) -> Result<(StatusCode, Json<Pushed>)> {
    if let Some(tenant) = &to.tenant {
        read::within(&app, &who, tenant).await?;
    }
    let signature = headers.get(SIGNATURE).map(signature).transpose()?;
    let called = Called {
        name: to.name.as_deref(),
        fallback: to.fallback.as_deref(),
        version: to.version.as_deref(),
        signature: signature.as_deref(),
    };
    let (plugin, new) = app.push(called, bytes.into(), to.tenant.as_deref(), &who).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(Pushed { plugin: shape(plugin, to.tenant), new })))
}

/// Carries what minisign wrote, in base 64: its lines do not fit a header.
pub const SIGNATURE: &str = "x-windlass-signature";

fn signature(value: &HeaderValue) -> Result<String> {
    let text = STANDARD.decode(value.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| Error::invalid("signature", "X-Windlass-Signature is the text of a .minisig file in base 64"))
}

fn shape(plugin: Plugin, tenant: Option<String>) -> PluginJson {
    PluginJson {
        name: plugin.name,
        version: plugin.version,
        digest: plugin.digest,
        tenant,
        bytes: plugin.bytes,
        exports: plugin.exports,
        imports: plugin.imports,
        description: plugin.description,
        pushed_at: plugin.pushed_at,
        pushed_by: plugin.pushed_by,
        signed: plugin.signature.is_some(),
    }
}
