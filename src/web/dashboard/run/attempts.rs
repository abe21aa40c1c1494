//! Attempts as the page of a run lists them: newest first, each with its message and its HTTP calls.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::domain::attempt::Attempt;
use crate::domain::health::words;
use crate::domain::limits::Limits;
use crate::domain::log::Call;
use crate::domain::run::{Run, State};
use crate::domain::tenant::Tenant;
use crate::error::Result;
use crate::span::{Size, Span};
use crate::store::Tx;
use crate::store::log::Numbered;
use crate::web::show::moment::span;
use crate::web::show::number::{bytes, commas};
use crate::web::show::pill::Pill;
use crate::web::show::words::first_line;

pub struct AttemptRow {
    pub number: u32,
    pub pill: Pill,
    pub first_line: String,
    pub message: Option<String>,
    pub started_at: Timestamp,
    pub took: String,
    /// What came after it.
    pub next: Option<String>,
    pub calls: Vec<CallRow>,
    /// What it took of what it may: "1.1 MiB of 64 MiB of memory".
    pub used: Vec<String>,
}

/// What a page knows of a run beside its attempts.
pub struct Known<'a> {
    pub owner: &'a Tenant,
    /// The time limit.
    pub time: Option<Span>,
    pub lines: &'a [Numbered],
    /// Of the last attempt.
    pub output: Option<&'a str>,
}

/// What an attempt may take.
struct Most {
    limits: Limits,
    memory: Size,
    time: Span,
}

impl Known<'_> {
    fn words(&self, attempt: &Attempt, took: Duration, most: &Most, is_last: bool) -> Vec<String> {
        let Some(used) = attempt.used else { return Vec::new() };
        let lines = self.lines.iter().filter(|line| line.attempt == attempt.attempt).count() as u64;
        let mut said = vec![
            format!("{} of {}", span(took), words(most.time.0)),
            format!("{} of {} of memory", bytes(used.peak_memory), bytes(most.memory.0)),
            format!("{} of {} requests", commas(used.requests), commas(most.limits.requests)),
            format!("{} of {} lines of log", commas(lines), commas(most.limits.log_lines)),
        ];
        let output = self.output.filter(|_| is_last).map(|output| output.len() as u64);
        said.extend(output.map(|output| format!("{} of {} of output", bytes(output), bytes(most.limits.output_bytes.0))));
        said
    }
}

pub struct CallRow {
    pub method: String,
    pub status: String,
    pub host: String,
    pub path: String,
    pub error: Option<String>,
    pub took: String,
    pub sent: String,
    pub received: String,
}

/// Of a run, newest first.
pub async fn read(tx: &mut Tx, run: &Run, known: Known<'_>, now: Timestamp) -> Result<Vec<AttemptRow>> {
    let (grant, ceiling) = (tx.grant_of(run.job).await?, &known.owner.ceiling);
    let most = Most {
        limits: Limits::of(&grant.limits, &ceiling.limits),
        memory: grant.memory.min(ceiling.memory),
        time: known.time.unwrap_or(ceiling.time_limit).min(ceiling.time_limit),
    };
    let attempts = tx.attempts_of(run).await?;
    let calls = tx.calls_of(run.tenant, run.id).await?;
    let last = attempts.first().map(|attempt| attempt.attempt);
    let row = |attempt: Attempt| {
        let is_last = Some(attempt.attempt) == last;
        let dead = matches!(run.state, State::Dead { .. });
        let took = attempt.ended_at.unwrap_or(now).since(attempt.started_at);
        AttemptRow {
            number: attempt.attempt,
            pill: Pill::attempt(&attempt.outcome, dead && is_last),
            first_line: first_line(attempt.message.as_deref().unwrap_or_default()).to_owned(),
            started_at: attempt.started_at,
            took: span(took),
            used: known.words(&attempt, took, &most, is_last),
            message: attempt.message.filter(|message| !message.is_empty()),
            next: attempt
                .delay_ms
                .filter(|ms| *ms > 0)
                .map(|ms| format!("Then a pause of {}.", span(Duration::from_millis(ms.unsigned_abs())))),
            calls: calls.iter().filter(|(of, _)| *of == attempt.attempt).map(|(_, call)| call_row(call)).collect(),
        }
    };
    Ok(attempts.into_iter().map(row).collect())
}

fn call_row(call: &Call) -> CallRow {
    let rest = call.url.split_once("://").map_or(call.url.as_str(), |(_, rest)| rest);
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    CallRow {
        method: call.method.clone(),
        status: call.status.map_or_else(|| "none".into(), |status| status.to_string()),
        host: host.to_owned(),
        path: path.to_owned(),
        error: call.error.clone(),
        took: span(Duration::from_millis(call.duration_ms)),
        sent: bytes(call.sent_bytes),
        received: bytes(call.received_bytes),
    }
}

/// "2 of 5 spent, newest first"
pub fn spent(run: &Run, most: u32) -> String {
    let lost = if run.lost > 0 { format!("; {} lost with their node, not counted", run.lost) } else { String::new() };
    let deferred = if run.snoozed > 0 { format!("; {} deferred, not counted", run.snoozed) } else { String::new() };
    format!("{} of {most} failed{lost}{deferred}; newest first", run.failed)
}
