//! `/`: what needs a person, and the tenants with their backlogs.

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use chrono_tz::Tz;

use crate::error::Result;
use crate::store::Tx;
use crate::web::Web;
use crate::web::board::{Board, TenantLine};
use crate::web::dashboard::shell::Place;
use crate::web::fragment::{self, FRAGMENT};
use crate::web::session::Session;
use crate::web::show::chart::{SPARK_STEPS, Spark, Window};
use crate::web::show::number::Capped;

pub mod filter;
pub mod needs;
pub mod rows;
pub mod view;

use filter::Filter;
use view::{FirstSteps, Overview, Tab, Totals};

/// Tenants on one page.
const PAGE: usize = 50;

pub async fn index(
    State(web): State<Web>,
    session: Session,
    headers: HeaderMap,
    Query(query): Query<filter::Query>,
) -> Result<Response> {
    let done = query.done.clone();
    let filter = Filter::from(query);
    let board = web.glance(done.as_deref()).await?;
    let shell = web.shell_with(&session, &board, Tz::UTC, done.as_deref()).at(Place::Overview, &[], "Overview");
    let own = session.who.tenant;
    let all: Vec<&TenantLine> = board.seen_by(own).collect();
    if all.is_empty() {
        return fragment::answer(&FirstSteps { shell }, &headers);
    }
    // The page of the first steps asks for itself: the first tenant is there, and it is the overview now.
    if headers.get(&FRAGMENT).is_some_and(|name| name == "steps") {
        return Ok([("hx-refresh", "true")].into_response());
    }
    let mut tx = web.app.store.read().await?;
    let (needs, more_needs) = needs::list(&mut tx, &board, own).await?;
    let tabs = tabs(&all, &filter);
    let sorted = rows::sorted(&all, &filter);
    let matching = sorted.len() as u64;
    let from =
        filter.after.as_deref().and_then(|after| sorted.iter().position(|line| line.tenant.name == after)).map_or(0, |at| at + 1);
    let shown: Vec<&TenantLine> = sorted.iter().skip(from).take(PAGE).copied().collect();
    let next = (from + shown.len() < sorted.len()).then(|| shown.last().map(|line| filter.next(&line.tenant.name))).flatten();
    let sparks = sparks(&mut tx, &shown, board.window).await?;
    let page = Overview {
        shell,
        here: filter.here(),
        totals: totals(&board, &all),
        needs,
        more_needs,
        tabs,
        window: board.window.words(),
        rows: shown.iter().zip(sparks).map(|(line, spark)| rows::row(line, spark)).collect(),
        matching,
        first: from == 0,
        next,
        filter,
    };
    fragment::answer(&page, &headers)
}

fn totals(board: &Board, all: &[&TenantLine]) -> Totals {
    let jobs = || all.iter().flat_map(|line| &line.jobs);
    Totals {
        backlog: jobs().filter_map(|job| job.backlog).sum(),
        running: jobs().map(|job| job.running).sum(),
        per_minute: board.runs_per_minute,
        retrying: jobs().map(|job| job.retrying).sum(),
        dead: Capped::at(all.iter().map(|line| line.dead.n).sum(), crate::store::run::COUNT_CAP),
    }
}

fn tabs(all: &[&TenantLine], filter: &Filter) -> Vec<Tab> {
    let tab = |label, health: Option<&'static str>, class| {
        let count = all.iter().filter(|line| rows::has_health(line, health)).count() as u64;
        Tab {
            href: filter.of_health(health),
            label,
            class: if count == 0 { "" } else { class },
            count: Capped { n: count, more: false },
            here: filter.health.as_deref() == health,
        }
    };
    vec![
        tab("All", None, ""),
        tab("Needs a person", Some("person"), "red"),
        tab("Lagging", Some("lagging"), "amber"),
        tab("Paused", Some("paused"), ""),
        tab("OK", Some("ok"), ""),
    ]
}

/// The backlog of each tenant over the window: the sum of its jobs'.
async fn sparks(tx: &mut Tx, lines: &[&TenantLine], window: Window) -> Result<Vec<Spark>> {
    let instants = window.instants(SPARK_STEPS);
    let jobs = || {
        lines
            .iter()
            .flat_map(|line| line.jobs.iter().filter(|job| !job.probes.is_empty()).map(|job| (line.tenant.id, job.job.id)))
    };
    let asked: Vec<_> = jobs().flat_map(|(_, job)| instants.iter().map(move |at| (job, *at))).collect();
    let levels = tx.levels(&asked).await?;
    let mut sparks: Vec<Spark> =
        lines.iter().map(|_| Spark { levels: vec![None; instants.len()], window: window.words() }).collect();
    for ((tenant, _), of_job) in jobs().zip(levels.chunks(instants.len())) {
        let Some(at) = lines.iter().position(|line| line.tenant.id == tenant) else { continue };
        for (sum, level) in sparks[at].levels.iter_mut().zip(of_job) {
            *sum = match (*sum, *level) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            };
        }
    }
    Ok(sparks)
}
