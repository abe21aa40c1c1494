//! Whether the loops of this process come round: one that hangs is noticed although the process lives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::health::words;

/// A loop that is so long behind what it promised hangs. The longest rest of those that are watched is 30 s: within 90 s the
/// process is called ill (scenario V6).
const PATIENCE: Duration = Duration::from_secs(50);

/// Without these nothing is right: others may take their time.
const WATCHED: [&str; 8] = ["scheduler", "prober", "worker", "writer", "watchdog", "promoter", "alarm", "courier"];

/// When each loop came round last, and how long it meant to rest then, by [`crate::clock::Clock::uptime`]: a clock that is set
/// makes no loop hang, and hides none that does. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Duties(Arc<Mutex<Rounds>>);

#[derive(Debug, Default)]
struct Rounds {
    of: BTreeMap<&'static str, Round>,
    /// Why they come round and do nothing.
    hindered: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Round {
    at: Duration,
    rest: Duration,
}

impl Duties {
    /// A loop has come round and rests for so long.
    pub fn came_round(&self, name: &'static str, at: Duration, rest: Duration) {
        self.lock().of.insert(name, Round { at, rest });
    }

    /// A loop that has ended, as all do when the process stops, is not missed.
    pub fn ended(&self, name: &'static str) {
        self.lock().of.remove(name);
    }

    /// The loops come round, and do nothing of what they are for: why, in a sentence.
    pub fn hindered(&self, why: Option<String>) {
        self.lock().hindered = why;
    }

    /// Which of the loops that matter hang, each in a sentence, or why they do nothing.
    pub fn hanging(&self, now: Duration) -> Vec<String> {
        let rounds = self.lock();
        let hanging = rounds.of.iter().filter(|(name, round)| WATCHED.contains(name) && now > round.at + round.rest + PATIENCE);
        let said = hanging.map(|(name, round)| format!("the {name} has not come round for {}", words(now - round.at)));
        said.chain(rounds.hindered.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Rounds> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_hangs_when_it_is_long_behind_its_promise() {
        let (duties, second) = (Duties::default(), Duration::from_secs(1));
        duties.came_round("scheduler", Duration::ZERO, 30 * second);
        duties.came_round("pruner", Duration::ZERO, second);
        assert!(duties.hanging(80 * second).is_empty());
        let hanging = duties.hanging(81 * second);
        assert_eq!(hanging, ["the scheduler has not come round for 1 min 21 s"], "nobody is woken for the pruner");
        duties.ended("scheduler");
        assert!(duties.hanging(90 * second).is_empty());
        duties.hindered(Some("the clock is wrong".into()));
        assert_eq!(duties.hanging(90 * second), ["the clock is wrong"]);
        duties.hindered(None);
        assert!(duties.hanging(90 * second).is_empty());
    }
}
