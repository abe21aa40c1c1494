//! One guest: what its store holds, how much memory it may have, and when it is interrupted.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::engine::Engine;
use super::host::http::{Calls, Outgoing};
use super::journal::{Level, Line};
use super::scratch::Budget;
use super::{ArtifactsPort, ItemsPort, Journal, Secret, StatePort, Stop, Tape};
use crate::clock::Clock;
use crate::domain::grant::{Ceiling, Grant};
use crate::domain::limits::Limits;
use crate::domain::span::Size;

/// Bytes of host memory behind one element of a table.
const TABLE_ELEMENT: usize = 8;
/// Bytes of one set of headers, as the host holds it.
const HEADERS: usize = 64 * 1024;

/// What a guest may see and do, for one call of one export.
pub struct Context {
    /// Whose connections it may use again; empty outside a run.
    pub tenant: Arc<str>,
    pub clock: Arc<dyn Clock>,
    pub journal: Arc<Journal>,
    pub stop: Arc<Stop>,
    pub grant: Arc<Grant>,
    pub ceiling: Arc<Ceiling>,
    /// [`Limits::of`] the two.
    pub limits: Limits,
    pub secrets: Arc<HashMap<String, Secret>>,
    /// `None` for the calls outside a run, which have no state.
    pub state: Option<StatePort>,
    /// The same.
    pub items: Option<ItemsPort>,
    /// The same.
    pub artifacts: Option<ArtifactsPort>,
    pub tape: Arc<Tape>,
    /// Bytes in items so far.
    pub item_bytes: AtomicU64,
    pub time_limit: Duration,
    pub grace: Duration,
    pub stall_limit: Option<Duration>,
    /// The hard stop.
    pub deadline: Instant,
}

impl Context {
    /// Until the hard stop; zero after it.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Until `should-stop` turns true because of the time limit.
    pub fn until_asked(&self) -> Duration {
        self.remaining().saturating_sub(self.grace)
    }

    pub fn is_cut_off(&self) -> bool {
        self.stop.is_now()
    }
}

/// Why the host stopped a guest, as an error inside wasmtime; found again by its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    #[error("the time limit is reached")]
    TimedOut,
    #[error("stopped from outside")]
    Cancelled,
    #[error("out of memory: wanted {wanted}, the limit is {limit}")]
    OutOfMemory { wanted: Size, limit: Size },
    #[error("{wanted} elements in tables, the limit is {limit}; to raise it: grant.limits = {{ table_elements = … }}")]
    Tables { wanted: u64, limit: u64 },
}

/// What a store holds.
pub struct Guest {
    pub context: Arc<Context>,
    pub outgoing: Outgoing,
    /// `None`: it has no folder to write into.
    pub scratch: Option<Arc<Budget>>,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    memory: Memory,
}

/// Bytes that the host holds for a guest, counted as its memory until this is dropped.
pub struct Held {
    bytes: u64,
    all: Arc<AtomicU64>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Relaxed);
    }
}

impl Guest {
    /// Bytes of its memories and tables.
    pub fn memory_used(&self) -> u64 {
        self.memory.used as u64
    }

    /// Takes so many bytes of its scratch folder's; false when they are not left.
    pub fn may_write(&self, bytes: u64) -> bool {
        self.scratch.as_ref().is_some_and(|budget| budget.take(bytes))
    }

    /// Counts what the host is to hold; `None`, and a line in its log, when it would be out of memory with that.
    pub fn hold(&self, bytes: u64, what: &str) -> Option<Held> {
        let limit = self.memory.limit as u64;
        let wanted = self.memory_used() + self.memory.beside() + bytes;
        if wanted > limit {
            let (bytes, limit) = (Size(bytes), Size(limit));
            let message = format!(
                "{what} is refused: the host would hold {bytes} for it, and that is over the guest's memory of {limit} with the rest; \
                 grant = {{ memory = \"…\" }} of the job gives more"
            );
            self.context.journal.log(Line { at: self.context.clock.now(), level: Level::Warn, message, fields: Vec::new() });
            return None;
        }
        self.memory.held.fetch_add(bytes, Relaxed);
        Some(Held { bytes, all: Arc::clone(&self.memory.held) })
    }

    pub fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.outgoing }
    }
}

/// Counts linear memories and tables of the whole instance together, and what the host holds for it.
struct Memory {
    used: usize,
    limit: usize,
    /// Of all tables.
    elements: u64,
    most_elements: u64,
    instances: usize,
    calls: Arc<Calls>,
    /// Bytes, beside those of requests.
    held: Arc<AtomicU64>,
}

