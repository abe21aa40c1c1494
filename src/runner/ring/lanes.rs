//! Whose turn it is among the jobs of one tenant. Priorities take turns by age, one point being ten seconds of it; within one the
//! job is next that has had least worker time, so that long runs leave short ones their share (ADR 35).

use std::collections::{BTreeMap, HashMap};

use super::shares::Shares;
use crate::clock::Timestamp;
use crate::id::Id;

/// A priority gives way to one that is lower by one for so long, and not longer.
const AGE_MS: i64 = 10_000;

#[derive(Debug, Default)]
pub struct Lanes {
    levels: BTreeMap<i32, Level>,
    /// Of each job that was ever there: its priority, and since when it waits for a turn.
    places: HashMap<Id, (i32, Timestamp)>,
}

/// Jobs of one priority.
#[derive(Debug)]
struct Level {
    shares: Shares,
    /// When one of them had a turn, or there was one again.
    since: Timestamp,
}

impl Level {
    /// All age alike. Of equals, who waits longer.
    fn rank(&self, priority: i32) -> (i64, Timestamp) {
        (self.since.0.saturating_sub(i64::from(priority) * AGE_MS), self.since)
    }
}

impl Lanes {
    /// The job has got work.
    pub fn add(&mut self, job: Id, priority: i32, now: Timestamp) {
        let standing = self.places.get(&job).copied();
        if let Some((before, _)) = standing
            && let Some(level) = self.levels.get_mut(&before)
        {
            if before == priority && level.shares.contains(job) {
                return;
            }
            level.shares.remove(job);
        }
        let level = self.levels.entry(priority).or_insert_with(|| Level { shares: Shares::default(), since: now });
        if level.shares.is_empty() {
            level.since = now;
        }
        level.shares.add(job);
        self.places.insert(job, (priority, now));
    }

    /// It has no work, or can have nothing now.
    pub fn remove(&mut self, job: Id) {
        if let Some(level) = self.level(job) {
            level.shares.remove(job);
        }
    }

    /// It can have something again, and waits as long as it did.
    pub fn put_back(&mut self, job: Id) {
        if let Some(level) = self.level(job) {
            level.shares.add(job);
        }
    }

    /// The job that is next, and since when it waits for a turn.
    pub fn turn(&mut self) -> Option<(Id, Timestamp)> {
        let waiting = self.levels.iter_mut().filter(|(_, level)| !level.shares.is_empty());
        let (_, level) = waiting.min_by_key(|(priority, level)| level.rank(**priority))?;
        let job = level.shares.least()?;
        Some((job, self.places.get(&job).map_or(level.since, |(_, since)| *since)))
    }

    pub fn is_empty(&self) -> bool {
        self.levels.values().all(|level| level.shares.is_empty())
    }

    /// It has a turn, and is charged for each of so many runs.
    pub fn take(&mut self, job: Id, charge: i128, runs: u32, now: Timestamp) {
        if let Some((_, since)) = self.places.get_mut(&job) {
            *since = now;
        }
        if let Some(level) = self.level(job) {
            level.since = now;
            level.shares.take(job, charge, runs);
        }
    }

    pub fn charge(&mut self, job: Id, more: i128) {
        if let Some(level) = self.level(job) {
            level.shares.charge(job, more);
        }
    }

    fn level(&mut self, job: Id) -> Option<&mut Level> {
        self.levels.get_mut(&self.places.get(&job)?.0)
    }
}
