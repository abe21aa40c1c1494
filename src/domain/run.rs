//! A run: one intention to execute a job. `docs/run.md` draws its states.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::attempt::Counts;
use super::trigger::Cause;
use crate::clock::Timestamp;
use crate::id::Id;

/// What enqueue takes: everything a run starts with.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRun {
    pub tenant: Id,
    pub job: Id,
    pub revision: Id,
    pub cause: Cause,
    /// JSON; `None` for none, which spares a row.
    pub input: Option<Value>,
    /// In the future: waits until then.
    pub due_at: Option<Timestamp>,
    pub start_by: Option<Timestamp>,
    /// The run that this one runs again.
    pub parent: Option<Id>,
    pub requested_by: Option<String>,
    /// Unfinished runs that the job may have, this one included; 0 for no limit.
    pub max_live: u32,
    /// The same key within 24 h: the same run.
    pub idempotency: Option<Idempotency>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    pub key: String,
    /// Of the request's body: another body under the same key is a conflict.
    pub request_hash: String,
}

/// What enqueue answers, run by run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    New(Id),
    /// `max_live` runs are unfinished; this is one of them.
    Merged(Id),
    /// The idempotency key was seen before.
    Repeated(Id),
}

impl Enqueued {
    pub fn id(self) -> Id {
        match self {
            Self::New(id) | Self::Merged(id) | Self::Repeated(id) => id,
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Final {
    Succeeded,
    Dead(Reason),
    Cancelled,
}

/// Why a run is dead. The numbers stand in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    Permanent = 1,
    AttemptsSpent = 2,
    LostTooOften = 3,
    TotalLimit = 4,
    StartDeadline = 5,
    ItemsFailed = 6,
    Undecodable = 7,
}

impl Reason {
    pub const ALL: [Self; 7] = [
        Self::Permanent,
        Self::AttemptsSpent,
        Self::LostTooOften,
        Self::TotalLimit,
        Self::StartDeadline,
        Self::ItemsFailed,
        Self::Undecodable,
    ];

    pub fn code(self) -> i64 {
        self as i64
    }

    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Permanent => "permanent",
            Self::AttemptsSpent => "attempts_spent",
            Self::LostTooOften => "lost_too_often",
            Self::TotalLimit => "total_limit",
            Self::StartDeadline => "start_deadline",
            Self::ItemsFailed => "items_failed",
            Self::Undecodable => "undecodable",
        }
    }
}

/// The state of a run with what only that state has.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Due at `due_at`; `why` is set when something must happen first (a delay, a limit).
    Waiting {
        due_at: Timestamp,
        why: Option<String>,
    },
    Running {
        node: i64,
        started_at: Timestamp,
        stopping: bool,
    },
    Succeeded {
        started_at: Timestamp,
        ended_at: Timestamp,
    },
    Dead {
        started_at: Option<Timestamp>,
        ended_at: Timestamp,
        reason: Reason,
    },
    Cancelled {
        started_at: Option<Timestamp>,
        ended_at: Timestamp,
    },
}

impl State {
    /// The API's value.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waiting",
            Self::Running { .. } => "running",
            Self::Succeeded { .. } => "succeeded",
            Self::Dead { .. } => "dead",
            Self::Cancelled { .. } => "cancelled",
        }
    }

    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Waiting { .. } | Self::Running { .. })
    }
}

/// The states a list can be narrowed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateFilter {
    Waiting,
    /// Of the waiting, those after a failure or a lost node.
    Retrying,
    /// Of the waiting, those that their target has put off.
    Snoozed,
    Running,
    Succeeded,
    Dead,
    Cancelled,
}

impl StateFilter {
    pub const ALL: [Self; 7] =
        [Self::Waiting, Self::Retrying, Self::Snoozed, Self::Running, Self::Succeeded, Self::Dead, Self::Cancelled];

    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Retrying => "retrying",
            Self::Snoozed => "snoozed",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }
}

/// A run, as every list and page sees it. Input, output, attempts and log hang on it and are read apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub id: Id,
    pub tenant: Id,
    pub job: Id,
    pub revision: Id,
    pub cause: Cause,
    /// Whether a row of input, output or parent stands beside it.
    pub payload: bool,
    /// Of the last attempt; 0 before the first. Set by the claim alone.
    pub attempt: u32,
    pub fence: i64,
    pub failed: u32,
    pub lost: u32,
    pub snoozed: u32,
    pub created_at: Timestamp,
    pub first_started_at: Option<Timestamp>,
    pub start_by: Option<Timestamp>,
    pub state: State,
    pub counts: Option<Counts>,
    /// The summary of a success, the error of a failure.
    pub message: Option<String>,
    /// Groups failures of one cause; see [`fingerprint`].
    pub print: Option<i64>,
}

impl Run {
    /// What pages say: `retrying` after a failure, `snoozed` after a snooze, else the state.
    pub fn page_state(&self) -> &'static str {
        match &self.state {
            State::Waiting { why: Some(why), .. } if why.starts_with("deferred") => "snoozed",
            State::Waiting { .. } if self.failed > 0 || self.lost > 0 => "retrying",
            State::Running { stopping: true, .. } => "stopping",
            state => state.word(),
        }
    }
}

/// What hangs on a run beside its row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Payload {
    pub input: Option<String>,
    pub output: Option<String>,
    pub details: Option<String>,
    pub parent: Option<Id>,
    pub requested_by: Option<String>,
}

/// How far a run is; the last report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Progress {
    pub done: u64,
    pub total: Option<u64>,
    pub message: String,
    #[serde(skip)]
    pub at: Timestamp,
}

/// The cause of a failure as a number: the same text with other numbers, ids and addresses has the same one.
pub fn fingerprint(job: Id, reason: Reason, message: &str) -> i64 {
    let mut hash = Sha256::new();
    hash.update(job.0.to_be_bytes());
    hash.update(reason.word());
    for word in message.split_whitespace().take(60) {
        hash.update(if word.bytes().any(|b| b.is_ascii_digit()) { "#" } else { word });
        hash.update(" ");
    }
    let mut head = [0; 8];
    head.copy_from_slice(&hash.finalize()[..8]);
    i64::from_be_bytes(head)
}
