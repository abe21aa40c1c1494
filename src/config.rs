//! The node's configuration: windlass.toml, with WINDLASS_… from the environment over it.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

/// Effective settings of this process.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// SQLite file, key file, compiled plugins, admin token.
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
}

impl Default for Settings {
    fn default() -> Self {
        Self { data_dir: "windlass-data".into(), listen: SocketAddr::from(([127, 0, 0, 1], 7171)) }
    }
}
