//! Nodes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NodeJson {
    pub id: i64,
    pub name: String,
    /// up, stopped, dead
    pub state: String,
    /// It answers this.
    pub here: bool,
    pub running: u64,
    pub beat_at: Timestamp,
    pub started_at: Timestamp,
    pub version: String,
    pub listen: String,
    pub jobs: Vec<JobOfNodeJson>,
}

/// What it did of a job in the last hour.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct JobOfNodeJson {
    pub tenant: String,
    pub job: String,
    /// Attempts that ended in the last two minutes.
    pub lately: u64,
    pub last_success_at: Option<Timestamp>,
    /// Others take it, and it has stopped to: why that is known.
    pub stopped: Option<String>,
}
