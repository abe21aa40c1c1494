use std::sync::atomic::Ordering::Relaxed;

use crate::plugin::bindings::windlass::plugin::control::Host;
use crate::plugin::instance::Guest;

impl Host for Guest {
    fn should_stop(&mut self) -> bool {
        let context = &self.context;
        context.tape.should_stop(|| context.stop.asked.load(Relaxed) || context.is_cut_off() || context.until_asked().is_zero())
    }

    fn remaining_ms(&mut self) -> u64 {
        let context = &self.context;
        let left = || u64::try_from(context.until_asked().as_millis()).unwrap_or(u64::MAX);
        context.tape.remaining_ms(context.time_limit.saturating_sub(context.grace), left)
    }
}
