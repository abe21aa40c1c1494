//! One try of a run by one node, and what it came to.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::span::Size;
use crate::clock::Timestamp;

/// How a guest says that it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    Transient,
    Permanent,
    Snooze,
}

/// Pieces of the target's work that an attempt dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    pub taken: u64,
    pub done: u64,
    pub failed: u64,
    /// What is left to take; `Some(0)` when the target has nothing to hand out.
    pub left: Option<u64>,
}

impl Counts {
    /// Of the pieces that ended, the share that failed; 0 when none did.
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
    pub fn share_failed(&self) -> f64 {
        let ended = self.done + self.failed;
        if ended == 0 { 0.0 } else { self.failed as f64 / ended as f64 }
    }
}

/// What an attempt came to. Never an error: everything that can happen to a guest has a case.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Succeeded {
        summary: String,
        data: Option<String>,
        counts: Option<Counts>,
    },
    Failed {
        class: Class,
        message: String,
        delay: Option<Duration>,
        counts: Option<Counts>,
        details: Vec<(String, String)>,
    },
    /// The time limit, or no progress for the stall limit.
    TimedOut {
        message: String,
    },
    OutOfMemory {
        wanted: Size,
        limit: Size,
    },
    /// The guest broke: a panic, a stack overflow, an unreachable place. The message says where.
    Trapped {
        message: String,
    },
    Cancelled,
    /// The node stops and hands the run back.
    Drained,
    /// The node died, or lost its lease.
    Lost,
    /// Its start deadline had passed before it came to start.
    TooLate,
    /// The run cannot be given to a guest: its input or its plugin cannot be read.
    Undecodable {
        message: String,
    },
}

impl Outcome {
    pub fn failed(class: Class, message: impl Into<String>) -> Self {
        Self::Failed { class, message: message.into(), delay: None, counts: None, details: Vec::new() }
    }

    /// As it stands in the database, the API and on pages.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Succeeded { .. } => "succeeded",
            Self::Failed { class: Class::Transient, .. } => "transient",
            Self::Failed { class: Class::Permanent, .. } => "permanent",
            Self::Failed { class: Class::Snooze, .. } => "snoozed",
            Self::TimedOut { .. } => "timed_out",
            Self::OutOfMemory { .. } => "out_of_memory",
            Self::Trapped { .. } => "trapped",
            Self::Cancelled => "cancelled",
            Self::Drained => "drained",
            Self::Lost => "lost",
            Self::TooLate => "too_late",
            Self::Undecodable { .. } => "undecodable",
        }
    }

    /// For a person: what went wrong, or the summary of what went well.
    pub fn message(&self) -> String {
        match self {
            Self::Succeeded { summary, .. } => summary.clone(),
            Self::Failed { message, .. }
            | Self::TimedOut { message }
            | Self::Trapped { message }
            | Self::Undecodable { message } => message.clone(),
            Self::OutOfMemory { wanted, limit } => format!("out of memory: wanted {wanted}, the limit is {limit}"),
            Self::Cancelled => "cancelled".into(),
            Self::TooLate => "it did not start before its start deadline".into(),
            Self::Drained => "handed back: its node stopped".into(),
            Self::Lost => "its node was lost".into(),
        }
    }

    pub fn counts(&self) -> Option<Counts> {
        match self {
            Self::Succeeded { counts, .. } | Self::Failed { counts, .. } => *counts,
            _ => None,
        }
    }

    /// The least delay that the target asked for.
    pub fn delay(&self) -> Option<Duration> {
        match self {
            Self::Failed { delay, .. } => *delay,
            _ => None,
        }
    }
}

/// An attempt as stored, for a run's page.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Attempt {
    pub attempt: u32,
    pub node: i64,
    pub started_at: Timestamp,
    /// `None` while it runs.
    pub ended_at: Option<Timestamp>,
    /// [`Outcome::word`], or `running`.
    pub outcome: String,
    pub message: Option<String>,
    /// The delay before the next attempt.
    pub delay_ms: Option<i64>,
    /// `None`: no guest ran, or it still runs.
    #[serde(flatten)]
    pub used: Option<Used>,
}

/// What an attempt took of what it may.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Used {
    /// Bytes, at the most.
    pub peak_memory: u64,
    /// HTTP requests, refused ones too.
    pub requests: u64,
    /// The most of each other limit that is counted, by its key in [`super::limits::Limits`] (or `scratch`); what is
    /// missing was not taken.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub took: BTreeMap<String, u64>,
}
