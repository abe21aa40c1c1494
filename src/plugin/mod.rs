//! Guests: the only room with wasmtime. It knows nothing of the store; what a guest asks for beyond itself (its job's
//! state, its run's items) goes through a [`Port`], what it leaves behind (log, progress, calls) through [`Journal`].

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::attempt::{Class, Outcome};
use crate::domain::backlog::Measurement;
use crate::domain::grant::{Ceiling, Grant};
use crate::domain::item::{self, ItemCounts};
use crate::error::Problem;
use crate::id::Id;

pub mod catalog;
pub mod embedded;
pub mod journal;
pub mod tape;

mod bindings;
mod call;
mod command;
pub mod compile;
mod compiled;
pub mod compiler;
mod engine;
mod host;
mod inspect;
mod instance;
mod loaded;
mod outcome;
mod sandbox;
mod scratch;
mod stdio;
mod toll;
mod trap;

pub use catalog::{Catalog, Described, Step};
pub use compiler::Compiler;
pub use embedded::{EMBEDDED, Embedded};
pub use journal::Journal;
pub use sandbox::{Sandbox, Settings};
pub use tape::Tape;
pub use toll::deadline_cost;

pub type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Runs guests. The real one is [`Sandbox`]; tests of the runner have their own.
pub trait Executor: Send + Sync + 'static {
    /// One attempt. Everything that can go wrong is an [`Outcome`]; dropping the future stops the guest.
    fn execute(&self, work: Work) -> Answer<Outcome>;
    /// One attempt at the plugin's `finish` export, after the run's last item has ended.
    fn finish(&self, _work: Work, _totals: ItemCounts) -> Answer<Outcome> {
        Box::pin(std::future::ready(Outcome::failed(Class::Permanent, "the plugin has no finish export")))
    }
    /// Whether it has one.
    fn finishes(&self, _digest: &str) -> bool {
        false
    }
    /// Asks the plugin's `backlog` export. The error says why nothing was measured, for a person.
    fn measure(&self, work: Work) -> Answer<Result<Measurement, String>>;
    /// Asks the plugin's `config` export; nothing wrong when it has none.
    fn check(&self, digest: &str, config: String) -> Answer<Result<(), Vec<Problem>>>;
    /// Whether the plugin is loaded here, so that its runs may be claimed.
    fn has(&self, digest: &str) -> bool;
    /// How many living nodes, this one included, share what targets may be asked.
    fn shares(&self, _nodes: u32) {}
}

/// One attempt of a run (or one measurement), with all that the guest may see and do.
pub struct Work {
    pub tenant: String,
    pub job: String,
    pub run: Id,
    pub attempt: u32,
    /// [`crate::domain::trigger::Cause::word`].
    pub trigger: &'static str,
    /// JSON object.
    pub config: String,
    /// JSON.
    pub input: String,
    /// Of the plugin.
    pub digest: String,
    /// The hard stop. `should-stop` turns true `grace` before.
    pub time_limit: Duration,
    pub grace: Duration,
    pub stall_limit: Option<Duration>,
    pub grant: Arc<Grant>,
    pub ceiling: Arc<Ceiling>,
    /// Values of the secrets that the grant names.
    pub secrets: Arc<HashMap<String, Secret>>,
    pub journal: Arc<Journal>,
    pub stop: Arc<Stop>,
    pub state: StatePort,
    /// `None` outside a run: a probe has no items.
    pub items: Option<ItemsPort>,
    /// The same: a probe leaves nothing behind.
    pub artifacts: Option<ArtifactsPort>,
    /// Where what the guest learns comes from.
    pub tape: Arc<Tape>,
}

/// Tells a running guest to end, from outside.
#[derive(Debug, Default)]
pub struct Stop {
    /// `should-stop` answers true from now on.
    pub asked: std::sync::atomic::AtomicBool,
    /// Stop at the next epoch, without asking.
    pub now: std::sync::atomic::AtomicBool,
    /// Of the node: when it is gone, so is every guest's.
    pub right: Right,
    /// Somebody was told so: what the guest came to is not its own doing.
    pub cut: std::sync::atomic::AtomicBool,
}

impl Stop {
    /// Whether the guest must stop without being asked: cancelled, or the lease may be another's.
    pub fn is_now(&self) -> bool {
        let is_now = self.now.load(std::sync::atomic::Ordering::Relaxed) || !self.right.stands();
        if is_now {
            self.cut.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        is_now
    }

    /// Whether it was stopped so, at least for a moment: a request refused, or all of it.
    pub fn was_cut(&self) -> bool {
        self.cut.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// A node's right to its runs: for ever, until it is given an end. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Right(Arc<std::sync::RwLock<Option<std::time::Instant>>>);

impl Right {
    pub fn stands(&self) -> bool {
        self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).is_none_or(|end| std::time::Instant::now() < end)
    }

    pub fn until(&self, end: std::time::Instant) {
        *self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(end);
    }
}

/// A secret's value. It is never shown: not by Debug, not in a log.
#[derive(Clone)]
pub struct Secret(pub Arc<[u8]>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where a guest's calls of an interface go that is answered from the store; the runner does that.
pub type Port<A, T> = tokio::sync::mpsc::Sender<Call<A, T>>;
pub type StatePort = Port<StateAsk, StateAnswer>;
pub type StateCall = Call<StateAsk, StateAnswer>;
pub type ItemsPort = Port<item::Ask, item::Answer>;
pub type ItemsCall = Call<item::Ask, item::Answer>;
pub type ArtifactsPort = Port<ArtifactAsk, ArtifactAnswer>;
pub type ArtifactsCall = Call<ArtifactAsk, ArtifactAnswer>;

/// A call, and where its answer goes.
#[derive(Debug)]
pub struct Call<A, T> {
    pub ask: A,
    pub answer: tokio::sync::oneshot::Sender<Result<T, Refusal>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateAsk {
    Get(String),
    /// `expected`: the version that must stand there; 0 for none.
    Set {
        key: String,
        #[serde(with = "tape::bytes")]
        value: Vec<u8>,
        expected: Option<u64>,
    },
    Delete {
        key: String,
        expected: Option<u64>,
    },
    Keys {
        prefix: String,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateAnswer {
    #[serde(with = "tape::versioned")]
    Entry(Option<(Vec<u8>, u64)>),
    Version(u64),
    Done,
    Keys(Vec<String>),
}

/// About a file that the run leaves behind, or that another has left. The answer to `Create` is a number, its handle for the
/// next three; that to `Finish` is its size in bytes, and of that to `Write` and `Discard` nothing is read.
#[derive(Debug, Clone)]
pub enum ArtifactAsk {
    Create {
        name: String,
        media_type: String,
    },
    Write {
        handle: u64,
        bytes: Vec<u8>,
    },
    Finish {
        handle: u64,
    },
    /// Dropped before it was finished.
    Discard {
        handle: u64,
    },
    /// What a run, by its id as the guest wrote it, has left under this name.
    Open {
        run: String,
        name: String,
    },
    /// So many bytes of it; `place` is the one that was answered, which the guest does not see.
    Read {
        place: String,
        name: String,
        bytes: std::ops::Range<u64>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactAnswer {
    Number(u64),
    Opened { place: String, bytes: u64, media_type: String },
    Read(Vec<u8>),
}

/// `code` is one of the contract's: `conflict`, `quota`, `not-declared`, `denied`, …
#[derive(Debug, Clone)]
pub struct Refusal {
    pub code: &'static str,
    pub message: String,
}
