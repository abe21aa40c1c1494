use std::sync::atomic::Ordering::Relaxed;

use crate::plugin::bindings::windlass::plugin::control::Host;
use crate::plugin::instance::Guest;

impl Host for Guest {
    fn should_stop(&mut self) -> bool {
        let context = &self.context;
        context.stop.asked.load(Relaxed) || context.is_cut_off() || context.until_asked().is_zero()
    }

    fn remaining_ms(&mut self) -> u64 {
        u64::try_from(self.context.until_asked().as_millis()).unwrap_or(u64::MAX)
    }
}
