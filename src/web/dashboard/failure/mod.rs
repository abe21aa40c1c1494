//! `/failures`: dead runs that need a person, grouped by cause; those that expire; those that were discarded.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use chrono_tz::Tz;

use super::run::filter::Chip;
use super::shell::{Place, Shell};
use super::tenant::need;
use crate::app::operation::Target;
use crate::clock::Timestamp;
use crate::domain::dead::{Operation, Standing};
use crate::domain::run::{Reason, Run, State as RunState};
use crate::error::Result;
use crate::id::Id;
use crate::store::Tx;
use crate::store::dead::DeadQuery;
use crate::store::run::COUNT_CAP;
use crate::web::Web;
use crate::web::board::TenantLine;
use crate::web::fragment;
use crate::web::session::Session;
use crate::web::show::chart::Bars;
use crate::web::show::number::{Capped, Commas, Plural};
use crate::web::show::words;
use asked::{Asked, Pairs, SINCE, one};

pub mod asked;
pub mod cause;

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
    asked: Asked,
    tabs: Vec<Tab>,
    tenants: Vec<String>,
    /// Of the tenant that was chosen.
    jobs: Vec<String>,
    chips: Vec<Chip>,
    causes: Vec<Cause>,
    /// There are more causes than are listed, of fewer runs.
    cut: bool,
    expiring: u64,
    /// Not over yet.
    operations: Vec<Operation>,
}

fragment::fragments!(Failures: totals => as_totals, causes => as_causes);

struct Tab {
    label: &'static str,
    href: String,
    count: Capped,
    class: &'static str,
    here: bool,
}

impl Failures {
    fn is_tenant(&self, name: &str) -> bool {
        self.asked.tenant.as_deref() == Some(name)
    }

    fn is_job(&self, name: &str) -> bool {
        self.asked.job.as_deref() == Some(name)
    }

    fn is_discarded(&self) -> bool {
        self.asked.standing == Standing::Discarded
    }

    fn begun(&self, operation: &Operation) -> Commas {
        Commas(operation.done + operation.left)
    }

    fn causes_word(&self) -> &'static str {
        if self.causes.len() == 1 { "cause" } else { "causes" }
    }

    fn reasons(&self) -> [Reason; 7] {
        Reason::ALL
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
    /// The value of its box.
    group: String,
    last_href: String,
    bars: Bars,
}

pub async fn index(State(web): State<Web>, session: Session, headers: HeaderMap, Query(pairs): Query<Pairs>) -> Result<Response> {
    let done = one(&pairs, "done");
    let asked = Asked::new(&pairs);
    let board = web.glance(done).await?;
    let mut tx = web.app.store.read().await?;
    let zone = match &asked.tenant {
        Some(name) => need(&mut tx, &session, name).await?.zone,
        None => Tz::UTC,
    };
    let own = session.who.tenant;
    let lines: Vec<&TenantLine> = board.seen_by(own).collect();
    let targets = web.app.targets(&mut tx, asked.standing, &asked.which(board.at), &session.who).await?;
    let Found { dead, causes, cut } = find(&mut tx, targets, &lines, board.at).await?;
    let chosen = lines.iter().find(|line| Some(&line.tenant.name) == asked.tenant.as_ref()).map(|line| line.tenant.id);
    let seen = |tenant: Id| chosen.or(own).is_none_or(|only| only == tenant);
    let counted = |counts: &[(Id, u64)]| counts.iter().filter(|(tenant, _)| seen(*tenant)).map(|(_, n)| n).sum::<u64>();
    let expiring: Vec<_> = web.app.expiring(&mut tx, &session.who).await?.into_iter().map(|(tenant, n)| (tenant.id, n)).collect();
    let (expiring, discarded) = (counted(&expiring), counted(&tx.discarded_by_tenant(board.at).await?));
    let mut operations = tx.open_operations().await?;
    operations.retain(|operation| own.is_none_or(|own| own == operation.tenant));
    let page = Failures {
        shell: web.shell_with(&session, &board, zone, done).at(Place::Failures, &[], "Failures"),
        here: asked.address("/failures").to_string(),
        dead: Capped::at(dead, COUNT_CAP),
        tenants: lines.iter().filter(|line| !line.dead.is_zero()).map(|line| line.tenant.name.clone()).collect(),
        jobs: jobs_of(&lines, &asked),
        tabs: tabs(&asked, [board.dead(chosen.or(own)).n, expiring, discarded]),
        chips: asked.chips(),
        asked,
        causes,
        cut,
        expiring,
        operations,
    };
    fragment::answer(&page, &headers)
}

