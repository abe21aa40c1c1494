//! The run's log: `log::info!("took {n} pieces")`, with fields `log::error!(job_type = t, count = n; "failed: {why}")`.

pub use crate::__log_debug as debug;
pub use crate::__log_error as error;
pub use crate::__log_info as info;
pub use crate::__log_trace as trace;
pub use crate::__log_warn as warn;
pub use crate::bindings::job::windlass::plugin::log::Level;

/// Writes one line. Outside of a component (in an author's native tests) it goes to stderr.
pub fn write(level: Level, message: &str, fields: &[(String, String)]) {
    #[cfg(target_family = "wasm")]
    crate::bindings::job::windlass::plugin::log::write(level, message, fields);
    #[cfg(not(target_family = "wasm"))]
    eprintln!("{level:?} {message} {fields:?}");
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($level:ident, $($key:ident = $value:expr),+ ; $($message:tt)+) => {
        $crate::log::write(
            $crate::log::Level::$level,
            &::std::format!($($message)+),
            &[$((::std::stringify!($key).to_owned(), ::std::string::ToString::to_string(&$value))),+],
        )
    };
    ($level:ident, $($message:tt)+) => {
        $crate::log::write($crate::log::Level::$level, &::std::format!($($message)+), &[])
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log_trace { ($($t:tt)+) => { $crate::__log!(Trace, $($t)+) }; }
#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug { ($($t:tt)+) => { $crate::__log!(Debug, $($t)+) }; }
#[doc(hidden)]
#[macro_export]
macro_rules! __log_info { ($($t:tt)+) => { $crate::__log!(Info, $($t)+) }; }
#[doc(hidden)]
#[macro_export]
macro_rules! __log_warn { ($($t:tt)+) => { $crate::__log!(Warn, $($t)+) }; }
#[doc(hidden)]
#[macro_export]
macro_rules! __log_error { ($($t:tt)+) => { $crate::__log!(Error, $($t)+) }; }
