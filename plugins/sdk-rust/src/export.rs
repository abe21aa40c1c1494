//! The macros that export an author's functions, and the glue between his types and the contract's.

use serde_json::Value;

use crate::bindings::job::windlass::plugin::types;
use crate::{Failure, Measurement, Output, Problem, Target, Totals, Work};

/// Exports `fn run(work: &Work) -> Result<impl Into<Output>, Failure>` as the plugin's job.
#[macro_export]
macro_rules! job {
    ($run:path) => {
        const _: () = {
            struct Job;
            impl $crate::bindings::job::exports::windlass::plugin::job::Guest for Job {
                fn run(work: $crate::Work) -> $crate::export::Ended {
                    $crate::export::run(&work, $run)
                }
            }
            // The exported symbols have names that only a wasm linker accepts; elsewhere it is enough that it compiles.
            #[cfg(not(target_family = "wasm"))]
            const _: fn($crate::Work) -> $crate::export::Ended =
                <Job as $crate::bindings::job::exports::windlass::plugin::job::Guest>::run;
            #[cfg(target_family = "wasm")]
    $crate::bindings::job::export_job!(Job with_types_in $crate::bindings::job);
        };
    };
}

/// Exports `fn measure(target: &Target) -> Result<impl Into<Measurement>, Failure>` as the plugin's backlog.
#[macro_export]
macro_rules! backlog {
    ($measure:path) => {
        const _: () = {
            struct Backlog;
            impl $crate::bindings::backlog::exports::windlass::plugin::backlog::Guest for Backlog {
                fn measure(target: $crate::Target) -> $crate::export::Measured {
                    $crate::export::measure(&target, $measure)
                }
            }
            #[cfg(not(target_family = "wasm"))]
            const _: fn($crate::Target) -> $crate::export::Measured =
                <Backlog as $crate::bindings::backlog::exports::windlass::plugin::backlog::Guest>::measure;
            #[cfg(target_family = "wasm")]
    $crate::bindings::backlog::export_backlog!(Backlog with_types_in $crate::bindings::backlog);
        };
    };
}

/// Exports `fn check(config: &serde_json::Value) -> Vec<Problem>` as the plugin's judge of configurations.
#[macro_export]
macro_rules! config_check {
    ($check:path) => {
        const _: () = {
            struct Config;
            impl $crate::bindings::config::exports::windlass::plugin::config::Guest for Config {
                fn check(config: ::std::string::String) -> $crate::export::Checked {
                    $crate::export::check(&config, $check)
                }
            }
            #[cfg(not(target_family = "wasm"))]
            const _: fn(::std::string::String) -> $crate::export::Checked =
                <Config as $crate::bindings::config::exports::windlass::plugin::config::Guest>::check;
            #[cfg(target_family = "wasm")]
    $crate::bindings::config::export_config!(Config with_types_in $crate::bindings::config);
        };
    };
}

/// Exports `fn describe() -> impl ToString` (JSON) as the plugin's description.
#[macro_export]
macro_rules! describe {
    ($describe:path) => {
        const _: () = {
            struct Describe;
            impl $crate::bindings::describe::exports::windlass::plugin::describe::Guest for Describe {
                fn describe() -> ::std::string::String {
                    ::std::string::ToString::to_string(&$describe())
                }
            }
            #[cfg(not(target_family = "wasm"))]
            const _: fn() -> ::std::string::String =
                <Describe as $crate::bindings::describe::exports::windlass::plugin::describe::Guest>::describe;
            #[cfg(target_family = "wasm")]
    $crate::bindings::describe::export_describe!(Describe with_types_in $crate::bindings::describe);
        };
    };
}

/// Exports `fn finish(work: &Work, totals: &Totals) -> Result<impl Into<Output>, Failure>`, run after the last item.
#[macro_export]
macro_rules! finish {
    ($finish:path) => {
        const _: () = {
            struct Finish;
            impl $crate::bindings::finish::exports::windlass::plugin::finish::Guest for Finish {
                fn finish(work: $crate::Work, totals: $crate::Totals) -> $crate::export::Ended {
                    $crate::export::finish(&work, &totals, $finish)
                }
            }
            #[cfg(not(target_family = "wasm"))]
            const _: fn($crate::Work, $crate::Totals) -> $crate::export::Ended =
                <Finish as $crate::bindings::finish::exports::windlass::plugin::finish::Guest>::finish;
            #[cfg(target_family = "wasm")]
    $crate::bindings::finish::export_finish!(Finish with_types_in $crate::bindings::finish);
        };
    };
}

pub type Ended = Result<Output, types::Failure>;
pub type Measured = Result<Measurement, types::Failure>;
pub type Checked = Result<(), Vec<Problem>>;

pub fn run<O: Into<Output>>(work: &Work, run: impl Fn(&Work) -> Result<O, Failure>) -> Ended {
    run(work).map(Into::into).map_err(Failure::into_contract)
}

pub fn measure<M: Into<Measurement>>(target: &Target, measure: impl Fn(&Target) -> Result<M, Failure>) -> Measured {
    measure(target).map(Into::into).map_err(Failure::into_contract)
}

pub fn finish<O: Into<Output>>(work: &Work, totals: &Totals, finish: impl Fn(&Work, &Totals) -> Result<O, Failure>) -> Ended {
    finish(work, totals).map(Into::into).map_err(Failure::into_contract)
}

pub fn check(config: &str, check: impl Fn(&Value) -> Vec<Problem>) -> Checked {
    let problems = match serde_json::from_str::<Value>(config) {
        Ok(value) if value.is_object() => check(&value),
        Ok(_) => vec![Problem::new("", "the configuration must be a JSON object")],
        Err(error) => vec![Problem::new("", format!("the configuration is not JSON: {error}"))],
    };
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}
