//! What commits tell: who waits for something to do wakes, and reads the truth.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::{mpsc, watch};

use super::audit::Entry;
use super::meter::Meters;
use super::record::Finished;
use super::tx::News;
use crate::clock::Timestamp;
use crate::id::Id;

type Cancelled = Box<dyn Fn(Vec<Finished>) + Send + Sync>;

/// What a commit tells others. Signals only wake: whoever wakes reads the truth, and a poll would find it anyway.
#[derive(Clone)]
pub struct Signals {
    lanes: Arc<Mutex<BTreeSet<(Id, Id)>>>,
    work: Arc<tokio::sync::Notify>,
    changes: Arc<watch::Sender<u64>>,
    meters: Arc<Meters>,
    definitions: Arc<watch::Sender<u64>>,
    operations: Arc<watch::Sender<u64>>,
    notices: Arc<watch::Sender<u64>>,
    /// When the earliest run of `later` is due, as far as commits told.
    later: Arc<watch::Sender<Timestamp>>,
    /// Who is told of runs that ended while they waited, when it is committed.
    cancelled: Arc<OnceLock<Cancelled>>,
    /// Where other nodes are told; nobody on SQLite.
    herald: Option<mpsc::UnboundedSender<News>>,
}

impl Default for Signals {
    fn default() -> Self {
        Self {
            lanes: Arc::default(),
            work: Arc::default(),
            changes: Arc::new(watch::Sender::new(0)),
            meters: Arc::default(),
            definitions: Arc::new(watch::Sender::new(0)),
            operations: Arc::new(watch::Sender::new(0)),
            notices: Arc::new(watch::Sender::new(0)),
            later: Arc::new(watch::Sender::new(Timestamp(i64::MAX))),
            cancelled: Arc::default(),
            herald: None,
        }
    }
}

impl Signals {
    /// Signals whose commits are told to other nodes too.
    pub(super) fn heralded(herald: mpsc::UnboundedSender<News>) -> Self {
        Self { herald: Some(herald), ..Self::default() }
    }

    /// This node committed.
    pub(super) fn publish(&self, mut news: News) {
        std::mem::take(&mut news.audited).iter().for_each(Entry::log);
        self.meters.add(&news.counted);
        let cancelled = std::mem::take(&mut news.cancelled);
        if let Some(tell) = self.cancelled.get().filter(|_| !cancelled.is_empty()) {
            tell(cancelled);
        }
        if let Some(herald) = &self.herald {
            // The store is closing when nobody listens any more.
            let _ = herald.send(news.clone());
        }
        self.hear(news);
    }

    /// Somebody committed.
    pub(super) fn hear(&self, news: News) {
        // What was counted was counted where it was committed, and logged there.
        let News { woken, redefined, operated, noticed, later, counted: _, cancelled: _, audited: _ } = news;
        if let Some(at) = later {
            self.later.send_if_modified(|earliest| std::mem::replace(earliest, (*earliest).min(at)) > at);
        }
        if !woken.is_empty() {
            self.lanes.lock().unwrap_or_else(PoisonError::into_inner).extend(woken);
            self.work.notify_one();
        }
        if redefined {
            self.definitions.send_modify(|n| *n += 1);
        }
        if operated {
            self.operations.send_modify(|n| *n += 1);
        }
        if noticed {
            self.notices.send_modify(|n| *n += 1);
        }
        self.changes.send_modify(|n| *n += 1);
    }

    /// Tells of runs that end while they wait, once this process has committed it. The first who asks is told.
    pub fn on_cancelled(&self, tell: impl Fn(Vec<Finished>) + Send + Sync + 'static) {
        // There is one runner for a store.
        let _ = self.cancelled.set(Box::new(tell));
    }

    pub(super) fn tells_of_cancelled(&self) -> bool {
        self.cancelled.get().is_some()
    }

    /// Jobs (tenant, job) that have got rows to claim since the last time.
    pub fn take_lanes(&self) -> BTreeSet<(Id, Id)> {
        std::mem::take(&mut *self.lanes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until there may be something to claim.
    pub async fn work(&self) {
        self.work.notified().await;
    }

    /// Wakes the claimer for another reason: a slot has become free.
    pub fn wake(&self) {
        self.work.notify_one();
    }

    /// Moves when a run was put off to an earlier time than all before.
    pub fn later(&self) -> watch::Receiver<Timestamp> {
        self.later.subscribe()
    }

    /// Forgets what was told so far: the promoter looks for itself. What a commit tells from now on counts again.
    pub fn look_later(&self) {
        self.later.send_if_modified(|earliest| {
            *earliest = Timestamp(i64::MAX);
            false
        });
    }

    /// The promoter waits for `at`: only what is earlier wakes it.
    pub fn later_is(&self, at: Timestamp) {
        self.later.send_if_modified(|earliest| {
            *earliest = (*earliest).min(at);
            false
        });
    }

    /// What commits of this process came to.
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    /// Grows with each commit.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Grows when tenants, jobs, triggers or plugins have changed, or a token has ended.
    pub fn definitions(&self) -> watch::Receiver<u64> {
        self.definitions.subscribe()
    }

    /// Grows when an operation was begun.
    pub fn operations(&self) -> watch::Receiver<u64> {
        self.operations.subscribe()
    }

    /// Grows when something was noticed that a job shall have a run for.
    pub fn notices(&self) -> watch::Receiver<u64> {
        self.notices.subscribe()
    }
}
