//! When guests start: the real executor, with a look at the clock before each run.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::attempt::Outcome;
use crate::domain::backlog::Measurement;
use crate::domain::item::ItemCounts;
use crate::error::Problem;
use crate::id::Id;
use crate::plugin::{Answer, Executor, Work};

/// When guests were about to start, by run; and what else was seen.
#[derive(Default)]
pub(super) struct Stamps {
    started: Mutex<HashMap<Id, Instant>>,
    /// Probes that were answered here.
    measured: AtomicUsize,
}

impl Stamps {
    pub(super) fn take(&self) -> HashMap<Id, Instant> {
        std::mem::take(&mut *self.started.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn take_measured(&self) -> usize {
        self.measured.swap(0, Ordering::Relaxed)
    }

    /// Until so many have started: it costs the database nothing.
    pub(super) async fn wait_for(&self, runs: usize) {
        while self.started.lock().unwrap_or_else(PoisonError::into_inner).len() < runs {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The sandbox, with a look at the clock before each run.
pub(super) struct Stamping {
    pub(super) inner: Arc<dyn Executor>,
    pub(super) stamps: Arc<Stamps>,
    /// Probes are answered here at once: nothing waits.
    pub(super) answers: bool,
}

impl Executor for Stamping {
    fn execute(&self, work: Work) -> Answer<Outcome> {
        self.stamps.started.lock().unwrap_or_else(PoisonError::into_inner).insert(work.run, Instant::now());
        self.inner.execute(work)
    }

    fn finish(&self, work: Work, totals: ItemCounts) -> Answer<Outcome> {
        self.inner.finish(work, totals)
    }

    fn finishes(&self, digest: &str) -> bool {
        self.inner.finishes(digest)
    }

    fn measure(&self, work: Work) -> Answer<Result<Measurement, String>> {
        if !self.answers {
            return self.inner.measure(work);
        }
        self.stamps.measured.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(Ok(Measurement { size: 0, age_ms: None })))
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
