//! The integration tests, one binary; modules mirror src/.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

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
pub mod runner;
mod statements;
mod store;
mod web;
mod world;
