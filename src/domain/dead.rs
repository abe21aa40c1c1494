//! Dead runs as a person deals with them: which ones, what to do with them, and how far that is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::backfill::Window;
use super::run::Reason;
use crate::clock::Timestamp;
use crate::id::Id;

/// A discarded run can be brought back for so long.
pub const UNDO: Duration = Duration::from_secs(24 * 3600);
/// Dead runs of which that is left are told of before they go.
pub const NOTICE: Duration = Duration::from_secs(24 * 3600);
/// Runs of one operation; for more it is asked for again.
pub const OPERATION_LIMIT: u64 = 100_000;
/// Runs a second, unless it is asked for less or more.
pub const RATE: u32 = 50;
pub const RATE_LIMIT: u32 = 1_000;

/// What is done with dead runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Rerun,
    Discard,
    /// Brings discarded ones back.
    Undo,
    /// Makes the runs of instants that have passed.
    Backfill,
}

impl Action {
    pub const ALL: [Self; 4] = [Self::Rerun, Self::Discard, Self::Undo, Self::Backfill];

    pub fn word(self) -> &'static str {
        match self {
            Self::Rerun => "rerun",
            Self::Discard => "discard",
            Self::Undo => "undo",
            Self::Backfill => "backfill",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.word() == word)
    }

    /// What somebody may ask for with dead runs.
    pub fn with_dead(word: &str) -> Option<Self> {
        Self::parse(word).filter(|action| *action != Self::Backfill)
    }

    /// The dead runs it is for.
    pub fn standing(self) -> Standing {
        match self {
            Self::Rerun | Self::Discard | Self::Backfill => Standing::Open,
            Self::Undo => Standing::Discarded,
        }
    }

    /// Those it is for; of them those that expire, where these were asked for.
    pub fn standing_in(self, which: &Which) -> Standing {
        match (self.standing(), which.standing) {
            (Standing::Open, Standing::Expiring) => Standing::Expiring,
            (standing, _) => standing,
        }
    }
}

/// Where a dead run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It needs a person.
    #[default]
    Open,
    /// Open, and deleted within [`NOTICE`].
    Expiring,
    /// Discarded, and can be brought back.
    Discarded,
}

impl Standing {
    pub const ALL: [Self; 3] = [Self::Open, Self::Expiring, Self::Discarded];

    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Expiring => "expiring",
            Self::Discarded => "discarded",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|standing| standing.word() == word)
    }
}

/// Which dead runs, as somebody asks for them: all that fit everything said, or, where `runs` are named, those.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Which {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Why they are dead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Reason>,
    /// Groups of one message: (tenant, fingerprint).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<(String, i64)>,
    /// (tenant, run)
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<(String, Id)>,
    /// Died at or after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Died before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Words of the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    pub standing: Standing,
}

/// Many dead runs dealt with, or instants made up for, a batch a second.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    pub id: Id,
    /// 0: of several tenants, begun by somebody of the whole server.
    pub tenant: Id,
    pub action: Action,
    pub order: Order,
    pub total: u64,
    pub done: u64,
    /// Left as they were: settled by somebody else meanwhile, or they could not be run again.
    pub left: u64,
    pub state: OperationState,
    /// The last run that was dealt with.
    pub cursor: Id,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub by: String,
    /// What its next run waits for, where it does.
    pub waits: Option<String>,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub which: Which,
    /// Runs a second.
    pub rate: u32,
    /// For the audit.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Of a backfill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backfill: Option<Window>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationState {
    Running,
    Done,
    Cancelled,
}

impl OperationState {
    const ALL: [Self; 3] = [Self::Running, Self::Done, Self::Cancelled];

    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }
}
