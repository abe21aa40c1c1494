//! The run's own life.

use std::time::Duration;

use crate::bindings::job::windlass::plugin::control;

/// True once the run is to end: cancelled, drained, or its time limit is near.
pub fn should_stop() -> bool {
    control::should_stop()
}

/// Milliseconds until [`should_stop`] turns true because of the time limit.
pub fn remaining_ms() -> u64 {
    control::remaining_ms()
}

/// Sleeps in short steps and answers false as soon as the run is to end.
pub fn sleep(duration: Duration) -> bool {
    const STEP: Duration = Duration::from_millis(50);
    let mut left = duration;
    while !should_stop() {
        if left.is_zero() {
            return true;
        }
        let step = left.min(STEP);
        std::thread::sleep(step);
        left -= step;
    }
    false
}
