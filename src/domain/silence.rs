//! When a success is due, by what a job's triggers promise: so that a stop is never silent.

use std::time::Duration;

use super::health::words;
use super::schedule::Schedule;
use super::trigger::BacklogSpec;
use crate::clock::Timestamp;

/// The bounds of what a backlog may wait for a run that does any of it.
const BACKLOG_LEAST: Duration = Duration::from_secs(5 * 60);
const BACKLOG_MOST: Duration = Duration::from_secs(15 * 60);
/// What should come every ten minutes is missed after fifteen at the latest (scenario V1).
const SOON: Duration = Duration::from_secs(15 * 60);

/// A success that is to be expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The last sign of life.
    pub since: Timestamp,
    /// Without another one by then, the job is silent.
    pub by: Timestamp,
    /// What was due, as a sentence goes on after "no success for 20 min".
    pub what: String,
}

impl Due {
    /// Every so often, because the tenant file says so.
    pub fn within(span: Duration, since: Timestamp) -> Self {
        Self { since, by: since.plus(span), what: format!("one was due every {}", words(span)) }
    }

    /// By the first time after `since` at which the schedule is due. What follows it tells how long it may be late: half the
    /// time until the next, or as long as an attempt may take; what comes every few minutes twice that time.
    pub fn of_schedule(schedule: &Schedule, since: Timestamp, attempt: Duration) -> Option<Self> {
        let first = schedule.after(since)?;
        let interval = schedule.after(first).map_or(Duration::ZERO, |second| second.since(first));
        let patience = (interval * 2).min((interval / 2).max(SOON.saturating_sub(interval)));
        let what = format!("its schedule was due at {}", first.utc().format("%a %d %b, %H:%M UTC"));
        Some(Self { since, by: first.plus(patience.max(attempt)), what })
    }

    /// Work waits at the target, and no run has done any since.
    pub fn of_backlog(spec: &BacklogSpec, size: u64, since: Timestamp, attempt: Duration) -> Self {
        let rest = spec.cool_down.map_or(Duration::ZERO, |span| span.0);
        let within = (spec.every.0 * 3).clamp(BACKLOG_LEAST, BACKLOG_MOST).max(attempt + spec.every.0 + rest);
        let what = format!("{size} wait at its target, and no run has done any of them");
        Self { since, by: since.plus(within), what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::span::Span;
    use crate::id::Id;

    const MINUTE: Duration = Duration::from_secs(60);
    /// Sunday 22 November 2026, 10:00 UTC.
    const TEN: Timestamp = Timestamp(1_795_341_600_000);

    fn late(line: &str, attempt: Duration) -> Duration {
        let schedule = Schedule::parse(line, chrono_tz::Tz::UTC, Id(1)).unwrap();
        let due = Due::of_schedule(&schedule, TEN, attempt).unwrap();
        due.by.since(schedule.after(TEN).unwrap())
    }

    #[test]
    fn v1_what_comes_every_ten_minutes_or_more_often_is_missed_within_three_intervals_and_fifteen_minutes() {
        for (line, interval) in [("* * * * *", 1), ("*/5 * * * *", 5), ("*/10 * * * *", 10)] {
            let after_the_last = interval * MINUTE + late(line, MINUTE);
            assert!(after_the_last <= (3 * interval * MINUTE).min(15 * MINUTE), "{line}: {after_the_last:?}");
        }
        assert_eq!(late("0 * * * *", MINUTE), 30 * MINUTE);
        assert_eq!(late("30 2 * * *", MINUTE), 12 * 60 * MINUTE);
    }

    #[test]
    fn a_night_without_a_time_is_no_silence() {
        // Sunday: it is due again on Monday at eight, and every ten minutes then.
        assert_eq!(late("*/10 8-18 * * 1-5", MINUTE), 5 * MINUTE);
    }

    #[test]
    fn an_attempt_may_take_its_time() {
        assert_eq!(late("* * * * *", 30 * MINUTE), 30 * MINUTE);
    }

    #[test]
    fn v1_work_that_waits_is_done_within_fifteen_minutes_or_somebody_hears_of_it() {
        let spec = |every| BacklogSpec { every: Span::secs(every), ..BacklogSpec::default() };
        for (every, attempt, minutes) in [(15, MINUTE, 5), (240, MINUTE, 12), (900, MINUTE, 16), (15, 60 * MINUTE, 60)] {
            let within = Due::of_backlog(&spec(every), 3, TEN, attempt).by.since(TEN);
            assert_eq!(within.as_secs() / 60, minutes, "{every}");
        }
    }
}
