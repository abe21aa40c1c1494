//! `/failures`: dead runs that need a person, grouped by cause.

use askama::Template;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use chrono_tz::Tz;
use serde::Deserialize;

use super::run::filter::Chip;
use super::shell::{Place, Shell};
use super::tenant::need;
use crate::clock::Timestamp;
use crate::domain::run::{Run, State as RunState};
use crate::error::Result;
use crate::store::Tx;
use crate::web::Web;
use crate::web::address::Address;
use crate::web::board::TenantLine;
use crate::web::fragment;
use crate::web::session::Session;
use crate::web::show::chart::Bars;
use crate::web::show::number::{Capped, Commas, Plural};
use crate::web::show::words;

pub mod confirm;

/// Causes listed.
const CAUSES: usize = 100;
/// The bars: 24 of an hour each.
const BARS: i64 = 24;
const HOUR: i64 = 3_600_000;

#[derive(Template)]
#[template(path = "failure/index.html", blocks = ["totals", "causes"])]
struct Failures {
    shell: Shell,
    here: String,
    dead: Capped,
    tenant: Option<String>,
    q: String,
    tenants: Vec<String>,
    chips: Vec<Chip>,
    causes: Vec<Cause>,
}

fragment::fragments!(Failures: totals => as_totals, causes => as_causes);

impl Failures {
    fn is_tenant(&self, name: &str) -> bool {
        self.tenant.as_deref() == Some(name)
    }

    fn causes_word(&self) -> &'static str {
        if self.causes.len() == 1 { "cause" } else { "causes" }
    }
}

struct Cause {
    tenant: String,
    job: String,
    message: String,
    reason: String,
    count: u64,
    first_at: Timestamp,
    last_at: Timestamp,
    href: String,
    last_href: String,
    bars: Bars,
}

#[derive(Debug, Default, Deserialize)]
pub struct Asked {
    tenant: Option<String>,
    q: Option<String>,
    done: Option<String>,
}

pub async fn index(State(web): State<Web>, session: Session, headers: HeaderMap, Query(asked): Query<Asked>) -> Result<Response> {
    let board = web.glance(asked.done.as_deref()).await?;
    let tenant = asked.tenant.filter(|tenant| !tenant.is_empty());
    let q = asked.q.unwrap_or_default().trim().to_owned();
    let mut tx = web.app.store.read().await?;
    let zone = match &tenant {
        Some(name) => need(&mut tx, &session, name).await?.zone,
        None => Tz::UTC,
    };
    let mut causes = Vec::new();
    let all: Vec<&TenantLine> = board.seen_by(session.who.tenant).collect();
    let asked_for = |line: &&&TenantLine| !line.dead.is_zero() && tenant.as_ref().is_none_or(|name| *name == line.tenant.name);
    for line in all.iter().filter(asked_for) {
        causes.extend(causes_of(&mut tx, line, board.at).await?);
        if causes.len() > 4 * CAUSES {
            break;
        }
    }
    causes.retain(|cause| q.is_empty() || cause.message.to_lowercase().contains(&q.to_lowercase()));
    causes.sort_by_key(|cause| std::cmp::Reverse((cause.count, cause.last_at)));
    causes.truncate(CAUSES);
    let address = |tenant: Option<&str>, q: &str| {
        Address::new("/failures").some("tenant", tenant).some("q", Some(q).filter(|q| !q.is_empty())).to_string()
    };
    let mut chips = Vec::new();
    if let Some(name) = &tenant {
        chips.push(Chip { label: format!("tenant: {name}"), href: address(None, &q) });
    }
    if !q.is_empty() {
        chips.push(Chip { label: format!("words: {q}"), href: address(tenant.as_deref(), "") });
    }
    let page = Failures {
        shell: web.shell_with(&session, &board, zone, asked.done.as_deref()).at(Place::Failures, &[], "Failures"),
        here: address(tenant.as_deref(), &q),
        dead: Capped::at(causes.iter().map(|cause| cause.count).sum(), crate::store::run::COUNT_CAP),
        tenants: all.iter().filter(|line| !line.dead.is_zero()).map(|line| line.tenant.name.clone()).collect(),
        tenant,
        q,
        chips,
        causes,
    };
    fragment::answer(&page, &headers)
}

/// The red number in the sidebar, for pages that are open.
#[derive(Template)]
#[template(path = "failure/_count.html")]
struct Count {
    dead: Capped,
}

fragment::fragments!(Count);

pub async fn count(State(web): State<Web>, session: Session, headers: HeaderMap) -> Result<Response> {
    let dead = web.glance(None).await?.dead(session.who.tenant);
    fragment::answer(&Count { dead }, &headers)
}

async fn causes_of(tx: &mut Tx, line: &TenantLine, now: Timestamp) -> Result<Vec<Cause>> {
    let since = Timestamp(now.0 - BARS * HOUR);
    let deaths = tx.deaths(line.tenant.id, since, HOUR).await?;
    let tenant = &line.tenant.name;
    let cause = |found: crate::store::failure::Failures| Cause {
        tenant: tenant.clone(),
        job: line
            .jobs
            .iter()
            .find(|job| job.job.id == found.job)
            .map_or_else(|| found.job.to_string(), |job| job.job.spec.name.clone()),
        message: words::first_line(found.last.message.as_deref().unwrap_or("no message")).to_owned(),
        reason: reason(&found.last),
        count: found.count,
        first_at: found.first_at,
        last_at: found.last_at,
        href: format!("/t/{tenant}/failures/{}", found.print),
        last_href: format!("/t/{tenant}/runs/{}", found.last.id),
        bars: Bars {
            counts: (0..BARS.unsigned_abs()).map(|hour| deaths.get(&(found.print, hour)).copied().unwrap_or(0)).collect(),
            window: "24 h".into(),
        },
    };
    Ok(tx.failures(line.tenant.id).await?.into_iter().map(cause).collect())
}

fn reason(run: &Run) -> String {
    match &run.state {
        RunState::Dead { reason, .. } => words::reason(*reason, run.failed, run.lost),
        state => state.word().to_owned(),
    }
}
