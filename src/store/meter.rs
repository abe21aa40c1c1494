//! What has happened since this process began, counted where it is committed: for `/metrics`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::record::Finished;
use crate::clock::Timestamp;
use crate::domain::retry::{Budget, Decision};
use crate::domain::run::{Final, Reason, Run, State};
use crate::id::Id;

/// Jobs that are counted apart. Those that come after share one entry, [`OTHER`]: by arrival and not by size, so that no
/// counter ever goes back.
const JOBS: usize = 1_000;
/// Stands for all jobs beyond [`JOBS`].
pub const OTHER: (Id, Id) = (Id(0), Id(0));
/// The retry from which on retries are counted together.
const RETRIES: u32 = 10;

/// Upper bounds in seconds; what is longer is in none of them.
pub const BOUNDS: [f64; 12] = [0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 20.0, 60.0, 300.0, 1_800.0, 7_200.0];

#[derive(Debug, Default)]
pub struct Meters(Mutex<Counted>);

/// Of a transaction, or of all of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counted {
    /// By (tenant, job).
    pub jobs: BTreeMap<(Id, Id), JobMeter>,
    /// From when a run was made until its first attempt was claimed.
    pub queue_wait: Spread,
    /// From the claim of an attempt to the record of its end.
    pub run: Spread,
    /// Of measurements of backlogs, answered or not.
    pub probe: Spread,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobMeter {
    /// Attempts that were claimed.
    pub claims: u64,
    /// Ended runs by final state.
    pub ended: BTreeMap<&'static str, u64>,
    /// Attempts that are made again, by which retry they are.
    pub retries: BTreeMap<u32, u64>,
    /// Runs that failed as often as they may.
    pub exceeded: u64,
    /// Attempts stopped at a limit of time.
    pub timeouts: u64,
}

/// How long things took.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spread {
    /// By the first of [`BOUNDS`] that holds them.
    pub within: [u64; BOUNDS.len()],
    pub seconds: f64,
    pub count: u64,
}

impl Spread {
    pub fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        if let Some(place) = BOUNDS.iter().position(|bound| seconds <= *bound) {
            self.within[place] += 1;
        }
        self.seconds += seconds;
        self.count += 1;
    }

    fn merge(&mut self, other: &Self) {
        self.within.iter_mut().zip(other.within).for_each(|(sum, n)| *sum += n);
        self.seconds += other.seconds;
        self.count += other.count;
    }
}

impl Counted {
    pub(super) fn claimed(&mut self, run: &Run, now: Timestamp) {
        if run.attempt == 1 {
            self.queue_wait.add(now.since(run.created_at));
        }
        self.jobs.entry((run.tenant, run.job)).or_default().claims += 1;
    }

    pub(super) fn ended(&mut self, f: &Finished, cancelled: bool, took: Duration) {
        // Handed out one by one, its attempt goes on.
        let outside = f.decision == Decision::Outside && !cancelled;
        if matches!(f.run.state, State::Running { .. }) && !outside {
            self.run.add(took);
        }
        let job = self.jobs.entry((f.run.tenant, f.run.job)).or_default();
        job.timeouts += u64::from(f.outcome == "timed_out");
        job.exceeded += u64::from(f.decision == Decision::End(Final::Dead(Reason::AttemptsSpent)));
        let state = match &f.decision {
            Decision::End(Final::Succeeded) => "succeeded",
            Decision::End(Final::Dead(_)) => "dead",
            Decision::End(Final::Cancelled) => "cancelled",
            Decision::Again { .. } | Decision::Outside if cancelled => "cancelled",
            Decision::Outside => return,
            Decision::Again { spent, .. } => {
                if matches!(spent, Budget::Failed | Budget::Lost) {
                    *job.retries.entry((f.run.failed + f.run.lost + 1).min(RETRIES)).or_default() += 1;
                }
                return;
            }
        };
        *job.ended.entry(state).or_default() += 1;
    }
}

impl Meters {
    pub(super) fn add(&self, counted: &Counted) {
        if *counted == Counted::default() {
            return;
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.queue_wait.merge(&counted.queue_wait);
        all.run.merge(&counted.run);
        all.probe.merge(&counted.probe);
        for (key, one) in &counted.jobs {
            let key = if all.jobs.contains_key(key) || all.jobs.len() < JOBS { *key } else { OTHER };
            let job = all.jobs.entry(key).or_default();
            one.ended.iter().for_each(|(state, n)| *job.ended.entry(state).or_default() += n);
            one.retries.iter().for_each(|(retry, n)| *job.retries.entry(*retry).or_default() += n);
            job.claims += one.claims;
            job.exceeded += one.exceeded;
            job.timeouts += one.timeouts;
        }
    }

    /// As it stands.
    pub fn counted(&self) -> Counted {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_beyond_the_bound_share_an_entry_and_nothing_goes_back() {
        let meters = Meters::default();
        let one = |job| Counted {
            jobs: BTreeMap::from([((Id(1), Id(job)), JobMeter { timeouts: 1, ..JobMeter::default() })]),
            ..Counted::default()
        };
        for job in 0..JOBS as i64 + 5 {
            meters.add(&one(job));
        }
        meters.add(&one(0));
        let counted = meters.counted();
        assert_eq!((counted.jobs[&(Id(1), Id(0))].timeouts, counted.jobs[&OTHER].timeouts), (2, 5));
        assert_eq!(counted.jobs.len(), JOBS + 1);
    }

    #[test]
    fn a_spread_counts_each_span_once() {
        let mut spread = Spread::default();
        for ms in [1, 2, 30, 10_000_000] {
            spread.add(Duration::from_millis(ms));
        }
        assert_eq!((spread.count, spread.within[0], spread.within[1], spread.within[3]), (4, 1, 1, 1));
        assert_eq!(spread.within.iter().sum::<u64>(), 3, "the longest is in no bound");
    }
}
