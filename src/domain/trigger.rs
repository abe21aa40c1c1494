//! Why a run exists, and what makes one.

use std::time::Duration;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::days::Days;
use super::follow::FollowSpec;
use super::hook::HookSpec;
pub use super::probe::ProbeKind;
use super::schedule::{self, Schedule};
use super::span::Span;
use super::zone;
use crate::clock::Timestamp;
use crate::error::Problem;
use crate::id::Id;

mod backlog;

pub use backlog::BacklogSpec;

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
    /// Boxed: it has the keys of all probes.
    Backlog {
        backlog: Box<BacklogSpec>,
    },
    Webhook {
        webhook: HookSpec,
    },
    After {
        after: FollowSpec,
    },
}

/// All keys of all kinds, so that a misspelt one is named with its place instead of "no kind fits".
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TriggerFields {
    schedule: Option<String>,
    #[serde(default, deserialize_with = "zone::read_some")]
    zone: Option<Tz>,
    overlap: Option<Overlap>,
    catch_up: Option<CatchUp>,
    start_deadline: Option<Span>,
    jitter: Option<Span>,
    input: Option<Value>,
    except: Option<Vec<Days>>,
    backlog: Option<Box<BacklogSpec>>,
    webhook: Option<HookSpec>,
    after: Option<FollowSpec>,
}

impl TryFrom<TriggerFields> for TriggerSpec {
    type Error = String;

    fn try_from(fields: TriggerFields) -> Result<Self, String> {
        let TriggerFields { schedule, zone, overlap, catch_up, start_deadline, jitter, input, except, backlog, webhook, after } =
            fields;
        let others =
            [backlog.is_some().then_some("backlog"), webhook.is_some().then_some("webhook"), after.is_some().then_some("after")];
        let kinds: Vec<&str> = schedule.as_ref().map(|_| "schedule").into_iter().chain(others.into_iter().flatten()).collect();
        if let [first, second, ..] = kinds[..] {
            return Err(format!("{first} and {second} are two triggers: write two entries"));
        }
        if let Some(schedule) = schedule {
            return Ok(Self::Schedule(ScheduleSpec {
                schedule,
                zone,
                overlap: overlap.unwrap_or_default(),
                catch_up: catch_up.unwrap_or_default(),
                start_deadline,
                jitter,
                input,
                except: except.unwrap_or_default(),
            }));
        }
        let of_schedule = [zone.is_some(), overlap.is_some(), catch_up.is_some(), start_deadline.is_some(), jitter.is_some()];
        if of_schedule.contains(&true) || input.is_some() || except.is_some() {
            return Err(format!(
                "zone, overlap, catch_up, start_deadline, jitter, input and except belong to a schedule, not beside {}",
                kinds.first().unwrap_or(&"nothing")
            ));
        }
        match (backlog, webhook, after) {
            (Some(backlog), ..) => Ok(Self::Backlog { backlog }),
            (_, Some(webhook), _) => Ok(Self::Webhook { webhook }),
            (_, _, Some(after)) => Ok(Self::After { after }),
            (None, None, None) => Err("a trigger is { schedule = \"30 2 * * *\", … }, { backlog = { probe = \"plugin\", … } }, \
                 { webhook = { secret = \"hook-key\", … } } or { after = { job = \"import\", … } }"
                .into()),
        }
    }
}

