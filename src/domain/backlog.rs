//! What follows from a measured backlog: how many runs are wanted, and when looking again makes sense.

use std::time::Duration;

use super::attempt::Counts;
use super::trigger::BacklogSpec;
use crate::clock::Timestamp;
use crate::id::Id;

/// Runs in a row that took nothing before a job is called stuck (scenario W7).
pub const FRUITLESS_LIMIT: u32 = 3;
/// How long a stuck job waits before it tries the same backlog again (scenario W7: 5 minutes or more).
pub const STUCK_PAUSE: Duration = Duration::from_secs(300);
/// The longest pause after runs that died.
const DEAD_PAUSE: Duration = Duration::from_secs(120);
/// How old a target's own count may be: MediaWiki answers from a cache (scenario W2). What a run has just done may be
/// counted for so long.
const CACHED: Duration = Duration::from_secs(60);
/// The longest pause between probes of a target that does not answer (scenario W6: one probe in 30 s).
const FAILED_PAUSE: Duration = Duration::from_secs(30);

/// The moving part of a backlog trigger: what the last probes and runs said.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    pub trigger: Id,
    pub tenant: Id,
    pub job: Id,
    pub next_at: Timestamp,
    /// Probes that failed in a row.
    pub failed: u32,
    pub size: Option<u64>,
    pub age_ms: Option<u64>,
    /// Of `size`.
    pub sampled_at: Option<Timestamp>,
    /// Of the last probe, when it failed.
    pub error: Option<String>,
    pub error_at: Option<Timestamp>,
    /// When the target was last known to have nothing to take.
    pub clear_at: Option<Timestamp>,
    /// Runs in a row that took nothing although work stood.
    pub fruitless: u32,
    /// The backlog that the last fruitless run left.
    pub stuck_size: Option<u64>,
    /// No run for the backlog before this.
    pub next_run_at: Timestamp,
    /// When a run last got something done.
    pub done_at: Option<Timestamp>,
    /// Runs in a row that died.
    pub dead: u32,
    /// More than `start_above` waited, and since then always something.
    pub working: bool,
    /// No run for the backlog before this, also for fresh work.
    pub cool_until: Timestamp,
}

/// A measured backlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measurement {
    pub size: u64,
    pub age_ms: Option<u64>,
}

impl Probe {
    pub fn new(trigger: Id, tenant: Id, job: Id, now: Timestamp) -> Self {
        Self {
            trigger,
            tenant,
            job,
            next_at: now,
            failed: 0,
            size: None,
            age_ms: None,
            sampled_at: None,
            error: None,
            error_at: None,
            clear_at: None,
            fruitless: 0,
            stuck_size: None,
            next_run_at: Timestamp(0),
            done_at: None,
            dead: 0,
            working: false,
            cool_until: Timestamp(0),
        }
    }

    pub fn is_stuck(&self) -> bool {
        self.fruitless >= FRUITLESS_LIMIT && self.size.is_some_and(|size| size > 0)
    }

    /// Takes in a measurement and answers how many runs it wants. `random` is from 0 to 1.
    pub fn measured(&mut self, found: Measurement, spec: &BacklogSpec, now: Timestamp, random: f64) -> u32 {
        self.next_at = now.plus(jittered(spec.every.0, random));
        (self.failed, self.error, self.error_at) = (0, None, None);
        (self.size, self.age_ms, self.sampled_at) = (Some(found.size), found.age_ms, Some(now));
        if found.size == 0 {
            self.clear_at = Some(now);
            self.working = false;
            self.moves();
            return 0;
        }
        if self.stuck_size.is_some_and(|stuck| found.size < stuck) {
            // Something is done, whoever did it: runs that do not say speak in this way.
            self.moves();
        }
        self.working |= found.size > spec.start_above;
        if !self.working {
            // Below its threshold there is nothing to take.
            self.clear_at = Some(now);
        }
        if !self.working || now < self.cool_until {
            return 0;
        }
        // More than the stuck rest is fresh work: try at once (W7: it is still seen within the promise).
        let fresh = self.stuck_size.is_some_and(|stuck| found.size > stuck);
        if now < self.next_run_at && !fresh {
            return 0;
        }
        // Also from its start: that it has ended is told a moment after it has, and another must not slip in between.
        self.cools(spec, now);
        runs_wanted(found.size, spec)
    }

