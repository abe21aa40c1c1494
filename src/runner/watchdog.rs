//! Judges how every job does, and proves that no enabled schedule has lost its next time.

use std::sync::Arc;
use std::time::Duration;

use super::Context;
use super::definitions::Known;
use crate::clock::Timestamp;
use crate::domain::backlog::Probe;
use crate::domain::health::{Facts, Health, judge};
use crate::domain::job::SuccessDue;
use crate::error::Result;
use crate::store::health::{JobHealth, LastEnds};

const EVERY: Duration = Duration::from_secs(5);
/// A schedule this far behind was not just missed by a moment.
const OVERDUE: Duration = Duration::from_secs(120);

pub(super) async fn tick(context: Arc<Context>) -> Result<Duration> {
    let now = context.clock.now();
    let mut tx = context.store.read().await?;
    let overdue = tx.overdue_schedules(now.minus(OVERDUE)).await?;
    for trigger in overdue {
        tracing::error!(trigger.id = %trigger, "an enabled schedule has no next time, or it has passed: the scheduler is behind");
    }
    let (standing, probes, mut retrying) = (tx.healths().await?, tx.probes().await?, tx.retrying().await?);
    let mut changed = Vec::new();
    for known in context.definitions.jobs() {
        let ends = tx.last_ends(known.job.id).await?;
        let probe = probes.iter().find(|probe| probe.job == known.job.id).cloned();
        let facts = facts(&known, ends, probe, retrying.remove(&known.job.id));
        let (health, why) = judge(&facts, now);
        let before = standing.get(&known.job.id);
        if before.is_some_and(|before| before.health == health && before.why == why) {
            continue;
        }
        let since = before.filter(|before| before.health == health).map_or(now, |before| before.since);
        tell(&known, before, health, &why);
        changed.push(JobHealth { job: known.job.id, tenant: known.job.tenant, health, why, since });
    }
    drop(tx);
    if !changed.is_empty() {
        let mut tx = context.store.begin().await?;
        tx.put_healths(&changed).await?;
        tx.commit().await?;
    }
    Ok(EVERY)
}

/// Only a change of the word is news; the sentence follows the numbers.
fn tell(known: &Known, before: Option<&JobHealth>, health: Health, why: &str) {
    if before.is_some_and(|before| before.health == health) || before.is_none() && health == Health::Ok {
        return;
    }
    let (tenant, job, health) = (&known.job.tenant_name, &known.job.spec.name, health.word());
    if health == Health::Ok.word() {
        tracing::info!(tenant.name = %tenant, job.name = %job, "the job is ok again");
    } else {
        tracing::warn!(tenant.name = %tenant, job.name = %job, health, "the job is {health}: {why}");
    }
}

fn facts(known: &Known, ends: LastEnds, probe: Option<Probe>, retrying: Option<String>) -> Facts {
    let lag_limit = known.job.spec.backlog().and_then(|backlog| backlog.lag_limit).map(|limit| limit.0);
    Facts {
        paused: known.job.paused_at.is_some(),
        dead_in_a_row: ends.dead_in_a_row,
        last_error: ends.last_error,
        last_success_at: ends.last_success_at,
        success_due: success_due(known),
        probe,
        lag_limit,
        empty_in: None,
        retrying,
    }
}

/// Since when a success is to be expected and how often. `auto` asks the schedules with the later issue of alarms.
fn success_due(known: &Known) -> Option<(Timestamp, Duration)> {
    match known.job.spec.success_due {
        SuccessDue::Within(span) => Some((known.job.created_at, span.0)),
        SuccessDue::Auto => None,
    }
}
