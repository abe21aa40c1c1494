//! `/runs` and `/t/{tenant}/runs`: newest first, by state.

use std::cmp::Reverse;
use std::collections::HashMap;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use chrono_tz::Tz;

use super::filter::{self, Filter};
use super::row::{RunRow, rows_of};
use crate::error::Result;
use crate::id::Id;
use crate::store::Tx;
use crate::store::run::{COUNT_CAP, RunQuery, StateCounts};
use crate::web::Web;
use crate::web::board::TenantLine;
use crate::web::dashboard::shell::{Place, Shell};
use crate::web::dashboard::tenant::need;
use crate::web::fragment;
use crate::web::session::Session;
use crate::web::show::number::Capped;

const PAGE: u32 = 50;
/// Tenants that the list of all looks into: those that are busy, when there are more.
const TENANTS: usize = 50;

#[derive(Template)]
#[template(path = "run/index.html", blocks = ["runs"])]
struct Runs {
    shell: Shell,
    here: String,
    filter: Filter,
    tabs: Vec<Tab>,
    tenants: Vec<String>,
    jobs: Vec<String>,
    rows: Vec<RunRow>,
    nothing: &'static str,
    /// Said when the list does not look into all tenants.
    narrowed: bool,
    older: Option<String>,
}

fragment::fragments!(Runs: runs => as_runs);

struct Tab {
    href: String,
    label: &'static str,
    class: &'static str,
    count: Option<Capped>,
    here: bool,
}

pub async fn of_tenant(
    State(web): State<Web>,
    session: Session,
    headers: HeaderMap,
    Path(tenant): Path<String>,
    Query(query): Query<filter::Query>,
) -> Result<Response> {
    list(&web, &session, &headers, Filter::new(query, Some(tenant))).await
}

pub async fn everywhere(
    State(web): State<Web>,
    session: Session,
    headers: HeaderMap,
    Query(query): Query<filter::Query>,
) -> Result<Response> {
    list(&web, &session, &headers, Filter::new(query, None)).await
}

async fn list(web: &Web, session: &Session, headers: &HeaderMap, filter: Filter) -> Result<Response> {
    let board = web.glance(None).await?;
    let mut tx = web.app.store.read().await?;
    let mut zone = Tz::UTC;
    if let Some(tenant) = &filter.tenant {
        zone = need(&mut tx, session, tenant).await?.zone;
    }
    let all: Vec<&TenantLine> = board.seen_by(session.who.tenant).collect();
    let mut asked: Vec<&TenantLine> =
        all.iter().copied().filter(|line| filter.tenant.as_ref().is_none_or(|name| *name == line.tenant.name)).collect();
    let narrowed = asked.len() > TENANTS;
    if narrowed {
        asked.sort_by_key(|line| {
            Reverse((
                line.jobs.iter().map(|job| job.running).sum::<u64>(),
                line.dead.n,
                line.jobs.iter().filter_map(|job| job.backlog).sum::<u64>(),
            ))
        });
        asked.truncate(TENANTS);
    }
    let (mut rows, mut counts) = (Vec::new(), Vec::new());
    for line in &asked {
        counts.push(tx.state_counts(line.tenant.id).await?);
        rows.extend(rows_in(&mut tx, line, &filter).await?);
    }
    rows.sort_unstable_by_key(|row| Reverse(row.run.id));
    let older = (rows.len() > PAGE as usize).then(|| rows[PAGE as usize - 1].run.id);
    rows.truncate(PAGE as usize);
    let shell = web.shell_with(session, &board, zone, None);
    let shell = match &filter.tenant {
        Some(tenant) if filter.fixed_tenant => {
            shell.at(Place::Runs, &[("Overview", "/".into()), (tenant, format!("/t/{tenant}"))], "Runs")
        }
        _ => shell.at(Place::Runs, &[], "Runs"),
    };
    let page = Runs {
        shell,
        here: filter.here(),
        tabs: tabs(&filter, counts.into_iter().sum()),
        tenants: all.iter().map(|line| line.tenant.name.clone()).collect(),
        jobs: asked.iter().flat_map(|line| line.jobs.iter().map(|job| job.job.spec.name.clone())).collect(),
        rows,
        nothing: if filter.before.is_some() {
            "The list ends here."
        } else {
            "Triggers start runs; so does the button “Run now” on a job's page."
        },
        narrowed,
        older: older.map(|than| filter.older(than)),
        filter,
    };
    fragment::answer(&page, headers)
}

async fn rows_in(tx: &mut Tx, line: &TenantLine, filter: &Filter) -> Result<Vec<RunRow>> {
    let mut names: HashMap<Id, String> = line.jobs.iter().map(|job| (job.job.id, job.job.spec.name.clone())).collect();
    let job = match &filter.job {
        Some(name) => match line.jobs.iter().find(|job| job.job.spec.name == *name) {
            Some(job) => Some(job.job.id),
            None => return Ok(Vec::new()),
        },
        None => None,
    };
    let query = RunQuery { job, state: filter.state_filter(), before: filter.before, limit: PAGE + 1 };
    let runs = tx.runs(line.tenant.id, &query).await?;
    if runs.iter().any(|run| !names.contains_key(&run.job)) {
        names = tx.job_names().await?.into_iter().map(|(id, _, name)| (id, name)).collect();
    }
    rows_of(tx, runs, &line.tenant.name, |id| names.get(&id).cloned().unwrap_or_else(|| id.to_string())).await
}

fn tabs(filter: &Filter, counts: StateCounts) -> Vec<Tab> {
    let tab = |label, state, count: Option<u64>, class| Tab {
        href: filter.of_state(state),
        label,
        class: if count.unwrap_or(0) == 0 { "" } else { class },
        count: count.map(|n| Capped::at(n, COUNT_CAP)),
        here: filter.state == state,
    };
    vec![
        tab("All", None, None, ""),
        tab("Waiting", Some("waiting"), Some(counts.waiting), if counts.retrying > 0 { "amber" } else { "" }),
        tab("Running", Some("running"), Some(counts.running), ""),
        tab("Succeeded", Some("succeeded"), None, ""),
        tab("Dead", Some("dead"), Some(counts.dead), "red"),
        tab("Cancelled", Some("cancelled"), None, ""),
    ]
}
