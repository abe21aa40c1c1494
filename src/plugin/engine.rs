//! The engine that every guest runs on: how code is made, where instances live, and the tick that interrupts them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

use super::bindings::Room;
use super::host::{files, listing};
use super::instance::Guest;
use crate::error::{Error, Result};

/// Guests are interrupted this often: a busy loop is stopped at most so long after its limit, and yields its thread.
const TICK: Duration = Duration::from_millis(10);
/// Bytes of a slot's memory that stay resident between two guests and are wiped instead of given back: the measured
/// optimum together with the pagemap scan (15 µs a fresh instance and call, against 25–63 µs without).
const KEEP_RESIDENT: usize = 1024 * 1024;
/// The same for a table. Without it each run gives its tables back with two calls of madvise, and every thread pays for
/// those: 27 % of the time in a profile of no-op runs on 2 threads.
const TABLE_KEEP_RESIDENT: usize = 64 * 1024;
/// Tables a slot; a component of several modules weighs as many slots as it needs.
const TABLES_PER_SLOT: u32 = 4;
/// Elements of one table.
const TABLE_ELEMENTS: usize = 65_536;
/// Bytes of the engine's own record of an instance; the default of 1 MiB is too small for some interpreters.
const INSTANCE_RECORD: usize = 4 * 1024 * 1024;

/// Engine, linker and the number of guests that may live at a time.
pub struct Engine {
    pub wasm: wasmtime::Engine,
    pub linker: Linker<Guest>,
    slots: Arc<Semaphore>,
    count: u32,
    pooled: bool,
}

impl Engine {
    /// `slots`: guests that may live at a time. Where the address space for a pool cannot be reserved (a container with
    /// a limit on virtual memory), instances are allocated one by one: slower, else the same.
    /// `fuel`: what guests execute is counted.
    pub fn new(slots: u32, fuel: bool) -> Result<Self> {
        let (wasm, pooled) = match wasmtime::Engine::new(&config(Some(slots), fuel)) {
            Ok(wasm) => (wasm, true),
            Err(wrong) => {
                tracing::warn!(error = %wrong, "no pool for guests, they are allocated one by one: raise the limit on virtual memory");
                (wasmtime::Engine::new(&config(None, fuel)).map_err(broken)?, false)
            }
        };
        let linker = linker(&wasm).map_err(broken)?;
        tick(&wasm)?;
        Ok(Self { wasm, linker, slots: Arc::new(Semaphore::new(slots as usize)), count: slots, pooled })
    }

    /// Waits for room for a guest of this weight; the pool itself does not wait, it fails.
    pub async fn room(&self, weight: u32) -> Result<OwnedSemaphorePermit> {
        let permits = weight.clamp(1, self.count);
        Arc::clone(&self.slots)
            .acquire_many_owned(permits)
            .await
            .map_err(|_| Error::Unavailable("no more guests are started".into()))
    }

    /// How many slots of the pool a component takes. `None` from wasmtime means that it cannot know: take it for large.
    pub fn weight(component: &wasmtime::component::Component) -> u32 {
        component
            .resources_required()
            .map_or(8, |needs| needs.num_memories.max(needs.num_tables.div_ceil(TABLES_PER_SLOT)).max(1))
    }

    /// Whether instances come from a pool (`doctor` says so).
    pub fn is_pooled(&self) -> bool {
        self.pooled
    }
}

/// The engine of the compiler's process: no pool, for nothing runs there; its code fits the others all the same.
pub fn compiling(fuel: bool) -> wasmtime::Result<wasmtime::Engine> {
    wasmtime::Engine::new(&config(None, fuel))
}

/// For the one measurement of what a deadline costs.
pub fn without_deadline() -> wasmtime::Result<wasmtime::Engine> {
    wasmtime::Engine::new(config(None, false).epoch_interruption(false))
}

/// Of everything that makes compiled code fit an engine: version, target, settings.
pub fn mark(engine: &wasmtime::Engine) -> String {
    let mut hash = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hash);
    format!("{:016x}", hash.finish())
}

pub fn broken(cause: wasmtime::Error) -> Error {
    Error::Internal(anyhow::Error::from(cause))
}

fn config(pool: Option<u32>, fuel: bool) -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.consume_fuel(fuel);
    config.wasm_backtrace_details(WasmBacktraceDetails::Enable);
    if let Some(slots) = pool {
        let mut pooling = PoolingAllocationConfig::new();
        pooling
            .total_component_instances(slots)
            // A number that is counted, no memory: as many as all guests together may have.
            .total_core_instances(slots.saturating_mul(1_000))
            .total_memories(slots)
            .total_tables(slots.saturating_mul(TABLES_PER_SLOT))
            .total_stacks(slots)
            .max_tables_per_module(TABLES_PER_SLOT)
            .max_core_instance_size(INSTANCE_RECORD)
            .max_component_instance_size(INSTANCE_RECORD)
            .table_elements(TABLE_ELEMENTS)
            .linear_memory_keep_resident(KEEP_RESIDENT)
            .table_keep_resident(TABLE_KEEP_RESIDENT)
            .pagemap_scan(Enabled::Auto);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling));
    }
    config
}

fn linker(wasm: &wasmtime::Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(wasm);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    Room::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    files::count(&mut linker)?;
    listing::count(&mut linker)?;
    super::tape::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// The thread ends with the engine. It parks instead of sleeping on a runtime: a busy runtime would tick late.
fn tick(wasm: &wasmtime::Engine) -> Result<()> {
    let engine = wasm.weak();
    std::thread::Builder::new().name("epoch".into()).spawn(move || {
        loop {
            std::thread::park_timeout(TICK);
            match engine.upgrade() {
                Some(engine) => engine.increment_epoch(),
                None => return,
            }
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_of_the_compiler_fits_engines_with_and_without_a_pool() {
        for fuel in [false, true] {
            let compiler = mark(&compiling(fuel).unwrap());
            for pool in [Some(8), Some(300), None] {
                assert_eq!(mark(&wasmtime::Engine::new(&config(pool, fuel)).unwrap()), compiler, "{pool:?}");
            }
        }
        assert_ne!(mark(&compiling(false).unwrap()), mark(&compiling(true).unwrap()));
    }
}
