//! Whose turn it is: deficit round robin over tenants, in worker time by weight, and over a tenant's jobs by priority and age,
//! those of one priority in worker time too.
//! In memory; what it knows of work are hints from commits, and what it counts are the runs this node has.
//!
//! What a tenant has had is kept instead of what it is owed: who has had least is next, and a run is charged what runs of its
//! job take on average before it begins, and what it took when it has ended (ADR 25, ADR 35).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::domain::admission::{Bounds, Load, Need, room};
use crate::id::Id;

mod lanes;
mod shares;

use lanes::Lanes;
use shares::Shares;

/// What a run of a job is taken for that has not run here yet.
const FIRST: Duration = Duration::from_millis(100);
/// Below this a run costs this: claiming and recording it cost something too.
const LEAST: Duration = Duration::from_micros(100);
/// Worker time is kept in so many parts of a microsecond, so that a share of it by weight is a whole number.
const PARTS: i128 = 1_000;
/// When a run has waited so long for memory, what becomes free is kept for it.
const PATIENCE: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_secs(60);
/// So many turns each tenant has at least of the slots that are free at a time.
const TURNS: u32 = 4;

#[derive(Debug, Default)]
pub struct Ring {
    /// Tenants that may have work, by the worker time that they have had.
    turn: Shares,
    /// Jobs that may have work, by tenant.
    lanes: HashMap<Id, Lanes>,
    running: HashMap<Of, u32>,
    /// Of jobs that have run here.
    mean: HashMap<Id, Duration>,
    /// Tenants that may not start more before then.
    resting: HashMap<Id, Timestamp>,
    /// The job that memory is kept for, and MiB.
    kept: Option<(Id, u32)>,
}

/// Whose runs are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Of {
    Tenant(Id),
    Job(Id),
    Class(Arc<str>),
}

/// What the ring is told of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Of its tenant.
    pub weight: u32,
    /// Of the job and its class together.
    pub priority: i32,
    /// When it is one with a limit.
    pub class: Option<Arc<str>>,
    pub bounds: Bounds,
}

/// What the node has for more runs.
#[derive(Debug, Clone, Copy)]
pub struct Free {
    pub slots: u32,
    /// MiB, and how many there are in all.
    pub memory: u32,
    pub budget: u32,
}

/// Runs to claim of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pick {
    pub tenant: Id,
    pub job: Id,
    pub runs: u32,
    pub rule: Rule,
    /// For each of them.
    charge: i128,
}

/// What is left of a choice while it is made.
struct Round<R> {
    free: Free,
    /// Runs that one turn takes.
    quantum: u32,
    now: Timestamp,
    rule: R,
    rules: HashMap<Id, Rule>,
    picks: Vec<Pick>,
    places: HashMap<Id, usize>,
    /// Tenants, and jobs with their tenant, that can have nothing now; they come back when it is made.
    aside: Vec<Id>,
    shut: Vec<(Id, Id)>,
}

impl Ring {
    /// The job has got work.
    pub fn add(&mut self, tenant: Id, job: Id, priority: i32, now: Timestamp) {
        self.lanes.entry(tenant).or_default().add(job, priority, now);
        self.turn.add(tenant);
    }

    /// The job has no work left, as far as a claim saw.
    pub fn empty(&mut self, tenant: Id, job: Id) {
        self.kept.take_if(|(kept, _)| *kept == job);
        if let Some(lanes) = self.lanes.get_mut(&tenant) {
            lanes.remove(job);
            if lanes.is_empty() {
                self.turn.remove(tenant);
            }
        }
    }

    /// The tenant may start nothing more before then.
    pub fn rest(&mut self, tenant: Id, until: Timestamp) {
        self.resting.insert(tenant, until);
    }

    /// When the first of the resting tenants may start again.
    pub fn rests_until(&mut self, now: Timestamp) -> Option<Timestamp> {
        // No rest is longer than a minute: one that is was made before the clock was set back.
        self.resting.retain(|_, until| *until > now && until.since(now) <= MINUTE);
        self.resting.values().min().copied()
    }

    /// Runs to claim, as many as there is room for: turn by turn for who has had least; one run a turn, or a few where there is
    /// room for many of everybody's. They count and are charged from now on.
    pub fn choose(&mut self, free: Free, now: Timestamp, rule: impl Fn(Id, Id) -> Rule) -> Vec<Pick> {
        let turns = u32::try_from(self.turn.len()).unwrap_or(u32::MAX).saturating_mul(TURNS).max(1);
        let mut round = Round {
            free,
            quantum: (free.slots / turns).max(1),
            now,
            rule,
            rules: HashMap::new(),
            picks: Vec::new(),
            places: HashMap::new(),
            aside: Vec::new(),
            shut: Vec::new(),
        };
        while round.free.slots > 0
            && let Some(tenant) = self.turn.least()
        {
            match self.next_lane(tenant, &mut round) {
                Some((job, room)) => self.take(tenant, job, room.min(round.quantum), &mut round),
                None => {
                    self.turn.remove(tenant);
                    round.aside.push(tenant);
                }
            }
        }
        for (tenant, job) in round.shut {
            self.lanes.entry(tenant).or_default().put_back(job);
        }
        round.aside.into_iter().for_each(|tenant| self.turn.add(tenant));
        round.picks
    }

