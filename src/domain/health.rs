//! How a job does: one word and one sentence.

use std::time::Duration;

use serde::Serialize;

use super::backlog::Probe;
use super::rate::Flow;
use super::silence::Due;
use crate::clock::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    Ok,
    Paused,
    Lagging,
    Stuck,
    Silent,
    Failing,
}

impl Health {
    pub const ALL: [Self; 6] = [Self::Ok, Self::Paused, Self::Lagging, Self::Stuck, Self::Silent, Self::Failing];

    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Paused => "paused",
            Self::Lagging => "lagging",
            Self::Stuck => "stuck",
            Self::Silent => "silent",
            Self::Failing => "failing",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|health| health.word() == word)
    }

    /// Whether it will not mend itself.
    pub fn needs_a_person(self) -> bool {
        matches!(self, Self::Failing | Self::Silent | Self::Stuck)
    }
}

/// What the watchdog knows of a job.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub paused: bool,
    /// Runs in a row that ended dead.
    pub dead_in_a_row: u32,
    pub last_error: Option<String>,
    pub last_success_at: Option<Timestamp>,
    /// The success that is to be expected first.
    pub due: Option<Due>,
    pub probe: Option<Probe>,
    pub lag_limit: Option<Duration>,
    /// What moves in the backlog, where that is known.
    pub flow: Option<Flow>,
    /// The backlog grew over all of the window, while runs succeeded.
    pub outgrown: bool,
    /// A run of the job is unfinished and has failed before.
    pub retrying: Option<String>,
}

/// How long the target has had something to take: since it was last known to have nothing.
/// Poison that cannot be taken does not count (scenario W7).
pub fn lag(probe: &Probe, now: Timestamp) -> Option<Duration> {
    match probe.size {
        Some(0) => Some(Duration::ZERO),
        Some(_) if probe.is_stuck() => Some(Duration::ZERO),
        Some(_) => probe.clear_at.map(|clear| now.since(clear)),
        None => None,
    }
}

/// The worst that is true of the job, with why in one sentence.
pub fn judge(facts: &Facts, now: Timestamp) -> (Health, String) {
    if facts.paused {
        return (Health::Paused, "paused by a person".into());
    }
    if facts.dead_in_a_row > 0 {
        let error = facts.last_error.as_deref().unwrap_or("no message");
        let runs = if facts.dead_in_a_row == 1 {
            "the last run is dead".to_owned()
        } else {
            format!("the last {} runs are dead", facts.dead_in_a_row)
        };
        return (Health::Failing, format!("{runs}: {error}"));
    }
    if let Some(probe) = &facts.probe {
        if probe.is_stuck() {
            let wait = if now < probe.next_run_at {
                format!("; next try in {}", words(probe.next_run_at.since(now)))
            } else {
                String::new()
            };
            return (
                Health::Stuck,
                format!(
                    "{} jobs, none runnable: the last {} runs could take none of them{wait}",
                    probe.size.unwrap_or(0),
                    probe.fruitless
                ),
            );
        }
        if probe.failed >= 3 {
            return (
                Health::Failing,
                format!("poll failed {} times: {}", probe.failed, probe.error.as_deref().unwrap_or("no answer")),
            );
        }
    }
    if let Some(due) = facts.due.as_ref().filter(|due| now > due.by) {
        let last = facts.last_success_at.unwrap_or(due.since);
        return (Health::Silent, format!("no success for {}: {}", words(now.since(last)), due.what));
    }
    let size = facts.probe.as_ref().and_then(|probe| probe.size).unwrap_or(0);
    if let Some(flow) = facts.flow.filter(|_| facts.outgrown && size > 0) {
        return (Health::Lagging, not_keeping_up(size, flow));
    }
    if let (Some(probe), Some(limit)) = (&facts.probe, facts.lag_limit)
        && let Some(lag) = lag(probe, now)
        && lag > limit
    {
        return match facts.flow.and_then(|flow| flow.empty_in(size)) {
            Some(rest) => (
                Health::Lagging,
                format!("work waits for {}, the promise is {}; empty in {}", words(lag), words(limit), words(rest)),
            ),
            None => (Health::Lagging, format!("work waits for {}, the promise is {}", words(lag), words(limit))),
        };
    }
    match (&facts.retrying, &facts.probe) {
        (Some(why), _) => (Health::Ok, format!("retrying: {why}")),
        (None, Some(Probe { error: Some(error), .. })) => (Health::Ok, format!("poll failed: {error}")),
        _ => (Health::Ok, String::new()),
    }
}

/// "not keeping up: 120 a minute come in, 80 go out; 5400 wait, and at this rate never fewer"
fn not_keeping_up(size: u64, flow: Flow) -> String {
    let (came, went) = (flow.in_per_min, flow.out_per_min);
    format!("not keeping up: {came:.0} a minute come in, {went:.0} go out; {size} wait, and at this rate never fewer")
}

/// A duration for people: two units at most, "2 h 4 min", "40 s".
pub fn words(span: Duration) -> String {
    let s = span.as_secs();
    match s {
        0 if span.is_zero() => "0 s".into(),
        0 => format!("{} ms", span.as_millis()),
        1..60 => format!("{s} s"),
        60..3600 if s.is_multiple_of(60) || s >= 600 => format!("{} min", s / 60),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 if s % 3600 < 60 => format!("{} h", s / 3600),
        3600..86_400 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ if s % 86_400 < 3600 => format!("{} d", s / 86_400),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;

    #[test]
    fn zero_is_not_proof_of_health() {
        let mut probe = Probe::new(Id(1), Id(1), Id(1), Timestamp(0));
        probe.size = Some(0);
        let facts = Facts {
            probe: Some(probe),
            dead_in_a_row: 1,
            last_error: Some("400 Invalid or stale signature".into()),
            ..Facts::default()
        };
        assert_eq!(judge(&facts, Timestamp(0)).0, Health::Failing);
    }

    #[test]
    fn v7_a_backlog_that_outgrows_its_runs_is_not_kept_up_with() {
        let mut probe = Probe::new(Id(1), Id(1), Id(1), Timestamp(0));
        (probe.size, probe.clear_at) = (Some(5_400), Some(Timestamp(0)));
        let flow = Some(Flow { out_per_min: 80.0, in_per_min: 120.0 });
        let mut facts = Facts { probe: Some(probe), flow, outgrown: true, ..Facts::default() };
        let (health, why) = judge(&facts, Timestamp(600_000));
        assert_eq!(health, Health::Lagging);
        assert_eq!(why, "not keeping up: 120 a minute come in, 80 go out; 5400 wait, and at this rate never fewer");
        // It shrinks again, and the promise is what is left to judge by.
        (facts.outgrown, facts.flow) = (false, Some(Flow { out_per_min: 120.0, in_per_min: 30.0 }));
        assert_eq!(judge(&facts, Timestamp(600_000)).0, Health::Ok);
        facts.lag_limit = Some(Duration::from_secs(180));
        assert_eq!(judge(&facts, Timestamp(600_000)).1, "work waits for 10 min, the promise is 3 min; empty in 1 h");
    }

    #[test]
    fn durations_are_words() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (90, "1 min 30 s"),
            (754, "12 min"),
            (7440, "2 h 4 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(words(Duration::from_secs(seconds)), text);
        }
    }
}
