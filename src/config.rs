//! The node's configuration: windlass.toml, with WINDLASS_… from the environment over it.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use crate::domain::span::Span;

/// Effective settings of this process.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// SQLite file, key file, compiled plugins, admin token.
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    pub worker: Worker,
    pub retention: Retention,
}

impl Default for Settings {
    fn default() -> Self {
        Self { data_dir: "windlass-data".into(), listen: SocketAddr::from(([127, 0, 0, 1], 7171)), worker: Worker::default(), retention: Retention::default() }
    }
}

/// What this node runs at a time.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Worker {
    pub runs_in_flight: u32,
    /// Threads that guests run on; pages and the loops have their own.
    pub guest_threads: usize,
}

impl Default for Worker {
    fn default() -> Self {
        Self { runs_in_flight: 256, guest_threads: 2 }
    }
}

/// How long ended runs are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    pub succeeded: Span,
}

impl Default for Retention {
    fn default() -> Self {
        Self { succeeded: Span::secs(7 * 24 * 3600) }
    }
}
