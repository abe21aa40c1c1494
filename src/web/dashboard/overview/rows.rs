//! Tenants as rows: the worst health of their jobs, the sum of their backlogs; sorted and narrowed as asked.

use std::cmp::Reverse;

use super::filter::{Filter, Sort};
use super::view::{EmptyIn, TenantRow};
use crate::domain::health::Health;
use crate::web::board::{JobLine, TenantLine};
use crate::web::show::chart::Spark;

/// Its worst job; a paused one counts only when all are paused.
pub fn worst(line: &TenantLine) -> Option<&JobLine> {
    let awake = line.jobs.iter().filter(|job| job.health != Health::Paused).max_by_key(|job| (job.health, job.lag));
    awake.or(line.jobs.first())
}

fn health(line: &TenantLine) -> Health {
    worst(line).map_or(Health::Ok, |job| job.health)
}

pub fn has_health(line: &TenantLine, wanted: Option<&str>) -> bool {
    let health = health(line);
    match wanted {
        None => true,
        Some("person") => health.needs_a_person() || !line.dead.is_zero(),
        Some("ok") => health == Health::Ok && line.dead.is_zero(),
        Some(word) => health.word() == word,
    }
}

fn sum(line: &TenantLine, of: impl Fn(&JobLine) -> Option<f64>) -> Option<f64> {
    line.jobs.iter().filter_map(of).reduce(|a, b| a + b)
}

fn backlog(line: &TenantLine) -> Option<u64> {
    line.jobs.iter().filter_map(|job| job.backlog).reduce(|a, b| a + b)
}

pub fn sorted<'a>(all: &[&'a TenantLine], filter: &Filter) -> Vec<&'a TenantLine> {
    let mut lines: Vec<&TenantLine> = all
        .iter()
        .copied()
        .filter(|line| {
            has_health(line, filter.health.as_deref())
                && (filter.q.is_empty() || line.tenant.name.contains(&filter.q.to_lowercase()))
        })
        .collect();
    let lag = |line: &TenantLine| line.jobs.iter().filter_map(|job| job.lag).max();
    match filter.sort {
        Sort::Name => {}
        Sort::Health => lines.sort_by_key(|line| Reverse((health(line), !line.dead.is_zero(), lag(line)))),
        Sort::Backlog => lines.sort_by_key(|line| Reverse(backlog(line))),
        Sort::Age => lines.sort_by_key(|line| Reverse(lag(line))),
        Sort::RateIn => {
            lines.sort_by(|a, b| sum(b, |job| job.rate_in).unwrap_or(-1.0).total_cmp(&sum(a, |job| job.rate_in).unwrap_or(-1.0)))
        }
    }
    lines
}

pub fn row(line: &TenantLine, spark: Spark) -> TenantRow {
    let (health, backlog) = (health(line), backlog(line));
    let (rate_in, rate_out) = (sum(line, |job| job.rate_in), sum(line, |job| job.rate_out));
    TenantRow {
        name: line.tenant.name.clone(),
        health,
        why: worst(line).map(|job| job.why.clone()).unwrap_or_default(),
        backlog,
        spark,
        lag: line.jobs.iter().filter(|job| job.backlog.is_some_and(|n| n > 0)).filter_map(|job| job.lag).max(),
        rate_in,
        rate_out,
        empty_in: EmptyIn::judge(backlog, rate_in, rate_out, health),
        running: line.jobs.iter().map(|job| job.running).sum(),
        retrying: line.jobs.iter().map(|job| job.retrying).sum(),
        dead: line.dead,
    }
}
