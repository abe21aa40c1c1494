//! The macros that export an author's functions, and the glue between his types and the contract's.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::bindings::job::windlass::plugin::types;
use crate::{Failure, Measurement, Output, Problem, Target, Totals, Work};

/// Exports the plugin's job, which has one of these shapes:
///
/// - `fn run(work: &Work, input: T) -> Result<U, Failure>`: the run's input is decoded to `T` (what does not fit is a permanent
///   failure that names the key), `U` is text (the summary), anything that serde can write (the output's data), or an [`Output`](crate::Output).
/// - `fn run(work: &Work) -> Result<impl Into<Output>, Failure>`: without a look at the input.
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

/// The shapes that `job!` takes. `Shape` only tells them apart for the compiler; nobody names it.
pub trait Job<Shape> {
    fn call(&self, work: &Work) -> Result<Output, Failure>;
}

pub struct Plain<O>(PhantomData<O>);
pub struct Typed<T>(PhantomData<T>);
pub struct TypedBoth<T, U>(PhantomData<(T, U)>);

impl<F: Fn(&Work) -> Result<O, Failure>, O: Into<Output>> Job<Plain<O>> for F {
    fn call(&self, work: &Work) -> Result<Output, Failure> {
        self(work).map(Into::into)
    }
}

impl<F: Fn(&Work, T) -> Result<Output, Failure>, T: DeserializeOwned> Job<Typed<T>> for F {
    fn call(&self, work: &Work) -> Result<Output, Failure> {
        self(work, work.input()?)
    }
}

impl<F: Fn(&Work, T) -> Result<U, Failure>, T: DeserializeOwned, U: Serialize> Job<TypedBoth<T, U>> for F {
    fn call(&self, work: &Work) -> Result<Output, Failure> {
        Ok(match serde_json::to_value(self(work, work.input()?)?)? {
            Value::Null => Output::new(""),
            Value::String(summary) => Output::new(summary),
            data => Output::new(shortened(&data.to_string())).data(data),
        })
    }
}

/// What a person is shown of an output that is data alone.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 200;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

pub fn run<Shape>(work: &Work, job: impl Job<Shape>) -> Ended {
    job.call(work).map_err(Failure::into_contract)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Class;

    fn work(input: &str) -> Work {
        Work {
            tenant: "t".into(),
            job: "j".into(),
            run: "r".into(),
            attempt: 1,
            trigger: "manual".into(),
            config: "{}".into(),
            input: input.into(),
            time_limit_ms: 1_000,
            extras: Vec::new(),
        }
    }

    fn plain(work: &Work) -> Result<&'static str, Failure> {
        Ok(if work.input.is_empty() { "nothing" } else { "something" })
    }

    fn text(_: &Work, name: String) -> Result<String, Failure> {
        Ok(format!("hello, {name}"))
    }

    fn data(_: &Work, numbers: Vec<u32>) -> Result<Vec<u32>, Failure> {
        Ok(numbers.iter().map(|n| n * 2).collect())
    }

    fn output(_: &Work, numbers: Vec<u32>) -> Result<Output, Failure> {
        Ok(Output::new("doubled").data(numbers.len()))
    }

    fn nothing(_: &Work, (): ()) -> Result<(), Failure> {
        Ok(())
    }

    #[test]
    fn every_shape_of_a_job_is_taken() {
        for (ended, summary, data) in [
            (run(&work("1"), plain), "something", None),
            (run(&work(r#""Ada""#), text), "hello, Ada", None),
            (run(&work("[1,2]"), data), "[2,4]", Some("[2,4]")),
            (run(&work("[1,2]"), output), "doubled", Some("2")),
            (run(&work(""), nothing), "", None),
        ] {
            let output = ended.unwrap();
            assert_eq!((output.summary.as_str(), output.data.as_deref()), (summary, data));
        }
        let failure = run(&work(r#"["x"]"#), data).unwrap_err();
        assert_eq!(failure.class, Class::Permanent);
        assert!(failure.message.starts_with("input.[0]: "), "{}", failure.message);
        assert!(shortened(&"ä".repeat(300)).ends_with("ä…"));
    }
}