/// Names of jobs to choose from; one that was removed stands there when it was asked for.
fn jobs_of(lines: &[&TenantLine], asked: &Asked) -> Vec<String> {
    let line = lines.iter().find(|line| Some(&line.tenant.name) == asked.tenant.as_ref());
    let mut names: Vec<String> = line.iter().flat_map(|line| &line.jobs).map(|job| job.job.spec.name.clone()).collect();
    names.extend(asked.job.clone().filter(|job| !names.contains(job)));
    names
}

fn tabs(asked: &Asked, counts: [u64; 3]) -> Vec<Tab> {
    let labels = [("Dead", "red"), ("Expiring", "amber"), ("Discarded, can be undone", "")];
    let tab = |((standing, (label, class)), n): ((Standing, (&'static str, &'static str)), u64)| Tab {
        label,
        href: Asked { standing, ..asked.clone() }.address("/failures").to_string(),
        count: Capped::at(n, COUNT_CAP),
        class: if n == 0 { "" } else { class },
        here: asked.standing == standing,
    };
    Standing::ALL.into_iter().zip(labels).zip(counts).map(tab).collect()
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

/// What a filter finds.
struct Found {
    /// Runs, of all causes.
    dead: u64,
    /// The largest first, [`CAUSES`] at most.
    causes: Vec<Cause>,
    cut: bool,
}

/// Tenants with many dead runs first: when those that are left have fewer in all than the last cause that is listed, none of
/// theirs can be listed, and counting does.
async fn find(tx: &mut Tx, targets: Vec<Target>, lines: &[&TenantLine], now: Timestamp) -> Result<Found> {
    let mut counted = Vec::with_capacity(targets.len());
    for target in targets {
        let line = lines.iter().find(|line| line.tenant.id == target.tenant.id).copied();
        // Without a filter the board has counted them.
        let n = match line.filter(|_| target.query == DeadQuery::default()) {
            Some(line) => line.dead.n,
            None => tx.dead_by_job(target.tenant.id, &target.query, now).await?.iter().map(|of| of.count).sum(),
        };
        counted.push((n, target, line));
    }
    counted.retain(|(n, ..)| *n > 0);
    counted.sort_by_key(|(n, ..)| std::cmp::Reverse(*n));
    let dead = counted.iter().map(|(n, ..)| n).sum();
    let (mut causes, mut cut): (Vec<Cause>, bool) = (Vec::new(), false);
    for (n, target, line) in &counted {
        if causes.get(CAUSES - 1).is_some_and(|last| last.count >= *n) {
            cut = true;
            break;
        }
        let found = causes_of(tx, target, *line, now).await?;
        cut |= found.len() >= CAUSES;
        causes.extend(found);
        causes.sort_by_key(|cause| std::cmp::Reverse((cause.count, cause.last_at)));
        cut |= causes.len() > CAUSES;
        causes.truncate(CAUSES);
    }
    Ok(Found { dead, causes, cut })
}

async fn causes_of(tx: &mut Tx, target: &Target, line: Option<&TenantLine>, now: Timestamp) -> Result<Vec<Cause>> {
    let since = Timestamp(now.0 - BARS * HOUR);
    let deaths = tx.deaths(target.tenant.id, since, HOUR).await?;
    let found = tx.failures(target.tenant.id, &target.query, now).await?;
    let mut names: HashMap<Id, String> =
        line.iter().flat_map(|line| &line.jobs).map(|job| (job.job.id, job.job.spec.name.clone())).collect();
    if found.iter().any(|cause| !names.contains_key(&cause.job)) {
        names = tx.job_names().await?.into_iter().map(|(id, _, name)| (id, name)).collect();
    }
    let tenant = &target.tenant.name;
    let discarded = if target.query.discarded { "?state=discarded" } else { "" };
    let cause = |found: crate::store::dead::Failures| Cause {
        tenant: tenant.clone(),
        job: names.get(&found.job).cloned().unwrap_or_else(|| found.job.to_string()),
        message: words::first_line(found.last.message.as_deref().unwrap_or("no message")).to_owned(),
        reason: reason(&found.last),
        count: found.count,
        first_at: found.first_at,
        last_at: found.last_at,
        href: format!("/t/{tenant}/failures/{}{discarded}", found.print),
        group: format!("{tenant}.{}", found.print),
        last_href: format!("/t/{tenant}/runs/{}", found.last.id),
        bars: Bars {
            counts: (0..BARS.unsigned_abs()).map(|hour| deaths.get(&(found.print, hour)).copied().unwrap_or(0)).collect(),
            window: "24 h".into(),
        },
    };
    Ok(found.into_iter().map(cause).collect())
}

pub fn reason(run: &Run) -> String {
    match &run.state {
        RunState::Dead { reason, .. } => words::reason(*reason, run.failed, run.lost),
        state => state.word().to_owned(),
    }
}