    /// The tenant's job whose turn it is of those that may start runs; and how many.
    fn next_lane<R: Fn(Id, Id) -> Rule>(&mut self, tenant: Id, round: &mut Round<R>) -> Option<(Id, u32)> {
        while let Some((job, since)) = self.lanes.get_mut(&tenant)?.turn() {
            let rule = round.rules.entry(job).or_insert_with(|| (round.rule)(tenant, job)).clone();
            let is_kept = self.kept.is_some_and(|(kept, _)| kept == job);
            let kept = self.kept.map_or(0, |(_, memory)| if is_kept { 0 } else { memory });
            let resting = self.resting.get(&tenant).is_some_and(|until| *until > round.now && until.since(round.now) <= MINUTE);
            let load = Load {
                tenant: self.running_of(Of::Tenant(tenant)),
                job: self.running_of(Of::Job(job)),
                class: rule.class.clone().map_or(0, |class| self.running_of(Of::Class(class))),
                starts: if resting { u32::MAX } else { 0 },
                memory: round.free.memory.saturating_sub(kept),
                slots: round.free.slots,
            };
            let unmet = match room(&rule.bounds, &load) {
                Ok(room) => return Some((job, room)),
                Err(unmet) => unmet,
            };
            if let Need::Memory { needs, .. } = unmet {
                if self.kept.is_none() && needs <= round.free.budget && round.now.since(since) >= PATIENCE {
                    self.kept = Some((job, needs));
                }
            } else if is_kept {
                self.kept = None;
            }
            if unmet.is_of_tenant() {
                return None;
            }
            if let Some(lanes) = self.lanes.get_mut(&tenant) {
                lanes.remove(job);
                round.shut.push((tenant, job));
            }
        }
        None
    }

    fn take<R: Fn(Id, Id) -> Rule>(&mut self, tenant: Id, job: Id, runs: u32, round: &mut Round<R>) {
        let Some(rule) = round.rules.get(&job) else { return };
        let charge = share(self.mean.get(&job).copied().unwrap_or(FIRST), rule.weight);
        self.kept.take_if(|(kept, _)| *kept == job);
        if let Some(lanes) = self.lanes.get_mut(&tenant) {
            lanes.take(job, charge, runs, round.now);
        }
        round.free.slots -= runs;
        round.free.memory = round.free.memory.saturating_sub(rule.bounds.memory.saturating_mul(runs));
        let place = *round.places.entry(job).or_insert_with(|| {
            round.picks.push(Pick { tenant, job, runs: 0, rule: rule.clone(), charge });
            round.picks.len() - 1
        });
        round.picks[place].runs += runs;
        self.count(&round.picks[place], runs);
        self.turn.take(tenant, charge, runs);
    }

    /// So many of the pick's runs were not there, or not to be had.
    pub fn missed(&mut self, pick: &Pick, runs: u32) {
        self.uncount(pick, runs);
        self.charge(pick, -(pick.charge * i128::from(runs)));
    }

    /// One of the pick's runs has ended, after so long.
    pub fn ended(&mut self, pick: &Pick, took: Duration) {
        let took = took.max(LEAST);
        let mean = self.mean.entry(pick.job).or_insert(took);
        *mean = (*mean * 7 + took) / 8;
        self.uncount(pick, 1);
        self.charge(pick, share(took, pick.rule.weight) - pick.charge);
    }

    fn charge(&mut self, pick: &Pick, more: i128) {
        self.turn.charge(pick.tenant, more);
        if let Some(lanes) = self.lanes.get_mut(&pick.tenant) {
            lanes.charge(pick.job, more);
        }
    }

    fn running_of(&self, of: Of) -> u32 {
        self.running.get(&of).copied().unwrap_or(0)
    }

    fn count(&mut self, pick: &Pick, runs: u32) {
        for of in counted(pick) {
            *self.running.entry(of).or_default() += runs;
        }
    }

    fn uncount(&mut self, pick: &Pick, runs: u32) {
        for of in counted(pick) {
            if let Some(running) = self.running.get_mut(&of) {
                *running = running.saturating_sub(runs);
                if *running == 0 {
                    self.running.remove(&of);
                }
            }
        }
    }
}

fn counted(pick: &Pick) -> impl Iterator<Item = Of> + use<> {
    let class = pick.rule.class.clone().map(Of::Class);
    [Of::Tenant(pick.tenant), Of::Job(pick.job)].into_iter().chain(class)
}

fn share(worker: Duration, weight: u32) -> i128 {
    let micros = i128::try_from(worker.max(LEAST).as_micros()).unwrap_or(i128::MAX / PARTS);
    micros * PARTS / i128::from(weight.max(1))
}

#[cfg(test)]
mod tests;
