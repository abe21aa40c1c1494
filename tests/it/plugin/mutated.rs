//! Modules as they come out of a broken disk or of a mischievous hand: each is a plugin or is refused in one line.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use windlass::error::Error;
use windlass::plugin::{EMBEDDED, compile};

use super::{house, modules};

const SEED: u64 = 20_261_122;
const MUTANTS: u64 = 520;
/// So many of them are pushed, through the compiler's process.
const PUSHED: u64 = 12;

/// The mutant with this number, the same on every machine.
fn mutant(number: u64) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(SEED + number);
    let noop = EMBEDDED.iter().find(|plugin| plugin.name == "noop").unwrap().bytes;
    let mut bytes = match number % 4 {
        0 => noop.to_vec(),
        1 => modules::program("hello", Some(0)),
        2 => modules::bomb(3, 2),
        _ => modules::program("a longer line of text", None),
    };
    for _ in 0..random.random_range(1..=4) {
        // Most of what is told of a module stands at its beginning.
        let reach = if random.random_bool(0.5) { bytes.len().min(200) } else { bytes.len() };
        let at = random.random_range(0..reach.max(1)).min(bytes.len().saturating_sub(1));
        let end = (at + random.random_range(1..=64)).min(bytes.len());
        match random.random_range(0..8) {
            0 => bytes.truncate(at),
            1 | 2 => bytes[at] ^= 1 << random.random_range(0..8),
            3 => bytes[at] = random.random(),
            4 => bytes[at..end].fill(0xff),
            5 => {
                bytes.drain(at..end);
            }
            6 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => bytes.splice(at..at, (0..random.random_range(1..9)).map(|_| random.random())).for_each(drop),
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

#[test]
fn every_mutant_is_a_plugin_or_is_refused_in_one_line() {
    let (mut plugins, mut refused) = (0, 0);
    for number in 0..MUTANTS {
        let bytes = mutant(number);
        match catch_unwind(AssertUnwindSafe(|| compile::compile(&bytes, false))) {
            Ok(Ok(_)) => plugins += 1,
            Ok(Err(why)) => {
                refused += 1;
                assert!(
                    (why.contains(": ") || why.contains("; ")) && !why.contains('\n') && why.len() < 2_000,
                    "mutant {number}: {why}"
                );
            }
            Err(_) => panic!("the compiler broke on mutant {number}"),
        }
    }
    assert!(plugins > 0 && refused > 250, "{plugins} plugins, {refused} refused: what is tried has changed");
}

#[tokio::test]
async fn mutants_that_are_pushed_are_told_the_same() {
    let catalog = house().await.sandbox.catalog();
    for number in 0..PUSHED {
        match catalog.add(mutant(number)).await {
            Ok(_) => {}
            Err(Error::Invalid(problems)) => {
                assert!(problems.iter().all(|problem| !problem.message.contains('\n')), "mutant {number}: {problems:?}");
            }
            Err(other) => panic!("mutant {number}: {other}"),
        }
    }
}
