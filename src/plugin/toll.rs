//! What the deadline costs a guest that only computes: the same loop with and without the check for it.

use std::time::{Duration, Instant};

use wasmtime::{Engine, Instance, Module, Store, TypedFunc};

use super::engine::{broken, compiling, without_deadline};
use crate::error::Result;

/// `(func (export "loop") (param i64))`, which counts down to nothing: as tight as a loop can be, so the worst case.
const LOOP: &[u8] = b"\0asm\x01\0\0\0\x01\x05\x01\x60\x01\x7e\0\x03\x02\x01\0\x07\x08\x01\x04loop\0\0\
    \x0a\x12\x01\x10\0\x03\x40\x20\0\x42\x01\x7d\x22\0\x50\x45\x0d\0\x0b\x0b";
/// About 50 ms.
const TIMES: i64 = 50_000_000;
/// The middle one of so many counts.
const ROUNDS: usize = 9;

/// The loop's time with a deadline to that without one.
///
/// # Errors
/// When an engine cannot be made.
pub fn deadline_cost() -> Result<f64> {
    let middle = |engine: Engine| -> wasmtime::Result<Duration> {
        let module = Module::from_binary(&engine, LOOP)?;
        let mut store = Store::new(&engine, ());
        // Fails where the engine has no epochs. None of them comes here: it is the check that costs.
        store.set_epoch_deadline(1);
        let count: TypedFunc<i64, ()> = Instance::new(&mut store, &module, &[])?.get_typed_func(&mut store, "loop")?;
        let mut took = Vec::new();
        for _ in 0..ROUNDS {
            let began = Instant::now();
            count.call(&mut store, TIMES)?;
            took.push(began.elapsed());
        }
        took.sort();
        Ok(took[ROUNDS / 2])
    };
    let measured = || Ok((middle(compiling(false)?)?, middle(without_deadline()?)?));
    let (with, without) = measured().map_err(broken)?;
    Ok(with.as_secs_f64() / without.as_secs_f64())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_loop_counts_with_and_without_a_deadline() {
        assert!(super::deadline_cost().unwrap() > 0.0);
    }
}