    /// Takes in a probe that did not get an answer. The pause doubles up to 30 s.
    pub fn unanswered(&mut self, error: String, spec: &BacklogSpec, now: Timestamp, random: f64) {
        self.failed += 1;
        (self.error, self.error_at) = (Some(error), Some(now));
        let doubled = spec.every.0.saturating_mul(1 << self.failed.min(8).saturating_sub(1));
        self.next_at = now.plus(jittered(doubled.min(FAILED_PAUSE.max(spec.every.0)), random));
    }

    /// Takes in that a run starts or has ended, however: the next one for the backlog waits.
    pub fn cools(&mut self, spec: &BacklogSpec, now: Timestamp) {
        if let Some(rest) = spec.cool_down {
            self.cool_until = now.plus(rest.0);
        }
    }

    /// Takes in a run that ended well and does not say what it did: that the backlog did not get smaller speaks for it.
    fn run_ended_mute(&mut self, now: Timestamp) {
        if self.size.is_none_or(|size| size == 0) {
            return;
        }
        match self.stuck_size {
            Some(before) if self.size <= Some(before) => return self.fruitless_run(now),
            // The first one, or the first after fresh work came: what is counted for a while may be what it has done.
            _ => self.done_at = Some(now),
        }
        self.stuck_size = self.size;
    }

    fn fruitless_run(&mut self, now: Timestamp) {
        if self.done_at.zip(self.sampled_at).is_some_and(|(done, sampled)| sampled < done.plus(CACHED)) {
            // What was counted may be what is done since: that proves nothing.
            return;
        }
        self.fruitless += 1;
        self.stuck_size = self.size;
        if self.fruitless >= FRUITLESS_LIMIT {
            self.next_run_at = now.plus(STUCK_PAUSE);
        }
    }

    /// Takes in a run that ended: whether it moved anything, and whether the target had nothing left.
    pub fn run_ended(&mut self, counts: Option<Counts>, now: Timestamp) {
        let Some(counts) = counts else { return self.run_ended_mute(now) };
        if counts.left == Some(0) {
            self.clear_at = Some(now);
        }
        if counts.taken == 0 {
            return self.fruitless_run(now);
        }
        self.moves();
        if counts.done > 0 {
            self.done_at = Some(now);
        }
        if counts.left != Some(0) {
            // It stopped for want of time: what is left is worth a look at once.
            self.next_at = now;
        }
    }

    /// Takes in a run that died: the next ones would most likely die too, and each needs a person to look at it. The pause
    /// doubles from the interval of the probe up to two minutes, so that the promise holds once the cause is lifted.
    pub fn run_died(&mut self, spec: &BacklogSpec, now: Timestamp) {
        self.dead += 1;
        let pause = spec.every.0.saturating_mul(1 << self.dead.min(8)).min(DEAD_PAUSE.max(spec.every.0));
        (self.stuck_size, self.next_run_at) = (None, now.plus(pause).max(self.next_run_at));
    }

    /// It is not stuck, and the pause of a stuck one is over: what comes next is fresh.
    fn moves(&mut self) {
        (self.fruitless, self.stuck_size, self.next_run_at) = (0, None, Timestamp(0));
    }
}

/// min(max_parallel, ⌈size / per_run⌉)
fn runs_wanted(size: u64, spec: &BacklogSpec) -> u32 {
    u32::try_from(size.div_ceil(spec.per_run.max(1))).unwrap_or(u32::MAX).min(spec.max_parallel)
}

