//! The dashboard in a real browser: headless Chromium over the real binary, as a newcomer uses it.
//! README.md says how to run one, and where the pictures of failed tests are.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test of real processes waits in real time, and is told by the environment to take pictures"
)]

#[path = "../harness/mod.rs"]
mod harness;

mod chrome;
mod demo;
mod gate;
mod hostile;
mod looks;
mod newcomer;
mod plain;
mod screenshots;
