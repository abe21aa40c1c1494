//! What comes after an attempt: pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::attempt::{Class, Outcome};
use super::job::JobSpec;
use super::run::{Final, Reason, Run};
use super::span::Span;
use crate::clock::Timestamp;
use crate::error::Problem;

/// Times a run may lose its node before it is dead: a job that kills its node must not do so for ever.
pub const LOST_LIMIT: u32 = 3;

/// A snooze that says no time.
const SNOOZE: Duration = Duration::from_secs(30);
/// What a guest may ask for: less would be a busy loop that spends nothing, more a run that nobody sees again.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySpec {
    /// Attempts that may fail, the first included.
    pub attempts: u32,
    /// The delay after the first failure.
    pub base: Span,
    /// Each further delay is so many times the one before.
    pub factor: f64,
    pub cap: Span,
    /// 0.2: times a random 0.8 to 1.2. `"full"`: anything from 0 to the delay.
    pub jitter: Jitter,
}

impl Default for RetrySpec {
    fn default() -> Self {
        Self { attempts: 5, base: Span::secs(1), factor: 2.0, cap: Span::secs(300), jitter: Jitter::Share(0.2) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "this is no jitter; write a share such as 0.2, or \"full\"")]
pub enum Jitter {
    Share(f64),
    Word(Full),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Full {
    Full,
}

impl RetrySpec {
    /// The delay after `failed` failures (1 or more). `random` is from 0 to 1.
    pub fn delay(&self, failed: u32, random: f64) -> Duration {
        let exponent = i32::try_from(failed.saturating_sub(1)).unwrap_or(i32::MAX);
        let plain = (self.base.0.as_secs_f64() * self.factor.powi(exponent)).min(self.cap.0.as_secs_f64());
        let times = match self.jitter {
            Jitter::Share(share) => 1.0 - share + 2.0 * share * random,
            Jitter::Word(Full::Full) => random,
        };
        Duration::try_from_secs_f64(plain * times).unwrap_or(self.cap.0)
    }

    pub fn contradictions(&self, field: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut refuse = |key: &str, message: String| problems.push(Problem::new(format!("{field}.{key}"), message));
        if !(1..=100).contains(&self.attempts) {
            refuse("attempts", format!("{} is not possible; write 1 to 100", self.attempts));
        }
        if !(1.0..=100.0).contains(&self.factor) {
            refuse("factor", format!("{} is not possible; write 1 to 100", self.factor));
        }
        if self.cap < self.base {
            refuse("cap", format!("{} is below base, {}; write at least as much", self.cap, self.base));
        }
        if let Jitter::Share(share) = self.jitter
            && !(0.0..=1.0).contains(&share)
        {
            refuse("jitter", format!("{share} is not possible; write 0 to 1, or \"full\""));
        }
        problems
    }
}

/// What becomes of a run after an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    End(Final),
    /// Its guest has done its part; programs outside work on its items, and the run goes on until those have ended.
    Outside,
    /// Waiting again. `failed` and `snoozed` tell which budget the attempt spent.
    Again {
        due_at: Timestamp,
        delay: Duration,
        why: String,
        spent: Budget,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    Failed,
    Snoozed,
    Lost,
    /// A drain: nothing is spent.
    None,
}

/// Decides by the outcome, the run's budgets and the job's policy. `random` is from 0 to 1.
pub fn decide(outcome: &Outcome, run: &Run, spec: &JobSpec, now: Timestamp, random: f64) -> Decision {
    let dead = |reason| Decision::End(Final::Dead(reason));
    // Whatever the reason for another attempt: none begins after the total limit.
    let over = |due_at, limit: Span| due_at > run.first_started_at.unwrap_or(now).plus(limit.0);
    let again = |delay: Duration, why: String, spent| {
        let due_at = now.plus(delay);
        match spec.total_limit {
            Some(limit) if over(due_at, limit) => dead(Reason::TotalLimit),
            _ => Decision::Again { due_at, delay, why, spent },
        }
    };
    match outcome {
        Outcome::Succeeded { counts, .. } => match counts {
            Some(counts) if counts.share_failed() > spec.items.threshold() => dead(Reason::ItemsFailed),
            _ => Decision::End(Final::Succeeded),
        },
        Outcome::Cancelled => Decision::End(Final::Cancelled),
        Outcome::Failed { class: Class::Permanent, .. } => dead(Reason::Permanent),
        Outcome::TooLate => dead(Reason::StartDeadline),
        Outcome::Undecodable { .. } => dead(Reason::Undecodable),
        Outcome::Failed { class: Class::Snooze, message, delay, .. } => {
            let delay = delay.unwrap_or(SNOOZE).clamp(SHORTEST, LONGEST);
            again(delay, format!("deferred: {message}"), Budget::Snoozed)
        }
        Outcome::Drained => again(Duration::ZERO, "handed back by its node".into(), Budget::None),
        Outcome::Lost if run.lost + 1 >= LOST_LIMIT => dead(Reason::LostTooOften),
        Outcome::Lost => again(Duration::ZERO, "its node was lost".into(), Budget::Lost),
        Outcome::Failed { class: Class::Transient, .. }
        | Outcome::TimedOut { .. }
        | Outcome::OutOfMemory { .. }
        | Outcome::Trapped { .. } => {
            let failed = run.failed + 1;
            if failed >= spec.retry.attempts {
                return dead(Reason::AttemptsSpent);
            }
            let delay = spec.retry.delay(failed, random).max(outcome.delay().unwrap_or_default().min(LONGEST));
            again(delay, format!("next attempt after {}: {}", short(delay), outcome.word()), Budget::Failed)
        }
    }
}

fn short(delay: Duration) -> String {
    let ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    let rounded = if ms < 10_000 { ms / 100 * 100 } else { ms / 1000 * 1000 };
    humantime::format_duration(Duration::from_millis(rounded)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t3_delays_double_within_a_fifth_and_stop_at_the_cap() {
        let spec = RetrySpec::default();
        for (failed, seconds) in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (30, 300.0)] {
            for (random, times) in [(0.0, 0.8), (0.5, 1.0), (1.0, 1.2)] {
                let delay = spec.delay(failed, random).as_secs_f64();
                assert!((delay - seconds * times).abs() < 0.001, "{failed} {random}: {delay}");
            }
        }
    }
}
