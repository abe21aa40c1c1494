//! Takes time, memory and stack.

use std::hint::black_box;
use std::time::{Duration, Instant};

use windlass_plugin::{Failure, Output, control};

use crate::Input;

pub fn endless_loop() -> ! {
    let mut n = 0u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

fn spin_for(ms: u64, mut stop: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(ms) {
        if stop() {
            return true;
        }
        for n in 0..10_000u64 {
            black_box(n);
        }
    }
    false
}

pub fn until_stopped(input: &Input) -> Output {
    let stopped = spin_for(input.ms.unwrap_or(60_000), control::should_stop);
    Output::new(if stopped { "stopped" } else { "not stopped" })
}

pub fn spin(input: &Input) -> Output {
    spin_for(input.ms.unwrap_or(100), || false);
    Output::new("done")
}

pub fn sleep(input: &Input) -> Output {
    std::thread::sleep(Duration::from_millis(input.ms.unwrap_or(600_000)));
    Output::new("slept")
}

pub fn memory_bomb() -> Result<Output, Failure> {
    let mut kept = Vec::new();
    loop {
        // Touched, so that it is memory and not a promise of it.
        kept.push(black_box(vec![1u8; 1024 * 1024]));
        black_box(&kept);
    }
}

pub fn recursion() -> Output {
    Output::new(descend(0).to_string())
}

#[allow(unconditional_recursion)]
#[inline(never)]
fn descend(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    descend(depth + 1) + black_box(frame[63])
}
