//! Why a run exists, and what makes one.

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::span::Span;
use crate::id::Id;

/// The kind of trigger that made a run. The numbers stand in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    Manual = 0,
    Schedule = 1,
    Backlog = 2,
    Api = 3,
    Rerun = 4,
    After = 5,
}

impl Cause {
    pub const ALL: [Self; 6] = [Self::Manual, Self::Schedule, Self::Backlog, Self::Api, Self::Rerun, Self::After];

    pub fn code(self) -> i64 {
        self as i64
    }

    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.code() == code)
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Schedule => "schedule",
            Self::Backlog => "backlog",
            Self::Api => "api",
            Self::Rerun => "rerun",
            Self::After => "after",
        }
    }
}

/// One entry of `triggers` in a tenant file: exactly one of the kinds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "TriggerFields", untagged)]
pub enum TriggerSpec {
    Schedule(ScheduleSpec),
    Backlog { backlog: BacklogSpec },
}

/// All keys of all kinds, so that a misspelt one is named with its place instead of "no kind fits".
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TriggerFields {
    schedule: Option<String>,
    zone: Option<Tz>,
    overlap: Option<Overlap>,
    catch_up: Option<CatchUp>,
    start_deadline: Option<Span>,
    input: Option<Value>,
    backlog: Option<BacklogSpec>,
}

impl TryFrom<TriggerFields> for TriggerSpec {
    type Error = String;

    fn try_from(fields: TriggerFields) -> Result<Self, String> {
        let TriggerFields { schedule, zone, overlap, catch_up, start_deadline, input, backlog } = fields;
        match (schedule, backlog) {
            (Some(schedule), None) => Ok(Self::Schedule(ScheduleSpec {
                schedule,
                zone,
                overlap: overlap.unwrap_or_default(),
                catch_up: catch_up.unwrap_or_default(),
                start_deadline,
                input,
            })),
            (None, Some(backlog)) => {
                if zone.is_some() || overlap.is_some() || catch_up.is_some() || start_deadline.is_some() || input.is_some() {
                    return Err("zone, overlap, catch_up, start_deadline and input belong to a schedule, not beside backlog".into());
                }
                Ok(Self::Backlog { backlog })
            }
            (Some(_), Some(_)) => Err("schedule and backlog are two triggers: write two entries".into()),
            (None, None) => Err("a trigger is { schedule = \"30 2 * * *\", … } or { backlog = { probe = \"plugin\", … } }".into()),
        }
    }
}

impl TriggerSpec {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Schedule(_) => "schedule",
            Self::Backlog { .. } => "backlog",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSpec {
    /// Five cron fields or a nickname; see `schedule.rs`.
    pub schedule: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Tz>,
    #[serde(default)]
    pub overlap: Overlap,
    #[serde(default)]
    pub catch_up: CatchUp,
    /// A run that has not started so long after its time does not start any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_deadline: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
}

/// What happens when the run before is still unfinished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    #[default]
    Skip,
    Allow,
}

/// What happens to instants that passed while no node was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CatchUp {
    None,
    #[default]
    Last,
    All,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BacklogSpec {
    /// `plugin`: the plugin's own `backlog` export.
    pub probe: ProbeKind,
    #[serde(default = "BacklogSpec::default_every")]
    pub every: Span,
    /// Pieces of work that one run is expected to deal with.
    #[serde(default = "BacklogSpec::default_per_run")]
    pub per_run: u64,
    #[serde(default = "BacklogSpec::default_max_parallel")]
    pub max_parallel: u32,
    /// The promise: no piece of work waits longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_limit: Option<Span>,
}

impl BacklogSpec {
    fn default_every() -> Span {
        Span::secs(15)
    }

    fn default_per_run() -> u64 {
        500
    }

    fn default_max_parallel() -> u32 {
        1
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeKind {
    Plugin,
}

/// A trigger as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Trigger {
    pub id: Id,
    pub tenant: Id,
    pub job: Id,
    pub position: u32,
    pub spec: TriggerSpec,
}
