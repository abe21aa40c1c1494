//! What happens when nodes, databases and networks fail under load: real processes, and a witness that no node can write to.
//!
//! `cargo test --test chaos` goes through the matrix once. `make chaos N=1000` kills a node N times; the last line is one
//! JSON object, and what is lost, recorded twice or unexplained makes it fail. The seed says when the blows fall. With
//! `LEASE_MS` it is about recovery: PostgreSQL alone, with that lease instead of a short one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test of real processes waits in real time")]

#[path = "../harness/guests.rs"]
mod guests;
#[path = "../harness/mod.rs"]
mod harness;
mod long;
mod matrix;
mod network;
#[path = "../harness/postgres.rs"]
mod postgres;
mod proxy;
mod scene;
mod witness;

use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    if let Some(kills) = number("--kills") {
        return long::run(kills, number("--seed").unwrap_or(1), number("--lease-ms"));
    }
    let filter: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let mut failed = Vec::new();
    for (name, test) in matrix::ALL {
        if !filter.is_empty() && !filter.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let began = Instant::now();
        let well = std::panic::catch_unwind(test).is_ok();
        println!("test {name} ... {} ({} s)", if well { "ok" } else { "FAILED" }, began.elapsed().as_secs());
        if !well {
            failed.push(name);
        }
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {failed:?}");
    ExitCode::FAILURE
}