impl Memory {
    /// Bytes that the host holds.
    fn beside(&self) -> u64 {
        self.calls.held() + self.held.load(Relaxed)
    }

    fn grow(&mut self, current: usize, desired: usize) -> wasmtime::Result<bool> {
        let own = self.used.saturating_add(desired.saturating_sub(current));
        let wanted = own.saturating_add(usize::try_from(self.beside()).unwrap_or(usize::MAX));
        if wanted > self.limit {
            // Not `Ok(false)`: the guest would abort somewhere else, and the numbers would be lost.
            let size = |bytes: usize| Size(bytes as u64);
            return Err(Halt::OutOfMemory { wanted: size(wanted), limit: size(self.limit) }.into());
        }
        self.used = own;
        Ok(true)
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        // Beyond what the guest itself declared: its own error, as the language has it.
        if maximum.is_some_and(|most| desired > most) { Ok(false) } else { self.grow(current, desired) }
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|most| desired > most) {
            return Ok(false);
        }
        let wanted = self.elements.saturating_add(desired.saturating_sub(current) as u64);
        if wanted > self.most_elements {
            return Err(Halt::Tables { wanted, limit: self.most_elements }.into());
        }
        self.elements = wanted;
        self.grow(current.saturating_mul(TABLE_ELEMENT), desired.saturating_mul(TABLE_ELEMENT))
    }

    fn instances(&self) -> usize {
        self.instances
    }
}

/// A fresh store: nothing in it was there before, nothing of it stays.
pub fn store(
    engine: &Engine,
    context: &Arc<Context>,
    outgoing: Outgoing,
    scratch: Option<Arc<Budget>>,
    wasi: WasiCtx,
) -> Store<Guest> {
    // Apply has checked the one against the other; the ceiling may have been lowered since.
    let memory = context.grant.memory.min(context.ceiling.memory);
    let limit = usize::try_from(memory.0).unwrap_or(usize::MAX);
    let (mut table, mut http) = (ResourceTable::new(), WasiHttpCtx::new());
    table.set_max_capacity(usize::try_from(context.limits.handles).unwrap_or(usize::MAX));
    http.set_field_size_limit(HEADERS);
    let memory = Memory {
        used: 0,
        limit,
        elements: 0,
        most_elements: context.limits.table_elements,
        instances: usize::try_from(context.limits.instances).unwrap_or(usize::MAX),
        calls: Arc::clone(&outgoing.calls),
        held: Arc::default(),
    };
    let guest = Guest { context: Arc::clone(context), outgoing, scratch, wasi, http, table, memory };
    let mut store = Store::new(&engine.wasm, guest);
    // What one call hands over is copied to the host before anybody sees it.
    store.set_hostcall_fuel(limit);
    store.limiter(|guest| &mut guest.memory);
    // As much as there is: it is counted, not limited. Fails where the engine does not count.
    let _ = store.set_fuel(u64::MAX);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|store| {
        let context = &store.data().context;
        if context.is_cut_off() {
            return Err(Halt::Cancelled.into());
        }
        if Instant::now() >= context.deadline {
            return Err(Halt::TimedOut.into());
        }
        // To the back of the runtime's queue: a busy guest shares its thread with the others.
        Ok(UpdateDeadline::Yield(1))
    });
    store
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_share_one_limit() {
        let (clock, journal) = (Arc::new(crate::clock::ManualClock::default()), Arc::default());
        let calls = Calls::new(journal, clock);
        let mut memory =
            Memory { used: 0, limit: 1000, elements: 0, most_elements: 50, instances: 1, calls, held: Arc::default() };
        assert!(memory.memory_growing(0, 600, None).unwrap());
        assert!(memory.table_growing(0, 40, None).unwrap());
        assert!(!memory.memory_growing(600, 640, Some(620)).unwrap(), "its own maximum");
        let wrong = memory.memory_growing(600, 700, None).unwrap_err();
        let halt = wrong.downcast_ref::<Halt>().unwrap();
        assert_eq!(*halt, Halt::OutOfMemory { wanted: Size(1020), limit: Size(1000) });
        let wrong = memory.table_growing(40, 51, None).unwrap_err();
        assert_eq!(*wrong.downcast_ref::<Halt>().unwrap(), Halt::Tables { wanted: 51, limit: 50 });
        // What the host holds for a request under way is not there for the guest.
        memory.limit = 1_000_000;
        let _open = memory.calls.begin("GET", "http://a/".into(), Arc::default());
        assert!(memory.memory_growing(600, 700_000, None).unwrap());
        assert!(memory.memory_growing(700_000, 800_000, None).is_err());
    }
}
