//! `/audit`: who did what, for admins.

use askama::Template;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use chrono_tz::Tz;
use serde::Deserialize;

use super::shell::{Place, Shell};
use super::tenant::need;
use crate::app::audit::Which;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::audit::Entry;
use crate::web::Web;
use crate::web::address::Address;
use crate::web::fragment;
use crate::web::session::Session;

const PAGE: u32 = 50;
/// Letters of a detail; the API and the command line have all of it.
const DETAIL: usize = 200;

#[derive(Template)]
#[template(path = "audit/index.html", blocks = ["entries"])]
struct Audit {
    shell: Shell,
    here: String,
    newest: String,
    older: Option<String>,
    tenant: Option<String>,
    tenants: Vec<String>,
    what: String,
    entries: Vec<Entry>,
}

fragment::fragments!(Audit: entries => as_entries);

/// What is empty is all of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    tenant: String,
    what: String,
    before: String,
}

pub async fn index(State(web): State<Web>, session: Session, headers: HeaderMap, Query(asked): Query<Asked>) -> Result<Response> {
    let some = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let before = some(&asked.before).map(|id| id.parse::<Id>()).transpose();
    let before = before.map_err(|_| Error::invalid("before", "no id of an entry"))?;
    let which = Which { tenant: some(&asked.tenant), what: some(&asked.what), before };
    let mut entries = web.app.audit(&which, PAGE + 1, &session.who).await?;
    let zone = match &which.tenant {
        Some(name) => need(&mut web.app.store.read().await?, &session, name).await?.zone,
        None => Tz::UTC,
    };
    let address = || Address::new("/audit").some("tenant", which.tenant.as_deref()).some("what", which.what.as_deref());
    let at = |id: Option<String>| address().some("before", id.as_deref()).to_string();
    let more = entries.len() > PAGE as usize;
    entries.truncate(PAGE as usize);
    let older = entries.last().filter(|_| more).map(|entry| at(Some(entry.id.to_string())));
    for detail in entries.iter_mut().filter_map(|entry| entry.detail.as_mut()) {
        if let Some((end, _)) = detail.char_indices().nth(DETAIL) {
            detail.truncate(end);
            detail.push('…');
        }
    }
    let board = web.glance(None).await?;
    let page = Audit {
        shell: web.shell_with(&session, &board, zone, None).at(Place::Elsewhere, &[], "Audit"),
        here: at(which.before.map(|id| id.to_string())),
        newest: at(None),
        older,
        tenants: board.seen_by(session.who.tenant).map(|line| line.tenant.name.clone()).collect(),
        tenant: which.tenant,
        what: which.what.unwrap_or_default(),
        entries,
    };
    fragment::answer(&page, &headers)
}

impl Audit {
    fn is_of(&self, tenant: &str) -> bool {
        self.tenant.as_deref() == Some(tenant)
    }
}
