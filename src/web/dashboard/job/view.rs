//! What a job's page shows, as plain data.

use std::borrow::Cow;

use askama::Template;

use super::rollout::RolloutPart;
use super::state::StatePart;
use crate::clock::Timestamp;
use crate::domain::health::Health;
use crate::id::Id;
use crate::store::item_list::Pattern;
use crate::web::dashboard::overview::view::EmptyIn;
use crate::web::dashboard::run::row::RunRow;
use crate::web::dashboard::shell::Shell;
use crate::web::fragment;
use crate::web::show::chart::LevelChart;
use crate::web::show::json::Json;
use crate::web::show::moment::Maybe;
use crate::web::show::number::{Commas, Num, Rate};
use crate::web::show::pill::Pill;
use crate::web::show::words::TriggerWords;

#[derive(Template)]
#[template(path = "job/show.html", blocks = ["health", "backlog", "runs"])]
pub struct JobPage {
    pub shell: Shell,
    pub here: String,
    pub path: String,
    pub tenant: String,
    pub job: String,
    pub health: Health,
    pub why: String,
    pub plugin: String,
    pub plugin_name: String,
    pub last_success: Option<Timestamp>,
    pub paused: bool,
    pub paused_until: Option<Timestamp>,
    pub backlog: Option<Backlog>,
    pub rows: Vec<RunRow>,
    /// JSON.
    pub config: String,
    pub triggers: Vec<TriggerWords>,
    pub next: Vec<Timestamp>,
    pub occurrences: Vec<Occurrence>,
    /// What its failed items have in common.
    pub patterns: Vec<Pattern>,
    pub rollout: Option<RolloutPart>,
    /// What its plugin keeps between runs.
    pub state: StatePart,
    pub policy: Vec<PolicyLine>,
    pub trigger_lines: Vec<PolicyLine>,
    pub ceiling_lines: Vec<PolicyLine>,
    /// Of an attempt, by key.
    pub limits: Vec<PolicyLine>,
    pub grant: Vec<(&'static str, String)>,
}

fragment::fragments!(JobPage: health => as_health, backlog => as_backlog, runs => as_runs);

impl JobPage {
    fn has_schedule(&self) -> bool {
        self.triggers.iter().any(|trigger| trigger.line.is_some())
    }

    fn why_class(&self) -> &'static str {
        match self.health {
            health if health.needs_a_person() => " bad",
            Health::Lagging => " warn",
            _ => "",
        }
    }
}

pub struct Backlog {
    pub size: Option<u64>,
    pub age: Option<String>,
    /// The promise is broken.
    pub late: bool,
    pub rate_in: Option<f64>,
    pub rate_out: Option<f64>,
    pub empty_in: EmptyIn,
    pub sampled_at: Option<Timestamp>,
    pub error: Option<String>,
    pub chart: LevelChart,
}

pub struct Occurrence {
    pub due_at: Timestamp,
    pub pill: Pill,
    pub run: Option<Id>,
    pub note: Option<String>,
}

/// A value in effect, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyLine {
    pub what: Cow<'static, str>,
    pub value: String,
    pub from: &'static str,
}
