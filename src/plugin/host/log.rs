use crate::plugin::bindings::windlass::plugin::log::{Host, Level as GuestLevel};
use crate::plugin::instance::Guest;
use crate::plugin::journal::{Level, Line};

impl Host for Guest {
    fn write(&mut self, level: GuestLevel, message: String, fields: Vec<(String, String)>) {
        let level = match level {
            GuestLevel::Trace => Level::Trace,
            GuestLevel::Debug => Level::Debug,
            GuestLevel::Info => Level::Info,
            GuestLevel::Warn => Level::Warn,
            GuestLevel::Error => Level::Error,
        };
        let at = self.context.clock.now();
        self.context.journal.log(Line { at, level, message, fields });
    }
}
