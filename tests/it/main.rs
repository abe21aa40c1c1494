//! The integration tests, one binary; modules mirror src/.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod alerts;
mod api;
mod budget;
mod cli;
mod database;
mod dead;
#[path = "../harness/mod.rs"]
mod harness;
mod house;
mod leak;
mod nodes;
mod parity;
pub mod plugin;
mod pooler;
mod probe;
pub mod runner;
mod schedule;
mod statements;
mod store;
mod toolforge;
mod web;
mod world;

/// Windlass itself, built before these tests: it compiles plugins.
pub const BINARY: &str = env!("CARGO_BIN_EXE_windlass");

pub fn compiler() -> windlass::plugin::Compiler {
    windlass::plugin::Compiler::Process(BINARY.into())
}
