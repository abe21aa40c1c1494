//! Slows down who guesses passwords: five wrong tries from an address, then it waits.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;

/// Wrong tries before the first wait.
const FREE: u32 = 5;
const WAIT: Duration = Duration::from_secs(300);
/// Addresses remembered; the oldest go first.
const REMEMBERED: usize = 10_000;

#[derive(Debug, Default)]
pub struct Throttle(Mutex<HashMap<Option<IpAddr>, Tries>>);

#[derive(Debug, Clone, Copy)]
struct Tries {
    wrong: u32,
    last_at: Timestamp,
}

impl Throttle {
    /// How long this address has to wait before its next try; `None` when it may try now.
    pub fn wait(&self, from: Option<IpAddr>, now: Timestamp) -> Option<Duration> {
        let tries = *self.lock().get(&from)?;
        let free_at = tries.last_at.plus(WAIT);
        (tries.wrong >= FREE && now < free_at).then(|| free_at.since(now))
    }

    /// Takes in a wrong try; answers how many are left before a wait.
    pub fn wrong(&self, from: Option<IpAddr>, now: Timestamp) -> u32 {
        let mut all = self.lock();
        if all.len() >= REMEMBERED {
            all.retain(|_, tries| now < tries.last_at.plus(WAIT));
            if all.len() >= REMEMBERED {
                all.clear();
            }
        }
        let tries = all.entry(from).or_insert(Tries { wrong: 0, last_at: now });
        if now >= tries.last_at.plus(WAIT) {
            tries.wrong = 0;
        }
        tries.wrong += 1;
        tries.last_at = now;
        FREE.saturating_sub(tries.wrong)
    }

    pub fn right(&self, from: Option<IpAddr>) {
        self.lock().remove(&from);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Option<IpAddr>, Tries>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_wrong_tries_then_five_minutes() {
        let (throttle, from) = (Throttle::default(), Some(IpAddr::from([10, 0, 0, 1])));
        let left: Vec<u32> = (0..5).map(|n| throttle.wrong(from, Timestamp(n * 1000))).collect();
        assert_eq!(left, [4, 3, 2, 1, 0]);
        assert_eq!(throttle.wait(from, Timestamp(5_000)), Some(Duration::from_secs(299)));
        assert_eq!(throttle.wait(Some(IpAddr::from([10, 0, 0, 2])), Timestamp(5_000)), None, "others are not held up");
        assert_eq!(throttle.wait(from, Timestamp(304_000)), None);
        assert_eq!(throttle.wrong(from, Timestamp(304_000)), 4);
    }

    #[test]
    fn a_right_one_clears_the_slate() {
        let throttle = Throttle::default();
        (0..5).for_each(|_| _ = throttle.wrong(None, Timestamp(0)));
        throttle.right(None);
        assert_eq!(throttle.wait(None, Timestamp(1)), None);
    }
}
