//! `/t/{tenant}`: its jobs, and what it may use.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use super::overview::rows;
use super::overview::view::TenantRow;
use super::shell::{Place, Shell};
use crate::clock::Timestamp;
use crate::domain::grant::Ceiling;
use crate::domain::health::Health;
use crate::domain::member::Role;
use crate::domain::tenant::Tenant;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::Tx;
use crate::store::run::{COUNT_CAP, StateCounts};
use crate::web::Web;
use crate::web::board::{Board, TenantLine};
use crate::web::fragment;
use crate::web::session::Session;
use crate::web::show::chart::{SPARK_STEPS, Spark};
use crate::web::show::moment::Maybe;
use crate::web::show::number::{Commas, Num, Rate};
use crate::web::show::pill::Pill;
use crate::web::show::words::trigger_short;

#[derive(Template)]
#[template(path = "tenant/show.html", blocks = ["totals", "jobs", "limits"])]
struct TenantPage {
    shell: Shell,
    here: String,
    row: TenantRow,
    window: String,
    jobs: Vec<JobRow>,
    limits: Vec<Limit>,
    ceiling: Vec<(&'static str, String)>,
}

fragment::fragments!(TenantPage: totals => as_totals, jobs => as_jobs, limits => as_limits);

struct JobRow {
    name: String,
    health: Health,
    why: String,
    triggers: String,
    backlog: Option<u64>,
    spark: Spark,
    running: u64,
    last_success: Option<Timestamp>,
    next: Option<Timestamp>,
}

struct Limit {
    what: &'static str,
    used: u64,
    of: u64,
}

impl Limit {
    fn is_full(&self) -> bool {
        self.used >= self.of
    }
}

#[derive(Deserialize)]
pub struct Asked {
    pub done: Option<String>,
}

pub async fn show(
    State(web): State<Web>,
    session: Session,
    headers: HeaderMap,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response> {
    let mut tx = web.app.store.read().await?;
    let tenant = need(&mut tx, &session, &name).await?;
    let board = web.glance(asked.done.as_deref()).await?;
    let line = board
        .tenants
        .iter()
        .find(|line| line.tenant.id == tenant.id)
        .ok_or_else(|| Error::not_found(format!("tenant {name}")))?;
    let counts = tx.state_counts(tenant.id).await?;
    let limits = limits(&mut tx, &tenant, counts, web.app.now()).await?;
    let shell = web.shell_with(&session, &board, tenant.zone, asked.done.as_deref()).at(
        Place::Overview,
        &[("Overview", "/".into())],
        &*name,
    );
    let page = TenantPage {
        shell,
        here: format!("/t/{name}"),
        row: rows::row(line, Spark::default()),
        window: board.window.words(),
        jobs: job_rows(&mut tx, &board, line).await?,
        limits,
        ceiling: ceiling(&tenant.ceiling),
    };
    fragment::answer(&page, &headers)
}

/// What the tenant uses of its limits, of those that it has.
async fn limits(tx: &mut Tx, tenant: &Tenant, counts: StateCounts, now: Timestamp) -> Result<Vec<Limit>> {
    let limit = |what, used, of: u32| Limit { what, used, of: u64::from(of) };
    let mut limits = vec![limit("Runs at once", counts.running, tenant.limits.running)];
    if let Some(most) = tenant.limits.starts_per_minute {
        let started = tx.started_within_minute(tenant.id, now).await?;
        limits.push(limit("Starts in this minute", u64::from(started), most));
    }
    // Beyond the cap the number is not known.
    if let Some(most) = tenant.limits.waiting.filter(|most| u64::from(*most) <= COUNT_CAP) {
        limits.push(limit("Runs waiting", counts.waiting, most));
    }
    Ok(limits)
}

/// The tenant, if it is there for whoever asks.
pub async fn need(tx: &mut Tx, session: &Session, name: &str) -> Result<Tenant> {
    let tenant = tx.need_tenant(name).await?;
    session.who.may(Role::Viewer, tenant.id, "looking at it")?;
    Ok(tenant)
}

async fn job_rows(tx: &mut Tx, board: &Board, line: &TenantLine) -> Result<Vec<JobRow>> {
    let mut next = tx.next_by_job(line.tenant.id).await?;
    let instants = board.window.instants(SPARK_STEPS);
    let ids: Vec<Id> = line.jobs.iter().map(|job| job.job.id).collect();
    let mut ends = tx.last_ends(&ids).await?;
    let mut rows = Vec::with_capacity(line.jobs.len());
    for job in &line.jobs {
        let levels = if job.probes.is_empty() {
            Vec::new()
        } else {
            tx.levels(&instants.iter().map(|at| (job.job.id, *at)).collect::<Vec<_>>()).await?
        };
        let triggers: Vec<String> =
            job.job.spec.triggers.iter().map(|spec| trigger_short(spec, job.job.id, line.tenant.zone)).collect();
        let probe_next = job.probes.iter().map(|probe| probe.next_at).min();
        rows.push(JobRow {
            name: job.job.spec.name.clone(),
            health: job.health,
            why: job.why.clone(),
            triggers: if triggers.is_empty() { "by hand only".into() } else { triggers.join("; ") },
            backlog: job.backlog,
            spark: Spark { levels, window: board.window.words() },
            running: job.running,
            last_success: ends.remove(&job.job.id).and_then(|ends| ends.last_success_at),
            next: next.remove(&job.job.id).or(probe_next).filter(|_| job.job.paused_at.is_none()),
        });
    }
    Ok(rows)
}

fn ceiling(ceiling: &Ceiling) -> Vec<(&'static str, String)> {
    let list = |of: &[String]| if of.is_empty() { "none".to_owned() } else { of.join(", ") };
    let raised: Vec<String> = ceiling.limits.written().iter().map(|(key, most)| format!("{key} {most}")).collect();
    vec![
        ("Hosts", list(&ceiling.hosts)),
        ("Private networks", list(&ceiling.networks)),
        ("Memory", ceiling.memory.to_string()),
        ("Scratch space", ceiling.scratch.to_string()),
        ("Time limit", ceiling.time_limit.to_string()),
        ("Other limits", if raised.is_empty() { "the usual".into() } else { raised.join(", ") }),
        ("Probes", list(&ceiling.probes)),
    ]
}
