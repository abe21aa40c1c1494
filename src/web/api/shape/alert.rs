//! Alerts, silences and sinks.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::id::Id;

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AlertJson {
    pub id: Id,
    /// dead, failing, silent, stuck, lagging, late, node
    pub kind: String,
    /// Absent: the server.
    pub tenant: Option<String>,
    pub job: Option<String>,
    pub node: Option<i64>,
    pub message: String,
    pub opened_at: Timestamp,
    /// Absent: it is so still.
    pub closed_at: Option<Timestamp>,
    /// Nobody is told until then.
    pub silenced_until: Option<Timestamp>,
    pub silenced_by: Option<String>,
}

/// What is to be silent; what is not named is all of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NewSilenceJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Absent: the silence ends now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SilenceJson {
    pub tenant: Option<String>,
    pub job: Option<String>,
    pub node: Option<i64>,
    pub kind: Option<String>,
    pub until: Timestamp,
    pub by: String,
    pub made_at: Timestamp,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SinkJson {
    /// Absent: windlass.toml names it.
    pub tenant: Option<String>,
    /// Kind and host; a path may be a secret.
    pub sink: String,
    pub when: Vec<String>,
    /// Absent before it was told anything.
    pub ok: Option<bool>,
    pub last_at: Option<Timestamp>,
    pub tries: Option<u32>,
    pub error: Option<String>,
}
