//! Windlass hauls backlogs: per-tenant background jobs on cron and on backlog size, their logic in sandboxed WebAssembly
//! plugins with time limits and retry limits, and a dashboard that shows backlogs, failures and re-run buttons.
//!
//! A run goes one way through the house: `app` or `runner` makes a [`domain::run::NewRun`] → `store` enqueues it (the
//! only door in) → the runner's worker claims it → `plugin` executes it and answers an [`domain::attempt::Outcome`] →
//! [`domain::retry::decide`] says what becomes of it → `store` records it, if the lease still stands → `web` shows it.
//!
//! Modules in groups, the lowest layer first; CONTRIBUTING.md draws who may name whom, and a test keeps it so:

pub mod clock;
pub mod config;
pub mod error;
pub mod id;
pub mod span;
pub mod vault;

pub mod domain;

pub mod egress;
pub mod objects;

pub mod plugin;
pub mod probe;
pub mod sink;
pub mod store;
pub mod trace;

pub mod app;
pub mod cli;
pub mod runner;
pub mod web;