/// ± 10 %, so that a thousand probes of the same age drift apart.
fn jittered(span: Duration, random: f64) -> Duration {
    span.mul_f64(0.9 + 0.2 * random)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::span::Span;

    fn spec() -> BacklogSpec {
        BacklogSpec { max_parallel: 4, ..BacklogSpec::default() }
    }

    fn probe() -> Probe {
        Probe::new(Id(1), Id(2), Id(3), Timestamp(0))
    }

    fn found(size: u64) -> Measurement {
        Measurement { size, age_ms: None }
    }

    fn counts(taken: u64) -> Option<Counts> {
        Some(Counts { taken, done: taken, failed: 0, left: Some(0) })
    }

    #[test]
    fn wants_a_run_for_every_share_up_to_the_limit() {
        for (size, runs) in [(0, 0), (1, 1), (500, 1), (501, 2), (1_000_000, 4)] {
            assert_eq!(probe().measured(found(size), &spec(), Timestamp(0), 0.5), runs, "{size}");
        }
    }

    #[test]
    fn nothing_starts_below_the_threshold_and_what_began_goes_on_to_the_end() {
        let (mut probe, spec) = (probe(), BacklogSpec { start_above: 100, ..spec() });
        let mut wants = |size| probe.measured(found(size), &spec, Timestamp(0), 0.5);
        assert_eq!([wants(99), wants(100), wants(101), wants(40), wants(0), wants(40)], [0, 0, 1, 1, 0, 0]);
    }

    #[test]
    fn after_a_run_the_next_one_waits_for_the_cool_down_also_with_fresh_work() {
        let (mut probe, spec) = (probe(), BacklogSpec { cool_down: Some(Span::secs(60)), ..spec() });
        assert_eq!(probe.measured(found(5), &spec, Timestamp(0), 0.5), 1);
        assert_eq!(probe.measured(found(900), &spec, Timestamp(500), 0.5), 0, "that it has ended is not told yet");
        probe.cools(&spec, Timestamp(1_000));
        probe.run_ended(counts(5), Timestamp(1_000));
        assert_eq!(probe.measured(found(0), &spec, Timestamp(15_000), 0.5), 0);
        assert_eq!(probe.measured(found(900), &spec, Timestamp(60_999), 0.5), 0);
        assert_eq!(probe.measured(found(900), &spec, Timestamp(61_000), 0.5), 2);
    }

    #[test]
    fn w7_poison_backs_off_after_three_fruitless_runs_but_fresh_work_is_seen() {
        let (mut probe, spec, mut now) = (probe(), spec(), Timestamp(0));
        for _ in 0..3 {
            assert_eq!(probe.measured(found(5), &spec, now, 0.5), 1);
            now = now.plus(Duration::from_secs(1));
            probe.run_ended(counts(0), now);
        }
        assert!(probe.is_stuck());
        let stuck_since = now;
        assert_eq!(probe.measured(found(5), &spec, now.plus(Duration::from_secs(299)), 0.5), 0);
        assert_eq!(probe.measured(found(6), &spec, now.plus(Duration::from_secs(15)), 0.5), 1, "fresh work");
        probe.run_ended(counts(1), now);
        assert!(!probe.is_stuck(), "it moved");
        now = stuck_since.plus(Duration::from_secs(45));
        assert_eq!(probe.measured(found(6), &spec, now, 0.5), 1, "fresh work again, although the pause was to last longer");
        probe.run_ended(counts(1), now);
        now = now.plus(CACHED);
        for _ in 0..3 {
            assert_eq!(probe.measured(found(5), &spec, now, 0.5), 1);
            probe.run_ended(counts(0), now);
        }
        assert!(probe.is_stuck());
        assert_eq!(probe.measured(found(5), &spec, now.plus(STUCK_PAUSE), 0.5), 1, "tries again");
        assert_eq!(probe.measured(found(0), &spec, now, 0.5), 0, "somebody removed what could not run");
        assert_eq!(probe.measured(found(2), &spec, now, 0.5), 1, "no pause from before");
    }

    #[test]
    fn w7_runs_that_do_not_say_what_they_did_are_judged_by_what_is_left() {
        let (mut probe, spec, mut now, mut runs) = (probe(), spec(), Timestamp(0), 0);
        let mut runs_at = |probe: &mut Probe, size, now| {
            for _ in 0..probe.measured(found(size), &spec, now, 0.5) {
                runs += 1;
                probe.run_ended(None, now);
            }
            runs
        };
        // Less and less: it moves, also where each number is said twice, out of a cache.
        for size in (5..25).rev() {
            for _ in 0..2 {
                now = now.plus(Duration::from_secs(15));
                runs_at(&mut probe, size, now);
                assert!(!probe.is_stuck(), "{size}");
            }
        }
        // What is left stays: no call before the cache can be over, and then three runs.
        let since = now;
        while !probe.is_stuck() {
            now = now.plus(Duration::from_secs(15));
            runs_at(&mut probe, 5, now);
        }
        assert_eq!(now.since(since), CACHED + Duration::from_secs(15));
        let before = runs_at(&mut probe, 5, now);
        assert_eq!(runs_at(&mut probe, 5, now.plus(Duration::from_secs(299))), before, "it rests");
        assert_eq!(runs_at(&mut probe, 6, now.plus(Duration::from_secs(299))), before + 1, "but for fresh work");
        assert!(probe.is_stuck(), "more is no sign that anything is done");
        assert_eq!(runs_at(&mut probe, 6, now.plus(STUCK_PAUSE)), before + 2, "tries again");
        assert_eq!(runs_at(&mut probe, 4, now.plus(STUCK_PAUSE)), before + 3, "less than was left");
        assert!(!probe.is_stuck(), "it moves");
    }

    #[test]
    fn a_backlog_that_grows_is_not_called_stuck() {
        let (mut probe, spec, mut now) = (probe(), spec(), Timestamp(0));
        for size in 5..50 {
            assert_eq!(probe.measured(found(size), &spec, now, 0.5), 1);
            // Four at a time.
            for _ in 0..4 {
                probe.run_ended(None, now);
            }
            assert!(!probe.is_stuck());
            now = now.plus(Duration::from_secs(15));
        }
    }

    #[test]
    fn w2_what_is_done_and_still_counted_is_not_called_stuck() {
        let (mut probe, spec, mut now) = (probe(), spec(), Timestamp(0));
        assert_eq!(probe.measured(found(2), &spec, now, 0.5), 1);
        probe.run_ended(counts(2), now);
        for _ in 0..3 {
            now = now.plus(Duration::from_secs(15));
            assert_eq!(probe.measured(found(2), &spec, now, 0.5), 1, "from the cache");
            probe.run_ended(counts(0), now);
            assert!(!probe.is_stuck());
        }
        // The cache is over, and another edit makes as many jobs as the first did.
        now = now.plus(Duration::from_secs(15));
        assert_eq!(probe.measured(found(2), &spec, now, 0.5), 1);
    }

    #[test]
    fn w7_jobs_that_all_failed_are_not_done() {
        let (mut probe, spec, mut now) = (probe(), spec(), Timestamp(0));
        probe.measured(found(5), &spec, now, 0.5);
        probe.run_ended(Some(Counts { taken: 5, done: 0, failed: 5, left: Some(0) }), now);
        for _ in 0..3 {
            now = now.plus(Duration::from_secs(1));
            probe.measured(found(5), &spec, now, 0.5);
            probe.run_ended(counts(0), now);
        }
        assert!(probe.is_stuck());
    }

    #[test]
    fn w11_runs_that_die_are_made_less_and_less_often() {
        let (mut probe, spec, mut now, mut runs) = (probe(), spec(), Timestamp(0), 0);
        while now < Timestamp(600_000) {
            for _ in 0..probe.measured(found(5), &spec, now, 0.5) {
                runs += 1;
                probe.run_died(&spec, now);
            }
            now = probe.next_at;
        }
        assert!((5..=8).contains(&runs), "{runs} in ten minutes");
    }

    #[test]
    fn w6_a_target_that_does_not_answer_is_asked_every_30_s() {
        let (mut probe, spec, mut now) = (probe(), spec(), Timestamp(0));
        for expected in [15, 30, 30, 30] {
            probe.unanswered("refused".into(), &spec, now, 0.5);
            assert_eq!(probe.next_at.since(now), Duration::from_secs(expected));
            now = probe.next_at;
        }
        assert_eq!(probe.size, None, "not zero");
    }
}
