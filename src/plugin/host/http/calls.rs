//! The list of a run's requests, allowed or not.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::plugin::journal::{Call, Journal};
use crate::plugin::outcome::cut;

/// Bytes that the host holds for one request: headers both ways, pieces of bodies, the connection's buffers.
const HELD: u64 = 256 * 1024;
/// Characters of a URL that are listed.
const URL: usize = 2_048;

/// The requests under way; each reaches the journal once, when it ends or when the run does.
pub struct Calls {
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    calls: HashMap<u64, Pending>,
}

struct Pending {
    call: Call,
    started: Instant,
    sent: Arc<AtomicU64>,
}

/// How many requests there were.
#[derive(Debug, Clone, Copy)]
pub struct SoFar {
    pub under_way: u64,
    /// In all.
    pub begun: u64,
}

/// A request under way. Dropping it ends it.
pub struct Entry {
    calls: Arc<Calls>,
    number: u64,
    pub sent: Arc<AtomicU64>,
}

impl Calls {
    pub fn new(journal: Arc<Journal>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { journal, clock, open: Mutex::default() })
    }

    /// `url` is as it may be shown.
    pub fn begin(self: &Arc<Self>, method: &str, url: String, sent: Arc<AtomicU64>) -> Entry {
        let mut open = self.lock();
        let number = open.next;
        let call = Call {
            number,
            at: self.clock.now(),
            method: method.to_owned(),
            url: cut(url, URL),
            status: None,
            sent_bytes: 0,
            received_bytes: 0,
            duration_ms: 0,
            error: None,
            waited_ms: 0,
            reused: false,
            secrets: Vec::new(),
        };
        open.next += 1;
        open.calls.insert(number, Pending { call, started: Instant::now(), sent: Arc::clone(&sent) });
        Entry { calls: Arc::clone(self), number, sent }
    }

    pub fn so_far(&self) -> SoFar {
        let open = self.lock();
        SoFar { under_way: open.calls.len() as u64, begun: open.next }
    }

    /// Bytes that the host holds for requests under way, at the most.
    pub fn held(&self) -> u64 {
        self.so_far().under_way * HELD
    }

    /// The run has ended: what is still under way will not be answered.
    pub fn close(&self) {
        let rest: Vec<Pending> = self.lock().calls.drain().map(|(_, pending)| pending).collect();
        for mut pending in rest {
            if pending.call.status.is_none() {
                pending.call.error = Some("the run ended before the answer came".into());
            }
            self.list(pending);
        }
    }

    fn list(&self, mut pending: Pending) {
        pending.call.duration_ms = ms(pending.started.elapsed());
        pending.call.sent_bytes = pending.sent.load(Relaxed);
        self.journal.call(pending.call);
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl Entry {
    /// Which one of its attempt it is.
    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn answered(&self, status: u16) {
        self.change(|call| call.status = Some(status));
    }

    /// For its turn at the target.
    pub fn waited(&self, span: Duration) {
        self.change(|call| call.waited_ms = ms(span));
    }

    /// It goes over a connection that was there.
    pub fn reuses(&self, yes: bool) {
        self.change(|call| call.reused = yes);
    }

    pub fn carries(&self, secrets: Vec<String>) {
        self.change(|call| call.secrets = secrets);
    }

    pub fn received(&self, bytes: u64) {
        self.change(|call| call.received_bytes += bytes);
    }

    pub fn failed(&self, why: impl Into<String>) {
        let why = why.into();
        self.change(|call| call.error = Some(why));
    }

    fn change(&self, change: impl FnOnce(&mut Call)) {
        if let Some(pending) = self.calls.lock().calls.get_mut(&self.number) {
            change(&mut pending.call);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let ended = self.calls.lock().calls.remove(&self.number);
        if let Some(mut pending) = ended {
            if pending.call.status.is_none() && pending.call.error.is_none() {
                pending.call.error = Some("given up before the answer came".into());
            }
            self.calls.list(pending);
        }
    }
}
