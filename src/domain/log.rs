//! What a running guest says and asks for, as it is kept with its run.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// One line of a run's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub at: Timestamp,
    pub level: Level,
    pub message: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<(String, String)>,
}

/// One request a guest made, allowed or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Call {
    /// Which one of its attempt it is, from 0; not kept.
    #[serde(skip)]
    pub number: u64,
    pub at: Timestamp,
    pub method: String,
    pub url: String,
    pub status: Option<u16>,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub duration_ms: u64,
    /// Why there is no answer: denied, refused, timed out.
    pub error: Option<String>,
    /// Of that time, how long it waited for its turn at the target.
    pub waited_ms: u64,
    /// It went over a connection that an earlier request had left open.
    pub reused: bool,
    /// Names of the secrets that the host put into it.
    pub secrets: Vec<String>,
}
