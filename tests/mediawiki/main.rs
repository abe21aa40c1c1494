//! The proofs against real MediaWikis (docs/scenarios.md, family W): a real server process, real wikis, nothing in between.
//! A scenario's bound is the deadline of its test; what it took is printed. README.md has the farm.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

#[path = "../harness/mod.rs"]
mod harness;

mod drain;
mod farm;
mod fault;
mod scene;
