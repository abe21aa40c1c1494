//! What a running guest leaves behind: log lines, progress, HTTP calls. The guest writes, the runner takes and stores.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::attempt::Used;
use crate::domain::limits::Limits;
pub use crate::domain::log::{Call, Level, Line};
use crate::domain::run::Progress;
use crate::domain::trace::{Asks, Place};

/// Bytes of one line; the rest of it is cut.
pub const LINE_LIMIT: usize = 16 * 1024;
/// Fields of one line, and bytes of a key or a value.
pub const FIELDS_LIMIT: usize = 64;
pub const FIELD_LIMIT: usize = 1_024;
/// Bytes that a line, and each field, takes in memory and in the store beside its text.
const OVERHEAD: usize = 64;
/// HTTP calls of one attempt that are listed.
pub const CALLS_LIMIT: u64 = 1_000;

#[derive(Debug, Default)]
pub struct Journal(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    limits: Limits,
    lines: Vec<Line>,
    log_bytes: u64,
    log_lines: u64,
    dropped: u64,
    progress: Option<Progress>,
    /// Grows with each report, for the stall limit.
    reports: u64,
    calls: Vec<Call>,
    calls_seen: u64,
    secrets: BTreeSet<String>,
    peak_memory: u64,
    /// By the key of its limit.
    took: BTreeMap<&'static str, u64>,
    fuel: Option<u64>,
    asks: Asks,
    /// Set where there is a collector of traces.
    place: Option<Place>,
}

/// What has gathered since the last time.
#[derive(Debug, Default)]
pub struct Taken {
    pub lines: Vec<Line>,
    /// Lines dropped so far, over the whole attempt.
    pub dropped: u64,
    /// Set when there was a report since.
    pub progress: Option<Progress>,
    pub calls: Vec<Call>,
}

impl Journal {
    /// What the attempt may write, from here on. Before, the usual holds.
    pub fn limit(&self, limits: &Limits) {
        self.lock().limits.clone_from(limits);
    }

    /// Lines beyond the limits, of bytes or of lines, are counted and dropped.
    pub fn log(&self, mut line: Line) {
        if line.message.len() > LINE_LIMIT {
            let end = line.message.floor_char_boundary(LINE_LIMIT);
            let cut = line.message.len() - end;
            line.message.truncate(end);
            line.message.push_str(&format!("… ({cut} more bytes)"));
        }
        line.fields.truncate(FIELDS_LIMIT);
        for text in line.fields.iter_mut().flat_map(|(key, value)| [key, value]) {
            text.truncate(text.floor_char_boundary(FIELD_LIMIT));
        }
        // What a line costs beside its text counts too: a million empty fields are not free.
        let fields = line.fields.iter().map(|(key, value)| OVERHEAD + key.len() + value.len()).sum::<usize>();
        let bytes = (OVERHEAD + line.message.len() + fields) as u64;
        let mut kept = self.lock();
        if kept.log_bytes + bytes > kept.limits.log_bytes.0 || kept.log_lines >= kept.limits.log_lines {
            kept.dropped += 1;
            return;
        }
        kept.log_bytes += bytes;
        kept.log_lines += 1;
        kept.lines.push(line);
    }

    pub fn progress(&self, progress: Progress) {
        let mut kept = self.lock();
        kept.progress = Some(progress);
        kept.reports += 1;
    }

    /// Something else than a report shows that the guest gets on.
    pub fn sign_of_life(&self) {
        self.lock().reports += 1;
    }

    pub fn call(&self, call: Call) {
        let mut kept = self.lock();
        kept.calls_seen += 1;
        kept.took("request_bytes", call.sent_bytes);
        kept.took("response_bytes", call.received_bytes);
        if kept.calls_seen <= CALLS_LIMIT {
            kept.calls.push(call);
        }
    }

    /// Requests of the attempt carry the trace on from here.
    pub fn belongs_to(&self, place: Place) {
        self.lock().place = Some(place);
    }

    /// For the header of the so manyth request; `None` where nobody gathers traces.
    pub fn traceparent(&self, call: u64) -> Option<String> {
        self.lock().place.map(|place| place.traceparent(call))
    }

    /// The guest asked for something beside HTTP.
    pub fn asked(&self, count: impl FnOnce(&mut Asks)) {
        count(&mut self.lock().asks);
    }

    /// What it has asked for so far.
    pub fn asks(&self) -> Asks {
        self.lock().asks
    }

    /// A secret was used.
    pub fn secret(&self, name: &str) {
        self.lock().secrets.insert(name.to_owned());
    }

    /// Secrets used since the last time.
    pub fn take_secrets(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.lock().secrets)
    }

    /// Bytes that an instance had at its end, which is the most that it had: memory only grows.
    pub fn memory(&self, bytes: u64) {
        let mut kept = self.lock();
        kept.peak_memory = kept.peak_memory.max(bytes);
    }

    /// The most memory that an instance of the attempt had, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.lock().peak_memory
    }

    /// What a call executed, where that is counted.
    pub fn burned(&self, fuel: u64) {
        let mut kept = self.lock();
        kept.fuel = Some(kept.fuel.unwrap_or_default() + fuel);
    }

    /// What the guest executed, in wasmtime's units; `None` where nobody counts.
    pub fn fuel(&self) -> Option<u64> {
        self.lock().fuel
    }

    /// So much was taken of the limit with this key; the most of it counts.
    pub fn took(&self, key: &'static str, amount: u64) {
        self.lock().took(key, amount);
    }

    /// What the attempt has taken; `None` when no guest came to life.
    pub fn used(&self) -> Option<Used> {
        let mut kept = self.lock();
        let (bytes, lines) = (kept.log_bytes, kept.log_lines);
        kept.took("log_bytes", bytes);
        kept.took("log_lines", lines);
        let took = kept.took.iter().map(|(key, amount)| ((*key).to_owned(), *amount)).collect();
        (kept.peak_memory > 0).then_some(Used { peak_memory: kept.peak_memory, requests: kept.calls_seen, took })
    }

    /// Bytes of the attempt's log, dropped lines apart.
    pub fn logged(&self) -> u64 {
        self.lock().log_bytes
    }

    /// Whether nothing has gathered since the last time it was taken.
    pub fn is_empty(&self) -> bool {
        let kept = self.lock();
        kept.lines.is_empty() && kept.calls.is_empty() && kept.progress.is_none()
    }

    /// How many times progress was reported.
    pub fn reports(&self) -> u64 {
        self.lock().reports
    }

    pub fn take(&self) -> Taken {
        let mut kept = self.lock();
        Taken {
            lines: std::mem::take(&mut kept.lines),
            dropped: kept.dropped,
            progress: kept.progress.take(),
            calls: std::mem::take(&mut kept.calls),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn took(&mut self, key: &'static str, amount: u64) {
        if amount > 0 {
            let most = self.took.entry(key).or_default();
            *most = amount.max(*most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn a_million_empty_fields_are_not_free() {
        let journal = Journal::default();
        for _ in 0..20_000 {
            let fields = vec![(String::new(), String::new()); 1_000];
            journal.log(Line { at: Timestamp(0), level: Level::Info, message: String::new(), fields });
        }
        let taken = journal.take();
        assert!(taken.lines.iter().all(|line| line.fields.len() == FIELDS_LIMIT));
        assert!(taken.lines.len() < 300 && taken.dropped > 19_000, "{} kept, {} dropped", taken.lines.len(), taken.dropped);
    }
}
