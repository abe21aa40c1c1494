use crate::domain::run::Progress;
use crate::plugin::bindings::windlass::plugin::progress::Host;
use crate::plugin::instance::Guest;
use crate::plugin::outcome::{MOST, cut};

/// Characters of a report's message.
const MESSAGE: usize = 1_024;

impl Host for Guest {
    fn report(&mut self, done: u64, total: Option<u64>, message: String) {
        let at = self.context.clock.now();
        let (done, total) = (done.min(MOST), total.map(|total| total.min(MOST)));
        self.context.journal.progress(Progress { done, total, message: cut(message, MESSAGE), at });
    }
}
