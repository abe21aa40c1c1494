//! Who did what.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::extract::{Asked, Caller};
use super::shape::{AuditJson, List};
use super::{limit, read};
use crate::app::App;
use crate::app::audit::Which;
use crate::error::Result;
use crate::id::Id;
use crate::store::audit::Entry;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    tenant: Option<String>,
    what: Option<String>,
    after: Option<Id>,
    limit: Option<u32>,
}

pub async fn list(State(app): State<App>, Caller(who): Caller, Asked(asked): Asked<Query>) -> Result<Json<List<AuditJson>>> {
    if let Some(tenant) = &asked.tenant {
        read::within(&app, &who, tenant).await?;
    }
    let limit = limit(asked.limit)?;
    let which = Which { tenant: asked.tenant, what: asked.what, before: asked.after };
    let mut found = app.audit(&which, limit + 1, &who).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| more).map(|entry| entry.id.to_string());
    let mut list = List::whole(found.into_iter().map(shape).collect());
    (list.count.capped, list.next) = (more, next);
    Ok(Json(list))
}

fn shape(entry: Entry) -> AuditJson {
    let Entry { id, at, tenant, who, what, object, detail } = entry;
    AuditJson { id, at, tenant, who, what, object, detail }
}
