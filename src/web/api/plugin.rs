//! Plugins: seen and pushed.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::{HeaderName, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::extract::{Asked, Caller, Raw};
use super::read;
use super::shape::{List, PluginJson, PluginShownJson, PluginUserJson, PushJson};
use crate::app::App;
use crate::app::pushes::Names;
use crate::domain::plugin::{Plugin, Push};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::web::dashboard::plugin::taken;

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

/// All versions of one, and who uses them, as far as the caller may see.
pub async fn show(State(app): State<App>, Caller(who): Caller, Path(name): Path<String>) -> Result<Json<PluginShownJson>> {
    let mut tx = app.store.read().await?;
    let names: HashMap<Id, String> = tx.tenants().await?.into_iter().map(|tenant| (tenant.id, tenant.name)).collect();
    let mut plugins = tx.plugins().await?;
    plugins.retain(|plugin| plugin.name == name && (plugin.tenant == Id(0) || who.tenant.is_none_or(|own| own == plugin.tenant)));
    plugins.sort_by_key(|plugin| std::cmp::Reverse(plugin.version_key()));
    let newest = plugins.first().ok_or_else(|| Error::not_found(format!("the plugin {name}")))?;
    let summary = newest.description.get("summary").and_then(|text| text.as_str()).unwrap_or_default().to_owned();
    let (jobs, rollouts, grants) = (tx.known_jobs().await?, tx.rollouts().await?, tx.grants().await?);
    let mut used_by = Vec::new();
    for job in jobs.iter().filter(|job| who.tenant.is_none_or(|own| own == job.tenant)) {
        for (digest, runs) in taken(job, rollouts.get(&job.id)) {
            let Some(plugin) = plugins.iter().find(|plugin| plugin.digest == digest) else { continue };
            used_by.push(PluginUserJson {
                tenant: names.get(&job.tenant).cloned().unwrap_or_default(),
                job: job.spec.name.clone(),
                version: plugin.version.clone(),
                digest: digest.to_owned(),
                runs,
                grant: serde_json::to_value(grants.get(&job.id).cloned().unwrap_or_default())?,
            });
        }
    }
    used_by.sort_by(|a, b| (&a.tenant, &a.job).cmp(&(&b.tenant, &b.job)));
    let versions = plugins.into_iter().map(|plugin| {
        let tenant = names.get(&plugin.tenant).cloned();
        shape(plugin, tenant)
    });
    Ok(Json(PluginShownJson { name, summary, versions: versions.collect(), used_by }))
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

/// The body is the module. It is compiled after the answer, 202: `pushes/{id}` says how far it is.
pub async fn push(
    State(app): State<App>,
    Caller(who): Caller,
    Asked(to): Asked<For>,
    headers: HeaderMap,
    Raw(bytes): Raw,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<PushJson>)> {
    if let Some(tenant) = &to.tenant {
        read::within(&app, &who, tenant).await?;
    }
    let signature = headers.get(SIGNATURE).map(signature).transpose()?;
    let names = Names { name: to.name, fallback: to.fallback, version: to.version, signature };
    let push = app.begin_push(names, bytes.into(), to.tenant.as_deref(), &who).await?;
    let place = format!("/api/v1/pushes/{}", push.id);
    Ok((StatusCode::ACCEPTED, [(LOCATION, place)], Json(push_shape(push, to.tenant))))
}

/// The last pushes, newest first; they are kept for a day.
pub async fn pushes(State(app): State<App>, Caller(who): Caller) -> Result<Json<List<PushJson>>> {
    let pushes = app.pushes(&who).await?;
    let names: HashMap<Id, String> =
        app.store.read().await?.tenants().await?.into_iter().map(|tenant| (tenant.id, tenant.name)).collect();
    let shape = |push: Push| {
        let tenant = names.get(&push.tenant).cloned();
        push_shape(push, tenant)
    };
    Ok(Json(List::whole(pushes.into_iter().map(shape).collect())))
}

/// How far a push is.
pub async fn pushed(State(app): State<App>, Caller(who): Caller, Path(id): Path<String>) -> Result<Json<PushJson>> {
    let push = app.push_of(id.parse()?, &who).await?;
    let tenants = app.store.read().await?.tenants().await?;
    let tenant = tenants.into_iter().find(|tenant| tenant.id == push.tenant).map(|tenant| tenant.name);
    Ok(Json(push_shape(push, tenant)))
}

fn push_shape(push: Push, tenant: Option<String>) -> PushJson {
    PushJson {
        id: push.id,
        tenant,
        name: push.name,
        version: push.version,
        digest: push.digest,
        bytes: push.bytes,
        state: push.state.word().to_owned(),
        message: push.message,
        new: push.fresh,
        begun_at: push.begun_at,
        at: push.at,
        pushed_by: push.pushed_by,
    }
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
