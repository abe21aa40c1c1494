//! Opens after failures one after the other, and then lets one request through now and then, until one is answered.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::Target as Limits;

#[derive(Default)]
pub struct Circuit(Mutex<State>);

#[derive(Default)]
struct State {
    /// One after the other, without a success between them.
    failures: u32,
    why: String,
    /// Open: until then nothing passes, and the next one that does moves it.
    until: Option<Timestamp>,
}

impl Circuit {
    pub fn open_until(&self, now: Timestamp) -> Option<(Timestamp, u32, String)> {
        let state = self.lock();
        state.until.filter(|until| now < *until).map(|until| (until, state.failures, state.why.clone()))
    }

    /// Something goes through. Whether that is the one that an open circuit lets through: the next one waits for its turn.
    pub fn passed(&self, now: Timestamp, every: Duration) -> bool {
        let mut state = self.lock();
        state.until = state.until.map(|_| now.plus(every));
        state.until.is_some()
    }

    /// That one did not go out: another may.
    pub fn not_passed(&self) {
        let mut state = self.lock();
        state.until = state.until.map(|_| Timestamp(0));
    }

    pub fn well(&self) {
        *self.lock() = State::default();
    }

    pub fn failed(&self, why: &str, now: Timestamp, limits: &Limits) {
        let mut state = self.lock();
        state.failures = state.failures.saturating_add(1);
        why.clone_into(&mut state.why);
        // Stragglers of the time before do not keep it open for longer.
        if state.failures >= limits.failures && state.until.is_none() {
            state.until = Some(now.plus(limits.probe_every.0));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
