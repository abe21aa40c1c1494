//! Whether the loops of this process come round: one that hangs is noticed although the process lives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::health::words;
use crate::clock::Timestamp;

/// A loop that is so long behind what it promised hangs. The longest rest of those that are watched is 30 s: within 90 s the
/// process is called ill (scenario V6).
const PATIENCE: Duration = Duration::from_secs(50);

/// Without these nothing is right: others may take their time.
const WATCHED: [&str; 8] = ["scheduler", "prober", "worker", "writer", "watchdog", "promoter", "alarm", "courier"];

/// When each loop came round last, and how long it meant to rest then. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Duties(Arc<Mutex<BTreeMap<&'static str, Round>>>);

#[derive(Debug, Clone, Copy)]
struct Round {
    at: Timestamp,
    rest: Duration,
}

impl Duties {
    /// A loop has come round and rests for so long.
    pub fn came_round(&self, name: &'static str, at: Timestamp, rest: Duration) {
        self.lock().insert(name, Round { at, rest });
    }

    /// A loop that has ended, as all do when the process stops, is not missed.
    pub fn ended(&self, name: &'static str) {
        self.lock().remove(name);
    }

    /// Which of the loops that matter hang, each in a sentence.
    pub fn hanging(&self, now: Timestamp) -> Vec<String> {
        let rounds = self.lock();
        let hanging =
            rounds.iter().filter(|(name, round)| WATCHED.contains(name) && now > round.at.plus(round.rest).plus(PATIENCE));
        hanging.map(|(name, round)| format!("the {name} has not come round for {}", words(now.since(round.at)))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Round>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_hangs_when_it_is_long_behind_its_promise() {
        let (duties, second) = (Duties::default(), Duration::from_secs(1));
        duties.came_round("scheduler", Timestamp(0), 30 * second);
        duties.came_round("pruner", Timestamp(0), second);
        assert!(duties.hanging(Timestamp(0).plus(80 * second)).is_empty());
        let hanging = duties.hanging(Timestamp(0).plus(81 * second));
        assert_eq!(hanging, ["the scheduler has not come round for 1 min 21 s"], "nobody is woken for the pruner");
        duties.ended("scheduler");
        assert!(duties.hanging(Timestamp(0).plus(90 * second)).is_empty());
    }
}
