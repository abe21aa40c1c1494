//! The runs this node executes now: their journals, and how to stop them.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Timestamp;
use crate::domain::run::{Progress, Run};
use crate::domain::trigger::Cause;
use crate::id::Id;
use crate::plugin::tape::{Recording, Recordings};
use crate::plugin::{Journal, Right, Secret, Stop};
use crate::store::log::LogChunk;

/// Why a run is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Cancelled = 1,
    Drained = 2,
}

/// One running run.
pub struct Live {
    pub run: Run,
    pub journal: Arc<Journal>,
    pub stop: Arc<Stop>,
    why: AtomicU8,
    /// Its guest has asked for items in this attempt.
    items: AtomicBool,
    /// When it was asked to stop; the hard stop follows.
    asked_at: Mutex<Option<Timestamp>>,
    written: Mutex<Written>,
    recorded: Mutex<Recorded>,
}

/// What was recorded, call by call, and the secrets whose values must not stand in it.
type Recorded = (Vec<Recording>, Arc<HashMap<String, Secret>>);

/// How much of the journal has been taken.
#[derive(Default)]
struct Written {
    chunks: u32,
    lines: u64,
    dropped: u64,
}

impl Live {
    pub fn new(run: Run, right: Right) -> Self {
        Self {
            run,
            journal: Arc::default(),
            stop: Arc::new(Stop { right, ..Stop::default() }),
            why: AtomicU8::new(0),
            items: AtomicBool::new(false),
            asked_at: Mutex::default(),
            written: Mutex::default(),
            recorded: Mutex::default(),
        }
    }

    pub fn why(&self) -> Option<Why> {
        [Why::Cancelled, Why::Drained].into_iter().find(|why| *why as u8 == self.why.load(Ordering::Acquire))
    }

    pub fn uses_items(&self) {
        self.items.store(true, Ordering::Release);
    }

    /// Without a look at the store: items come from this attempt's guest, an earlier one's, or the run that is run again.
    pub fn may_have_items(&self) -> bool {
        self.items.load(Ordering::Acquire) || self.run.attempt > 1 || self.run.cause == Cause::Rerun
    }

    /// Asks it to stop; the first reason stands.
    pub fn ask(&self, why: Why, now: Timestamp) {
        if self.why.compare_exchange(0, why as u8, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            *lock(&self.asked_at) = Some(now);
            self.stop.asked.store(true, Ordering::Release);
        }
    }

    pub fn asked_at(&self) -> Option<Timestamp> {
        *lock(&self.asked_at)
    }

    /// One call of its guest was recorded.
    pub fn recorded(&self, recording: Recording, secrets: Arc<HashMap<String, Secret>>) {
        let mut recorded = lock(&self.recorded);
        recorded.0.push(recording);
        recorded.1 = secrets;
    }

    /// All calls that were recorded; `None` when none was.
    pub fn take_recordings(&self) -> Option<(Recordings, Arc<HashMap<String, Secret>>)> {
        let (recordings, secrets) = std::mem::take(&mut *lock(&self.recorded));
        (!recordings.is_empty()).then_some((Recordings(recordings), secrets))
    }

    /// What its journal gathered, as a chunk to store, and its last progress.
    pub fn take(&self) -> (Option<LogChunk>, Option<Progress>) {
        let mut written = lock(&self.written);
        let taken = self.journal.take();
        if taken.lines.is_empty() && taken.calls.is_empty() && taken.dropped == written.dropped {
            return (None, taken.progress);
        }
        let chunk = LogChunk {
            tenant: self.run.tenant,
            run: self.run.id,
            attempt: self.run.attempt,
            seq: written.chunks,
            first_line: written.lines + 1,
            dropped: taken.dropped,
            lines: taken.lines,
            calls: taken.calls,
        };
        written.chunks += 1;
        written.lines += chunk.lines.len() as u64;
        written.dropped = taken.dropped;
        (Some(chunk), taken.progress)
    }
}

#[derive(Default)]
pub struct LiveRuns {
    runs: Mutex<HashMap<Id, Arc<Live>>>,
    /// Secrets (tenant, name) used by runs that ended since the scribe last looked.
    used: Mutex<BTreeSet<(Id, String)>>,
    draining: AtomicBool,
}

impl LiveRuns {
    pub fn add(&self, live: Arc<Live>) {
        lock(&self.runs).insert(live.run.id, live);
    }

    /// An attempt is over and recorded. The same run may be here again already.
    pub fn remove(&self, live: &Live) {
        let mut runs = lock(&self.runs);
        if runs.get(&live.run.id).is_some_and(|found| found.run.attempt == live.run.attempt) {
            runs.remove(&live.run.id);
        }
        drop(runs);
        let used = live.journal.take_secrets();
        if !used.is_empty() {
            lock(&self.used).extend(used.into_iter().map(|name| (live.run.tenant, name)));
        }
    }

    /// Secrets (tenant, name) used by ended runs since the last time.
    pub fn take_used(&self) -> BTreeSet<(Id, String)> {
        std::mem::take(&mut lock(&self.used))
    }

    pub fn get(&self, run: Id) -> Option<Arc<Live>> {
        lock(&self.runs).get(&run).cloned()
    }

    pub fn all(&self) -> Vec<Arc<Live>> {
        lock(&self.runs).values().cloned().collect()
    }

    pub fn is_empty(&self) -> bool {
        lock(&self.runs).is_empty()
    }

    /// Tells all guests that the node is going.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        for live in self.all() {
            live.ask(Why::Drained, Timestamp(0));
        }
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Stops all guests without asking.
    pub fn stop_now(&self) {
        for live in self.all() {
            live.stop.now.store(true, Ordering::Release);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
