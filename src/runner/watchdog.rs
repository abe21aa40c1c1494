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
use crate::domain::silence::Due;
use crate::error::Result;
use crate::id::Id;
use crate::store::Tx;
use crate::store::health::{JobHealth, LastEnds};

const EVERY: Duration = Duration::from_secs(5);
/// Without a commit of this node, what was read is believed so long: another node may have committed.
const BELIEVED: Duration = Duration::from_secs(30);
/// Counters of a minute are added until it is over, on any node's clock.
const COUNTED: Duration = Duration::from_secs(60);

/// What was due while Windlass was down has so long, and the time of an attempt, to be made up for.
const BEGINNING: Duration = Duration::from_secs(120);

/// What was read last. An idle server is judged by it, and asks nothing.
#[derive(Default)]
pub(super) struct Seen {
    /// When this node began to judge.
    began: Option<Timestamp>,
    /// By job: what its schedules promise after an instant. Cron is not asked again every 5 s.
    promised: HashMap<Id, (Timestamp, Id, Option<Due>)>,
    read: Option<Read>,
    standing: HashMap<Id, JobHealth>,
    probes: HashMap<Id, Probe>,
    retrying: HashMap<Id, String>,
    ends: HashMap<Id, LastEnds>,
    /// When, as [`Read::uptime`], and what moves in the backlogs that are not empty; whether they outgrow their runs.
    flowed: Option<Duration>,
    flows: HashMap<Id, (Option<Flow>, bool)>,
}

#[derive(Debug, Clone, Copy)]
struct Read {
    at: Timestamp,
    /// On the clock that nobody sets.
    uptime: Duration,
    /// Of this node, before it.
    commits: u64,
}

pub(super) async fn tick(context: Arc<Context>, seen: Arc<Mutex<Seen>>) -> Result<Duration> {
    let (now, mut seen) = (context.clock.now(), seen.lock().await);
    let (jobs, commits) = (context.definitions.jobs(), *context.store.signals().changes().borrow());
    // After an outage, or a sleep, what was due meanwhile has a while to be made up for, as at the start.
    if seen.read.is_some_and(|read| now.since(read.at) > BELIEVED * 2) {
        seen.began = None;
    }
    let uptime = context.clock.uptime();
    if seen.read.is_none_or(|read| read.commits != commits || uptime.saturating_sub(read.uptime) >= BELIEVED) {
        seen.read(&context, &jobs, Read { at: now, uptime, commits }).await?;
    }
    let began = *seen.began.get_or_insert(now);
    let mut changed = Vec::new();
    for known in &jobs {
        let job = known.job.id;
        let facts = seen.facts(&context, known, began);
        let (health, why) = judge(&facts, now);
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
    async fn read(&mut self, context: &Context, jobs: &[Arc<Known>], read: Read) -> Result<()> {
        let mut tx = context.store.read().await?;
        (self.standing, self.retrying) = (tx.healths().await?, tx.retrying().await?);
        self.probes = tx.probes().await?.into_iter().map(|probe| (probe.job, probe)).collect();
        let ended: HashSet<Id> = match self.read {
            // A clock that was set back has ended less since.
            Some(before) => tx.ended_since(before.at.min(read.at).minus(COUNTED)).await?.into_iter().collect(),
            None => HashSet::new(),
        };
        // What died may be discarded, and brought back: no counter tells of that.
        let rested = self.flowed.is_none_or(|at| read.uptime.saturating_sub(at) >= BELIEVED);
        let moves = |ends: &LastEnds| rested && (ends.dead_in_a_row > 0 || ends.settled);
        let unread = |job: &Id| ended.contains(job) || self.ends.get(job).is_none_or(moves);
        let unread: Vec<Id> = jobs.iter().map(|known| known.job.id).filter(unread).collect();
        let mut ends = tx.last_ends(&unread).await?;
        self.ends.extend(unread.into_iter().map(|job| (job, ends.remove(&job).unwrap_or_default())));
        if rested {
            self.flows = flows(&mut tx, self.probes.values(), read.at).await?;
            self.flowed = Some(read.uptime);
        }
        self.read = Some(read);
        Ok(())
    }

    fn facts(&mut self, context: &Context, known: &Known, began: Timestamp) -> Facts {
        let job = &known.job;
        let ends = self.ends.get(&job.id).cloned().unwrap_or_default();
        let (flow, outgrown) = self.flows.get(&job.id).copied().unwrap_or_default();
        let due = self.due(context, known, &ends, began);
        Facts {
            paused: job.paused_at.is_some(),
            dead_in_a_row: ends.dead_in_a_row,
            last_error: ends.last_error,
            last_success_at: ends.last_success_at,
            due,
            probe: self.probes.get(&job.id).cloned(),
            lag_limit: job.spec.backlog().and_then(|backlog| backlog.lag_limit).map(|limit| limit.0),
            flow,
            outgrown,
            retrying: self.retrying.get(&job.id).cloned(),
        }
    }

    /// The success that is to be expected first. What changed the job, a resume too, begins its time anew.
    fn due(&mut self, context: &Context, known: &Known, ends: &LastEnds, began: Timestamp) -> Option<Due> {
        let (job, spec) = (&known.job, &known.job.spec);
        let since = ends.last_success_at.unwrap_or(job.updated_at).max(job.updated_at);
        let attempt = spec.time_limit.0;
        let mut due = match spec.success_due {
            SuccessDue::Within(span) => Some(Due::within(span.0, since)),
            SuccessDue::Auto => {
                [self.promise(context, known, since), self.waits(known, ends)].into_iter().flatten().min_by_key(|due| due.by)
            }
        }?;
        // One that was silent before the start is so until it succeeds.
        if self.standing.get(&job.id).is_none_or(|standing| standing.health != Health::Silent) {
            due.by = due.by.max(began.plus(BEGINNING.max(attempt)));
        }
        Some(due)
    }

    /// What its schedules promise.
    fn promise(&mut self, context: &Context, known: &Known, since: Timestamp) -> Option<Due> {
        let (job, spec) = (&known.job, &known.job.spec);
        if let Some((at, revision, due)) = self.promised.get(&job.id)
            && (*at, *revision) == (since, job.revision)
        {
            return due.clone();
        }
        let zone = context.definitions.tenant(job.tenant).map_or(chrono_tz::Tz::UTC, |tenant| tenant.zone);
        let due = spec.triggers.iter().filter_map(|trigger| {
            let written = trigger.schedule()?;
            let jitter = written.jitter.map_or(Duration::ZERO, |jitter| jitter.0);
            Due::of_schedule(&written.of(job.id, zone).ok()?, since, spec.time_limit.0 + jitter)
        });
        let due = due.min_by_key(|due| due.by);
        self.promised.insert(job.id, (since, job.revision, due.clone()));
        due
    }

    /// Work that waits at its target promises a run that does some of it.
    fn waits(&self, known: &Known, ends: &LastEnds) -> Option<Due> {
        let spec = known.job.spec.backlog()?;
        let probe = self.probes.get(&known.job.id)?;
        // Below its threshold nothing starts.
        let size = probe.size.filter(|size| *size > 0 && probe.working)?;
        let signs = [probe.done_at, ends.last_work_at, probe.clear_at, Some(known.job.updated_at)];
        let since = signs.into_iter().flatten().max()?;
        Some(Due::of_backlog(spec, size, since, known.job.spec.time_limit.0))
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
