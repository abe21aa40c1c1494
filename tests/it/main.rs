//! The integration tests, one binary; modules mirror src/.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod api;
mod cli;
mod house;
pub mod plugin;
pub mod runner;
mod store;
mod web;
mod world;
