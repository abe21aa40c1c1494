//! A run as a row: every list shows it in the same words.

use std::collections::HashMap;

use crate::clock::Timestamp;
use crate::domain::run::{Payload, Progress, Run, State};
use crate::error::Result;
use crate::id::Id;
use crate::store::Tx;
use crate::web::show::moment::{relative, span};
use crate::web::show::pill::Pill;
use crate::web::show::words;

/// Letters of a result that a row shows; its page shows the whole.
const RESULT_CUT: usize = 160;

#[derive(Debug, Clone)]
pub struct RunRow {
    pub run: Run,
    pub tenant: String,
    pub job: String,
    pub progress: Option<Progress>,
    pub payload: Payload,
    /// Dead, and needs nobody any more.
    pub settled: bool,
}

/// Rows with what only lists need: progress of what runs, who asked for what has a payload.
pub async fn rows_of(tx: &mut Tx, runs: Vec<Run>, tenant: &str, job: impl Fn(Id) -> String) -> Result<Vec<RunRow>> {
    let Some(owner) = runs.first().map(|run| run.tenant) else { return Ok(Vec::new()) };
    let working: Vec<Id> = runs.iter().filter(|run| matches!(run.state, State::Running { .. })).map(|run| run.id).collect();
    let mut progress: HashMap<Id, Progress> = tx.progress_of(owner, &working).await?.into_iter().collect();
    let mut rows = Vec::with_capacity(runs.len());
    for run in runs {
        let payload = if run.payload { tx.payload(owner, run.id).await? } else { Payload::default() };
        let settled = matches!(run.state, State::Dead { .. }) && tx.settled(owner, run.id).await?.is_some();
        rows.push(RunRow {
            settled,
            progress: progress.remove(&run.id),
            tenant: tenant.to_owned(),
            job: job(run.job),
            payload,
            run,
        });
    }
    Ok(rows)
}

impl RunRow {
    pub fn href(&self) -> String {
        format!("/t/{}/runs/{}", self.tenant, self.run.id)
    }

    pub fn pill(&self) -> Pill {
        if self.settled { Pill::settled() } else { Pill::run(self.run.page_state()) }
    }

    pub fn is_dead(&self) -> bool {
        matches!(self.run.state, State::Dead { .. })
    }

    pub fn is_running(&self) -> bool {
        matches!(self.run.state, State::Running { .. })
    }

    pub fn trigger(&self) -> String {
        words::cause(self.run.cause, self.payload.parent, self.payload.requested_by.as_deref())
    }

    /// Since when it is in its state.
    pub fn since(&self) -> &Timestamp {
        match &self.run.state {
            State::Waiting { .. } => &self.run.created_at,
            State::Running { started_at, .. } => started_at,
            State::Succeeded { ended_at, .. } | State::Dead { ended_at, .. } | State::Cancelled { ended_at, .. } => ended_at,
        }
    }

    /// How long it ran, or runs; nothing before its first attempt.
    pub fn took(&self, now: &Timestamp) -> String {
        let (from, to) = match &self.run.state {
            State::Waiting { .. } => return String::new(),
            State::Running { started_at, .. } => (*started_at, *now),
            State::Succeeded { started_at, ended_at } => (*started_at, *ended_at),
            State::Dead { started_at, ended_at, .. } | State::Cancelled { started_at, ended_at } => match started_at {
                Some(from) => (*from, *ended_at),
                None => return String::new(),
            },
        };
        span(to.since(from))
    }

    /// What it does now, what it waits for, or what came of it.
    pub fn result(&self, now: &Timestamp) -> String {
        let text = match &self.run.state {
            State::Waiting { due_at, why } if due_at > now => {
                let why = why.as_deref().unwrap_or("not yet due");
                // "next attempt after 64s: transient": the time is said here, and better.
                let cause = why
                    .strip_prefix("next attempt after ")
                    .and_then(|rest| rest.split_once(": "))
                    .map_or(why, |(_, cause)| cause);
                format!("attempt {} {}: {cause}", self.run.attempt + 1, relative(*due_at, *now))
            }
            State::Waiting { why, .. } => why.clone().unwrap_or_else(|| "due; waits for its turn".into()),
            State::Running { .. } => match &self.progress {
                Some(progress) => describe(progress),
                None if self.run.attempt > 1 => format!("attempt {}", self.run.attempt),
                None => String::new(),
            },
            State::Succeeded { .. } => {
                let counts = self.run.counts.as_ref().map(words::counts).unwrap_or_default();
                let message = words::first_line(self.run.message.as_deref().unwrap_or_default());
                if message.is_empty() { counts } else { message.to_owned() }
            }
            State::Dead { reason, .. } => {
                let why = words::reason(*reason, self.run.failed, self.run.lost);
                match words::first_line(self.run.message.as_deref().unwrap_or_default()) {
                    "" => why,
                    message => message.to_owned(),
                }
            }
            State::Cancelled { .. } => self.run.message.clone().unwrap_or_default(),
        };
        cut(&text)
    }
}

fn describe(progress: &Progress) -> String {
    use crate::web::show::number::commas;
    let count =
        progress.total.map_or_else(|| commas(progress.done), |total| format!("{} of {}", commas(progress.done), commas(total)));
    if progress.message.is_empty() { count } else { format!("{count}, {}", progress.message) }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= RESULT_CUT {
        text.to_owned()
    } else {
        format!("{}…", text.chars().take(RESULT_CUT - 1).collect::<String>())
    }
}
