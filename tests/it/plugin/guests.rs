//! The guests of tests/guests, built once a test run.

use std::path::Path;
use std::sync::OnceLock;

#[path = "../../harness/guests.rs"]
mod builder;
use builder::build;

struct Built {
    hostile: Vec<u8>,
    command: Vec<u8>,
    gather: Vec<u8>,
    no_job: Vec<u8>,
}

/// Does what its input's `attack` names.
pub fn hostile() -> &'static [u8] {
    &built().hostile
}

/// A program that knows nothing of Windlass.
pub fn command() -> &'static [u8] {
    &built().command
}

/// Works on items, and has a `finish`.
pub fn gather() -> &'static [u8] {
    &built().gather
}

pub fn no_job() -> &'static [u8] {
    &built().no_job
}

fn built() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| {
        let all = build(&[]);
        Built {
            hostile: read(&all, "hostile"),
            command: read(&all, "command"),
            gather: read(&all, "gather"),
            no_job: read(&all, "no_job"),
        }
    })
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(format!("{name}.wasm"))).unwrap()
}
