//! What waits for a person, worst first, each with the button that mends it.

use super::view::{Action, Need};
use crate::domain::health::Health;
use crate::error::Result;
use crate::id::Id;
use crate::store::Tx;
use crate::store::dead::{DeadQuery, Failures};
use crate::web::board::{Board, JobLine, TenantLine};
use crate::web::show::number::{commas, plural};
use crate::web::show::pill::Pill;
use crate::web::show::words::first_line;

/// Rows on the overview; what is beyond has its own pages.
const ROWS: usize = 8;
/// Tenants whose failures are looked into.
const TENANTS: usize = 5;

/// The rows, and how many more there are.
pub async fn list(tx: &mut Tx, board: &Board, own: Option<Id>) -> Result<(Vec<Need>, usize)> {
    let mut needs = Vec::new();
    let mut dead: Vec<&TenantLine> = board.seen_by(own).filter(|line| !line.dead.is_zero()).collect();
    dead.sort_by_key(|line| std::cmp::Reverse(line.dead.n));
    for line in dead.iter().take(TENANTS) {
        for cause in tx.failures(line.tenant.id, &DeadQuery::default(), board.at).await?.iter().take(ROWS) {
            needs.push(of_cause(line, cause));
        }
    }
    // Failing jobs are there already, with the cause of their dead runs.
    let told = |line: &TenantLine, job: &JobLine| job.health == Health::Failing && !line.dead.is_zero();
    let jobs = board.seen_by(own).flat_map(|line| line.jobs.iter().map(move |job| (line, job)));
    let mut sick: Vec<(&TenantLine, &JobLine)> =
        jobs.filter(|(line, job)| (job.health.needs_a_person() || job.health == Health::Lagging) && !told(line, job)).collect();
    sick.sort_by_key(|(_, job)| std::cmp::Reverse(job.health));
    needs.extend(sick.into_iter().map(|(line, job)| of_job(line, job)));
    let more = needs.len().saturating_sub(ROWS) + dead.len().saturating_sub(TENANTS);
    needs.truncate(ROWS);
    Ok((needs, more))
}

fn of_cause(line: &TenantLine, cause: &Failures) -> Need {
    let tenant = &line.tenant.name;
    let job = line.jobs.iter().find(|job| job.job.id == cause.job).map_or("a removed job", |job| job.job.spec.name.as_str());
    let run = format!("/t/{tenant}/runs/{}", cause.last.id);
    let message = first_line(cause.last.message.as_deref().unwrap_or("no message"));
    let (href, why, action) = if cause.count == 1 {
        (run.clone(), message.to_owned(), Action::Post { href: format!("{run}/rerun"), label: "Re-run" })
    } else {
        let href = format!("/t/{tenant}/failures/{}", cause.print);
        let why = format!("{} dead {} of one cause: {message}", commas(cause.count), plural(cause.count, "run", "runs"));
        (href.clone(), why, Action::Open { href, label: "Review" })
    };
    Need { pill: Pill::dead(), title: format!("{tenant} / {job}"), href, why, at: Some(cause.last_at), action }
}

fn of_job(line: &TenantLine, job: &JobLine) -> Need {
    let href = format!("/t/{}/jobs/{}", line.tenant.name, job.job.spec.name);
    Need {
        pill: Pill::health(job.health),
        title: format!("{} / {}", line.tenant.name, job.job.spec.name),
        href: href.clone(),
        why: job.why.clone(),
        at: job.since,
        action: Action::Open { href, label: "Open job" },
    }
}
