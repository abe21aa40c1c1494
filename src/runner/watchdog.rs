//! Judges how every job does.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::Context;
use super::definitions::Known;
use crate::clock::Timestamp;
use crate::domain::backlog::Probe;
use crate::domain::health::{Facts, Health, judge};
use crate::domain::job::SuccessDue;
use crate::domain::rate::{Flow, WINDOW, flow, outgrown};
use crate::error::Result;
use crate::id::Id;
use crate::store::Tx;
use crate::store::health::{JobHealth, LastEnds};

const EVERY: Duration = Duration::from_secs(5);
/// Without a commit of this node, what was read is believed so long: another node may have committed.
const BELIEVED: Duration = Duration::from_secs(30);
/// Counters of a minute are added until it is over, on any node's clock.
const COUNTED: Duration = Duration::from_secs(60);

/// What was read last. An idle server is judged by it, and asks nothing.
#[derive(Default)]
pub(super) struct Seen {
    /// When, and after how many commits.
    read: Option<(Timestamp, u64)>,
    standing: HashMap<Id, JobHealth>,
    probes: HashMap<Id, Probe>,
    retrying: HashMap<Id, String>,
    ends: HashMap<Id, LastEnds>,
    /// When, and what moves in the backlogs that are not empty; whether they outgrow their runs.
    flowed: Option<Timestamp>,
    flows: HashMap<Id, (Option<Flow>, bool)>,
}

pub(super) async fn tick(context: Arc<Context>, seen: Arc<Mutex<Seen>>) -> Result<Duration> {
    let (now, mut seen) = (context.clock.now(), seen.lock().await);
    let (jobs, commits) = (context.definitions.jobs(), *context.store.signals().changes().borrow());
    if seen.read.is_none_or(|(at, before)| before != commits || now.since(at) >= BELIEVED) {
        seen.read(&context, &jobs, commits, now).await?;
    }
    let mut changed = Vec::new();
    for known in &jobs {
        let job = known.job.id;
        let (health, why) = judge(&seen.facts(known), now);
        let before = seen.standing.get(&job);
        if before.is_some_and(|before| before.health == health && before.why == why) {
            continue;
        }
        let since = before.filter(|before| before.health == health).map_or(now, |before| before.since);
        tell(known, before, health, &why);
        changed.push(JobHealth { job, tenant: known.job.tenant, health, why, since });
    }
    if !changed.is_empty() {
        let mut tx = context.store.begin().await?;
        tx.put_healths(&changed).await?;
        tx.commit().await?;
    }
    Ok(EVERY)
}

impl Seen {
    /// A handful of statements, however many jobs there are. Ends are read of the jobs that had some since the last time.
    async fn read(&mut self, context: &Context, jobs: &[Arc<Known>], commits: u64, now: Timestamp) -> Result<()> {
        let mut tx = context.store.read().await?;
        (self.standing, self.retrying) = (tx.healths().await?, tx.retrying().await?);
        self.probes = tx.probes().await?.into_iter().map(|probe| (probe.job, probe)).collect();
        let ended: HashSet<Id> = match self.read {
            Some((at, _)) => tx.ended_since(at.minus(COUNTED)).await?.into_iter().collect(),
            None => HashSet::new(),
        };
        let unread = |job: &Id| ended.contains(job) || !self.ends.contains_key(job);
        let unread: Vec<Id> = jobs.iter().map(|known| known.job.id).filter(unread).collect();
        let mut ends = tx.last_ends(&unread).await?;
        self.ends.extend(unread.into_iter().map(|job| (job, ends.remove(&job).unwrap_or_default())));
        if self.flowed.is_none_or(|at| now.since(at) >= BELIEVED) {
            self.flows = flows(&mut tx, self.probes.values(), now).await?;
            self.flowed = Some(now);
        }
        self.read = Some((now, commits));
        Ok(())
    }

    fn facts(&self, known: &Known) -> Facts {
        let job = &known.job;
        let ends = self.ends.get(&job.id).cloned().unwrap_or_default();
        let (flow, outgrown) = self.flows.get(&job.id).copied().unwrap_or_default();
        Facts {
            paused: job.paused_at.is_some(),
            dead_in_a_row: ends.dead_in_a_row,
            last_error: ends.last_error,
            last_success_at: ends.last_success_at,
            success_due: success_due(known),
            probe: self.probes.get(&job.id).cloned(),
            lag_limit: job.spec.backlog().and_then(|backlog| backlog.lag_limit).map(|limit| limit.0),
            flow,
            outgrown,
            retrying: self.retrying.get(&job.id).cloned(),
        }
    }
}

/// What moves in backlogs that are not empty: two statements, however many there are.
async fn flows(tx: &mut Tx, probes: impl Iterator<Item = &Probe>, now: Timestamp) -> Result<HashMap<Id, (Option<Flow>, bool)>> {
    let standing: Vec<_> = probes.filter_map(|probe| Some((probe, probe.size.filter(|n| *n > 0)?, probe.sampled_at?))).collect();
    let (since, middle) = (now.minus(WINDOW), now.minus(WINDOW / 2));
    let asked: Vec<_> = standing.iter().flat_map(|(probe, ..)| [(probe.job, since), (probe.job, middle)]).collect();
    let levels = tx.levels(&asked).await?;
    let tallies = tx.tally_since(since).await?;
    let flow_of = |((probe, size, at), levels): (&(&Probe, u64, Timestamp), &[Option<u64>])| {
        let tally = tallies.get(&(probe.tenant, probe.job)).copied().unwrap_or_default();
        let known = [(since, levels[0]), (middle, levels[1]), (*at, Some(*size))];
        let sizes: Vec<_> = known.into_iter().filter_map(|(at, size)| Some((at, size?))).collect();
        let flow = flow(tally.done, Timestamp(since.minute() * 60_000), &sizes, now);
        let grew = matches!(sizes.as_slice(), [first, middle, last] if outgrown([first.1, middle.1, last.1]));
        (probe.job, (flow, grew && tally.succeeded > 0))
    };
    Ok(standing.iter().zip(levels.chunks(2)).map(flow_of).collect())
}

/// Only a change of the word is news; the sentence follows the numbers.
fn tell(known: &Known, before: Option<&JobHealth>, health: Health, why: &str) {
    if before.is_some_and(|before| before.health == health) || before.is_none() && health == Health::Ok {
        return;
    }
    let (tenant, job, word) = (&known.job.tenant_name, &known.job.spec.name, health.word());
    match health {
        Health::Ok => tracing::info!(tenant.name = %tenant, job.name = %job, "the job is ok again"),
        // On purpose: nobody needs to look.
        Health::Paused => tracing::info!(tenant.name = %tenant, job.name = %job, health = word, "the job is paused: {why}"),
        _ => tracing::warn!(tenant.name = %tenant, job.name = %job, health = word, "the job is {word}: {why}"),
    }
}

/// Since when a success is to be expected and how often. `auto` asks the schedules with the later issue of alarms.
fn success_due(known: &Known) -> Option<(Timestamp, Duration)> {
    match known.job.spec.success_due {
        SuccessDue::Within(span) => Some((known.job.created_at, span.0)),
        SuccessDue::Auto => None,
    }
}