impl TriggerSpec {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Schedule(_) => "schedule",
            Self::Backlog { .. } => "backlog",
            Self::Webhook { .. } => "webhook",
            Self::After { .. } => "after",
        }
    }

    pub fn schedule(&self) -> Option<&ScheduleSpec> {
        match self {
            Self::Schedule(schedule) => Some(schedule),
            _ => None,
        }
    }

    pub fn backlog(&self) -> Option<&BacklogSpec> {
        match self {
            Self::Backlog { backlog } => Some(backlog),
            _ => None,
        }
    }

    pub fn webhook(&self) -> Option<&HookSpec> {
        match self {
            Self::Webhook { webhook } => Some(webhook),
            _ => None,
        }
    }

    pub fn after(&self) -> Option<&FollowSpec> {
        match self {
            Self::After { after } => Some(after),
            _ => None,
        }
    }

    /// Contradictions, also with the job's `max_live`. `field` is the trigger's path in its file, as in `job[0].triggers[1]`.
    pub fn contradictions(&self, field: &str, max_live: u32) -> Vec<Problem> {
        match self {
            Self::Schedule(schedule) => schedule.contradictions(field, max_live),
            Self::Backlog { backlog } => backlog.contradictions(&format!("{field}.backlog"), max_live),
            Self::Webhook { webhook } => webhook.contradictions(&format!("{field}.webhook")),
            // Which job it follows is judged where all jobs are seen.
            Self::After { .. } => Vec::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSpec {
    /// Five cron fields or a nickname; see `schedule.rs`.
    pub schedule: String,
    /// Absent in a file: the tenant's. What is stored has it.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "zone::read_some")]
    pub zone: Option<Tz>,
    #[serde(default)]
    pub overlap: Overlap,
    #[serde(default)]
    pub catch_up: CatchUp,
    /// A run that has not started so long after its time does not start any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_deadline: Option<Span>,
    /// Its runs start up to so long after their time, each by its own share of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// Days of its zone on which it rests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<Days>,
}

impl ScheduleSpec {
    /// When it is due for this job; `zone` is the tenant's, for a schedule that names none.
    ///
    /// # Errors
    /// As [`Schedule::parse`].
    pub fn of(&self, job: Id, zone: Tz) -> Result<Schedule, String> {
        Schedule::parse(&self.schedule, self.zone.unwrap_or(zone), job)?.except(&self.except)
    }

    /// How long after its time at `due_at` the job's run starts.
    pub fn delay(&self, job: Id, due_at: Timestamp) -> Duration {
        let most = self.jitter.map_or(0, |jitter| u64::try_from(jitter.0.as_millis()).unwrap_or(u64::MAX));
        // Hashed, not drawn: whichever node settles the instant, and however often, it is the same.
        Duration::from_millis(schedule::hashed(job, &due_at.0.to_be_bytes()) % most.max(1))
    }

    fn contradictions(&self, field: &str, max_live: u32) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut refuse = |key: &str, message: String| problems.push(Problem::new(format!("{field}.{key}"), message));
        // The seed decides only which minute a `~` is.
        let gap = match self.of(Id(0), Tz::default()) {
            Ok(schedule) => schedule.shortest_gap(),
            Err(wrong) => {
                refuse("schedule", wrong);
                None
            }
        };
        if let Some((jitter, gap)) = self.jitter.zip(gap).filter(|(jitter, gap)| jitter.0 >= *gap) {
            let gap = Span(gap);
            refuse("jitter", format!("{jitter} is not below {gap}, the time between two of its instants; write a shorter one"));
        }
        if let Some((jitter, deadline)) = self.jitter.zip(self.start_deadline).filter(|(jitter, deadline)| jitter >= deadline) {
            refuse(
                "jitter",
                format!("{jitter} is not below start_deadline, {deadline}: some runs would never start; write a shorter one"),
            );
        }
        if matches!(self.overlap, Overlap::Queue | Overlap::Cancel) && self.catch_up == CatchUp::All {
            let (word, why) = match self.overlap {
                Overlap::Queue => ("queue", "lets one wait"),
                _ => ("cancel", "lets each end the one before"),
            };
            refuse(
                "catch_up",
                format!("\"all\" makes up for each time, and overlap = {word:?} {why}; write \"last\", or overlap = \"allow\""),
            );
        }
        if self.overlap == Overlap::Allow && max_live == 1 {
            refuse(
                "overlap",
                "\"allow\" needs more than one run at a time, and max_live is 1; write a larger max_live, or overlap = \"skip\""
                    .into(),
            );
        }
        if self.start_deadline.is_some_and(|deadline| deadline.0.is_zero()) {
            refuse("start_deadline", "0s would let no run start; write how late it may start, as in \"2h\"".into());
        }
        problems
    }
}

/// What happens when the run before is still unfinished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    #[default]
    Skip,
    /// One waits until it has ended; further ones are skipped.
    Queue,
    Allow,
    /// It is cancelled, and the new one starts when it has ended.
    Cancel,
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

/// A trigger as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Trigger {
    pub id: Id,
    pub tenant: Id,
    pub job: Id,
    pub position: u32,
    pub spec: TriggerSpec,
}
