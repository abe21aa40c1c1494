//! WASI's clocks, random numbers, sleep and poll, from the tape.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use rand_core::TryRng;
use sha2::{Digest, Sha256};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::clocks::WasiClocksView;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::Host as _;
use wasmtime_wasi::p2::bindings::io::poll::Host as _;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtxBuilder, WasiView, async_trait};

use super::Tape;
use super::entry::Entry;
use crate::plugin::instance::Guest;

/// The world's own stay where nothing is noted.
pub fn furnish(tape: &Arc<Tape>, wasi: &mut WasiCtxBuilder) {
    let seed = match &**tape {
        Tape::Live => return,
        Tape::Recording(recorder) => recorder.seed,
        Tape::Replaying(player) => player.recording.header.seed,
        Tape::Scripted(script) => script.seed,
    };
    wasi.wall_clock(Wall { tape: Arc::clone(tape), live: wasmtime_wasi::clocks::WallClock::new() });
    wasi.monotonic_clock(Monotonic { tape: Arc::clone(tape), live: wasmtime_wasi::clocks::MonotonicClock::new() });
    wasi.secure_random(Numbers::new(seed, 1)).insecure_random(Numbers::new(seed, 2));
    let first = Numbers::new(seed, 3).block();
    let half = first.first_chunk::<16>().copied().unwrap_or_default();
    wasi.insecure_random_seed(u128::from_le_bytes(half));
}

struct Wall {
    tape: Arc<Tape>,
    live: wasmtime_wasi::clocks::WallClock,
}

impl HostWallClock for Wall {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        match &*self.tape {
            Tape::Live => self.live.now(),
            Tape::Recording(recorder) => {
                let now = self.live.now();
                recorder.note(Entry::WallClock { ns: nanoseconds(now) });
                now
            }
            Tape::Replaying(player) => Duration::from_nanos(player.wall()),
            Tape::Scripted(script) => script.wall(),
        }
    }
}

struct Monotonic {
    tape: Arc<Tape>,
    live: wasmtime_wasi::clocks::MonotonicClock,
}

impl HostMonotonicClock for Monotonic {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        match &*self.tape {
            Tape::Live => self.live.now(),
            Tape::Recording(recorder) => {
                let ns = self.live.now();
                recorder.note(Entry::MonotonicClock { ns });
                ns
            }
            Tape::Replaying(player) => player.monotonic(),
            Tape::Scripted(script) => nanoseconds(script.monotonic()),
        }
    }
}

fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// SHA-256 of seed, use and counter: unpredictable without the seed, and the same for ever with it.
struct Numbers {
    seed: [u8; 32],
    purpose: u8,
    counter: u64,
    rest: Vec<u8>,
}

impl Numbers {
    fn new(seed: [u8; 32], purpose: u8) -> Self {
        Self { seed, purpose, counter: 0, rest: Vec::new() }
    }

    fn block(&mut self) -> [u8; 32] {
        let counter = self.counter.to_le_bytes();
        self.counter += 1;
        Sha256::new().chain_update(self.seed).chain_update([self.purpose]).chain_update(counter).finalize().into()
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    fn fill(&mut self, into: &mut [u8]) {
        for byte in into {
            if self.rest.is_empty() {
                self.rest = self.block().to_vec();
            }
            *byte = self.rest.pop().unwrap_or_default();
        }
    }
}

impl TryRng for Numbers {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.bytes()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.bytes()))
    }

    fn try_fill_bytes(&mut self, into: &mut [u8]) -> Result<(), Infallible> {
        self.fill(into);
        Ok(())
    }
}

/// Sleeping and polling pass here: where the time is not real nobody waits for it, and which of two things was ready first
/// is something that a guest learns.
pub fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut clock = linker.instance("wasi:clocks/monotonic-clock@0.2.12")?;
    clock.func_wrap("subscribe-duration", |mut store: StoreContextMut<'_, Guest>, (span,): (u64,)| {
        Ok((sleep(&mut store, span)?,))
    })?;
    clock.func_wrap("subscribe-instant", |mut store: StoreContextMut<'_, Guest>, (when,): (u64,)| {
        let now = store.data_mut().clocks().now()?;
        Ok((sleep(&mut store, when.saturating_sub(now))?,))
    })?;
    linker.instance("wasi:io/poll@0.2.12")?.func_wrap_async(
        "poll",
        |mut store: StoreContextMut<'_, Guest>, (of,): (Vec<Resource<DynPollable>>,)| {
            Box::new(async move { Ok((poll(store.data_mut(), of).await?,)) })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// So many nanoseconds; in a replay what was ready first says when it is over, and by a made-up clock it is over when
/// nothing else is under way.
fn sleep(store: &mut StoreContextMut<'_, Guest>, span: u64) -> wasmtime::Result<Resource<DynPollable>> {
    let tape = Arc::clone(&store.data().context.tape);
    let mut clocks = store.data_mut().clocks();
    match &*tape {
        Tape::Live | Tape::Recording(_) => clocks.subscribe_duration(span),
        Tape::Replaying(_) => clocks.subscribe_duration(0),
        Tape::Scripted(script) => {
            let until = script.elapsed().saturating_add(Duration::from_nanos(span));
            let timer = clocks.table.push(Timer { until, tape: Arc::clone(&tape) })?;
            subscribe(clocks.table, timer)
        }
    }
}

/// A sleep by a made-up clock.
struct Timer {
    until: Duration,
    tape: Arc<Tape>,
}

#[async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {
        if let Tape::Scripted(script) = &*self.tape {
            script.sleep_until(self.until).await;
        }
    }
}

async fn poll(guest: &mut Guest, of: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
    let tape = Arc::clone(&guest.context.tape);
    let table = guest.ctx().table;
    // One alone says nothing: it is waited for.
    if of.len() < 2 {
        return table.poll(of).await;
    }
    match &*tape {
        Tape::Recording(recorder) => {
            let ready = table.poll(of).await?;
            recorder.note(Entry::Poll { ready: ready.clone() });
            Ok(ready)
        }
        Tape::Replaying(player) => {
            let Some(ready) = player.poll().filter(|ready| ready.iter().all(|n| (*n as usize) < of.len())) else {
                return table.poll(of).await;
            };
            for n in &ready {
                table.poll(vec![Resource::new_borrow(of[*n as usize].rep())]).await?;
            }
            Ok(ready)
        }
        Tape::Live | Tape::Scripted(_) => table.poll(of).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_same_with_the_same_seed_and_different_for_each_use() {
        let of = |seed, purpose| Numbers::new([seed; 32], purpose).bytes::<100>();
        assert_eq!(of(1, 1), of(1, 1));
        assert_ne!(of(1, 1), of(1, 2));
        assert_ne!(of(1, 1), of(2, 1));
        // A recording outlives this program: the numbers of a seed never change.
        assert_eq!(Numbers::new([1; 32], 1).bytes::<4>(), [206, 175, 168, 151]);
    }
}
