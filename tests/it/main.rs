//! The integration tests, one binary; modules mirror src/.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod api;
mod cli;
#[path = "../harness/mod.rs"]
mod harness;
mod house;
mod plugin;
mod runner;
mod store;
mod web;
mod world;
