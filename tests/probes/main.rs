//! Probes against the real servers of Debian's packages, started on loopback in folders of their own, in a real Windlass:
//! a tenant file is applied, the backlog is shown, runs start. docs/probes.md.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

#[path = "../harness/mod.rs"]
mod harness;
mod nats;
#[path = "../harness/postgres.rs"]
mod postgres;
mod prometheus;
mod rabbitmq;
mod redis;
mod scene;
mod service;
mod sql;
mod web;
