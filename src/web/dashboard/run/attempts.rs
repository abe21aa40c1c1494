//! Attempts as the page of a run lists them: newest first, each with its message and its HTTP calls.

use crate::clock::Timestamp;
use std::time::Duration;

use crate::domain::attempt::Attempt;
use crate::domain::health::words;
use crate::domain::limits::Limits;
use crate::domain::log::Call;
use crate::domain::run::{Run, State};
use crate::span::{Size, Span};
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

/// What attempts of a run may take, and what is known of the log and the output beside their rows.
pub struct Taken<'a> {
    pub limits: Limits,
    pub memory: Size,
    pub time: Span,
    /// The attempt of each line of the log.
    pub lines: &'a [Numbered],
    /// Bytes of the last attempt's output.
    pub output: Option<u64>,
}

impl Taken<'_> {
    fn words(&self, attempt: &Attempt, took: Duration, is_last: bool) -> Vec<String> {
        let Some(used) = attempt.used else { return Vec::new() };
        let lines = self.lines.iter().filter(|line| line.attempt == attempt.attempt).count() as u64;
        let mut words = vec![
            format!("{} of {}", span(took), words(self.time.0)),
            format!("{} of {} of memory", bytes(used.peak_memory), bytes(self.memory.0)),
            format!("{} of {} requests", commas(used.requests), commas(self.limits.requests)),
            format!("{} of {} lines of log", commas(lines), commas(self.limits.log_lines)),
        ];
        let output = self.output.filter(|_| is_last);
        words.extend(output.map(|output| format!("{} of {} of output", bytes(output), bytes(self.limits.output_bytes.0))));
        words
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

pub fn rows(run: &Run, attempts: Vec<Attempt>, calls: Vec<(u32, Call)>, taken: &Taken<'_>, now: Timestamp) -> Vec<AttemptRow> {
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
            used: taken.words(&attempt, took, is_last),
            message: attempt.message.filter(|message| !message.is_empty()),
            next: attempt
                .delay_ms
                .filter(|ms| *ms > 0)
                .map(|ms| format!("Then a pause of {}.", span(std::time::Duration::from_millis(ms.unsigned_abs())))),
            calls: calls.iter().filter(|(of, _)| *of == attempt.attempt).map(|(_, call)| call_row(call)).collect(),
        }
    };
    attempts.into_iter().map(row).collect()
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
        took: span(std::time::Duration::from_millis(call.duration_ms)),
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
