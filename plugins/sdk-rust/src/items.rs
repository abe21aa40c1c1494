//! Named pieces of work inside a run, each recorded once however often it is reported. What is done stays done: an
//! attempt, and a re-run, gets only what is open.
//!
//! ```no_run
//! use windlass_plugin::{Failure, Work, items};
//!
//! fn run(work: &Work) -> Result<String, Failure> {
//!     let urls: Vec<String> = work.input()?;
//!     items::declare(&urls.iter().map(|url| items::Item::new(url, url)).collect::<Vec<_>>())?;
//!     let tally = items::each(|_name, url: String| fetch(&url))?;
//!     Ok(format!("{} done, {} failed", tally.done, tally.failed))
//! }
//! # fn fetch(_: &str) -> Result<String, Failure> { Ok(String::new()) }
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::job::windlass::plugin::items;
pub use crate::bindings::job::windlass::plugin::items::{Ending, Item, Status};
use crate::work::decode;
use crate::{Class, Failure, Refusal, control};

/// Adds items; known ones are left as they are. Answers how many are open.
pub fn declare(items: &[Item]) -> Result<u64, Refusal> {
    items::declare(items).map_err(Into::into)
}

/// The next open items, at most `max`; empty when none is left. Where `items.parallel` or `items.outside` hand them to others,
/// the guest that declares them gets none; one that is called over a chunk gets those of its chunk.
pub fn next(max: u32) -> Result<Vec<Item>, Refusal> {
    items::next(max).map_err(Into::into)
}

/// Ends items; answers how many had not ended before.
pub fn finish(endings: &[Ending]) -> Result<u64, Refusal> {
    items::finish(endings).map_err(Into::into)
}

/// What [`each`] did in this attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    pub done: u64,
    pub failed: u64,
}

/// Works on one open item after another, and records each before the next begins. `work` gets its name and its input.
///
/// `Ok` is done. A permanent failure is the item's: it failed, and the next begins. Any other failure is the attempt's: it
/// ends there, and the next attempt begins with this item. When the run is to stop, what is open stays open.
pub fn each<T: DeserializeOwned, M: Into<String>>(mut work: impl FnMut(&str, T) -> Result<M, Failure>) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    while !control::should_stop() {
        let Some(item) = next(1)?.pop() else { break };
        let worked = decode(&item.name, &item.input).and_then(|input| work(&item.name, input));
        let ending = match worked {
            Ok(message) => item.done(message),
            Err(failure) if failure.class() == Class::Permanent => item.failed(failure.message()),
            Err(failure) => return Err(failure),
        };
        match ending.status {
            Status::Failed => tally.failed += 1,
            _ => tally.done += 1,
        }
        finish(&[ending])?;
    }
    Ok(tally)
}

impl Item {
    /// `name` is stable over re-runs. An input that is no JSON becomes `null`.
    pub fn new(name: impl Into<String>, input: &impl Serialize) -> Self {
        let input = serde_json::to_string(input).unwrap_or_else(|_| "null".to_owned());
        Self { name: name.into(), input }
    }

    /// What does not fit is a permanent failure that names the item and the key.
    pub fn input<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        decode(&self.name, &self.input)
    }

    pub fn done(&self, message: impl Into<String>) -> Ending {
        self.ending(Status::Done, message)
    }

    pub fn failed(&self, message: impl Into<String>) -> Ending {
        self.ending(Status::Failed, message)
    }

    pub fn skipped(&self, message: impl Into<String>) -> Ending {
        self.ending(Status::Skipped, message)
    }

    fn ending(&self, status: Status, message: impl Into<String>) -> Ending {
        Ending { name: self.name.clone(), status, message: message.into(), output: None }
    }
}

impl Ending {
    /// JSON that is kept with the item.
    #[must_use]
    pub fn output(mut self, output: impl ToString) -> Self {
        self.output = Some(output.to_string());
        self
    }
}
