//! The integration tests, one binary; modules mirror src/.

mod plugin;
mod web;
