//! When guests start: the real executor, with a look at the clock before each run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::attempt::Outcome;
use crate::domain::backlog::Measurement;
use crate::domain::item::ItemCounts;
use crate::error::Problem;
use crate::id::Id;
use crate::plugin::{Answer, Executor, Work};

/// When guests were about to start, by run.
#[derive(Default)]
pub(super) struct Stamps(Mutex<HashMap<Id, Instant>>);

impl Stamps {
    pub(super) fn take(&self) -> HashMap<Id, Instant> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Until so many have started: it costs the database nothing.
    pub(super) async fn wait_for(&self, runs: usize) {
        while self.0.lock().unwrap_or_else(PoisonError::into_inner).len() < runs {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The sandbox, with a look at the clock before each run.
pub(super) struct Stamping {
    pub(super) inner: Arc<dyn Executor>,
    pub(super) stamps: Arc<Stamps>,
}

impl Executor for Stamping {
    fn execute(&self, work: Work) -> Answer<Outcome> {
        self.stamps.0.lock().unwrap_or_else(PoisonError::into_inner).insert(work.run, Instant::now());
        self.inner.execute(work)
    }

    fn finish(&self, work: Work, totals: ItemCounts) -> Answer<Outcome> {
        self.inner.finish(work, totals)
    }

    fn finishes(&self, digest: &str) -> bool {
        self.inner.finishes(digest)
    }

    fn measure(&self, work: Work) -> Answer<Result<Measurement, String>> {
        self.inner.measure(work)
    }

    fn check(&self, digest: &str, config: String) -> Answer<Result<(), Vec<Problem>>> {
        self.inner.check(digest, config)
    }

    fn has(&self, digest: &str) -> bool {
        self.inner.has(digest)
    }

    fn shares(&self, nodes: u32) {
        self.inner.shares(nodes);
    }
}
