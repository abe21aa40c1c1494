//! Attempts as the page of a run lists them: newest first, each with its message and its HTTP calls.

use std::time::Duration;

use super::recording;
use crate::clock::Timestamp;
use crate::domain::attempt::Attempt;
use crate::domain::health::words;
use crate::domain::limits::{Amount, Limits, STACK};
use crate::domain::log::Call;
use crate::domain::run::{Run, State};
use crate::domain::tenant::Tenant;
use crate::error::Result;
use crate::span::{Size, Span};
use crate::store::Tx;
use crate::store::job::Revision;
use crate::store::log::Numbered;
use crate::web::session::Session;
use crate::web::show::moment::span;
use crate::web::show::number::{bytes, commas};
use crate::web::show::pill::Pill;
use crate::web::show::words::first_line;

/// Attempts whose limits are all shown: a run that was deferred for a week has thousands.
const WITH_LIMITS: usize = 5;

pub struct AttemptRow {
    pub number: u32,
    pub node: i64,
    pub pill: Pill,
    pub first_line: String,
    pub message: Option<String>,
    pub started_at: Timestamp,
    pub took: String,
    /// What came after it.
    pub next: Option<String>,
    pub calls: Vec<CallRow>,
    /// The size of its recording, and whether its end is missing.
    pub recording: Option<(String, bool)>,
    /// What it took of what it may: "1.1 MiB of 64 MiB of memory".
    pub used: Vec<String>,
    /// Every other limit; none where no guest came to life, or newer ones have them.
    pub limits: Vec<LimitRow>,
}

/// A limit by its key, what was taken of it, and what may be.
pub struct LimitRow {
    pub key: &'static str,
    /// `None`: nothing, or it is not counted.
    pub took: Option<String>,
    pub may: String,
}

/// What attempts of a run may take, and what is known of the log and the output beside their rows.
pub struct Taken<'a> {
    pub limits: Limits,
    pub memory: Size,
    pub scratch: Size,
    pub time: Span,
    /// The attempt of each line of the log.
    pub lines: &'a [Numbered],
    /// Bytes of the last attempt's output.
    pub output: Option<u64>,
}

impl<'a> Taken<'a> {
    pub async fn read(
        tx: &mut Tx,
        run: &Run,
        owner: &Tenant,
        revision: Option<&Revision>,
        lines: &'a [Numbered],
        output: Option<u64>,
    ) -> Result<Self> {
        let grant = tx.grant_of(run.job).await?;
        Ok(Self {
            limits: Limits::of(&grant.limits, &owner.ceiling.limits),
            memory: grant.memory.min(owner.ceiling.memory),
            scratch: grant.scratch.min(owner.ceiling.scratch),
            time: revision.map_or(owner.ceiling.time_limit, |revision| revision.spec.time_limit),
            lines,
            output,
        })
    }

    fn words(&self, attempt: &Attempt, took: Duration, is_last: bool) -> Vec<String> {
        let Some(used) = &attempt.used else { return Vec::new() };
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

    fn rows(&self, attempt: &Attempt, is_last: bool) -> Vec<LimitRow> {
        let Some(used) = &attempt.used else { return Vec::new() };
        let output = self.output.filter(|_| is_last);
        let took = |key: &str| match key {
            "requests" => Some(used.requests),
            "output_bytes" => output,
            key => used.took.get(key).copied(),
        };
        let row = |key: &'static str, may: Amount| {
            let words = |amount| match may {
                Amount::Bytes(_) => bytes(amount),
                Amount::Count(_) => commas(amount),
            };
            let (Amount::Bytes(most) | Amount::Count(most)) = may;
            LimitRow { key, took: took(key).map(words), may: words(most) }
        };
        let mut rows: Vec<_> = self.limits.amounts().into_iter().map(|(key, may)| row(key, may)).collect();
        rows.push(row("scratch", self.scratch.into()));
        rows.push(row("stack", STACK.into()));
        rows
    }
}

pub struct CallRow {
    pub method: String,
    pub status: String,
    pub host: String,
    pub path: String,
    pub error: Option<String>,
    /// What else is worth a word: its secrets, its wait, its connection.
    pub note: Option<String>,
    pub took: String,
    pub sent: String,
    pub received: String,
}

pub async fn read(tx: &mut Tx, session: &Session, run: &Run, taken: &Taken<'_>, now: Timestamp) -> Result<Vec<AttemptRow>> {
    let attempts = tx.attempts_of(run).await?;
    let calls = tx.calls_of(run.tenant, run.id).await?;
    let kept = recording::of_run(tx, session, run.tenant, run.id).await?;
    let last = attempts.first().map(|attempt| attempt.attempt);
    let row = |attempt: Attempt| {
        let is_last = Some(attempt.attempt) == last;
        let dead = matches!(run.state, State::Dead { .. });
        let took = attempt.ended_at.unwrap_or(now).since(attempt.started_at);
        AttemptRow {
            number: attempt.attempt,
            node: attempt.node,
            pill: Pill::attempt(&attempt.outcome, dead && is_last),
            first_line: first_line(attempt.message.as_deref().unwrap_or_default()).to_owned(),
            started_at: attempt.started_at,
            took: span(took),
            used: taken.words(&attempt, took, is_last),
            limits: taken.rows(&attempt, is_last),
            message: attempt.message.filter(|message| !message.is_empty()),
            next: attempt
                .delay_ms
                .filter(|ms| *ms > 0)
                .map(|ms| format!("Then a pause of {}.", span(std::time::Duration::from_millis(ms.unsigned_abs())))),
            recording: kept.iter().find(|kept| kept.attempt == attempt.attempt).map(|kept| (bytes(kept.size), kept.cut)),
            calls: calls.iter().filter(|(of, _)| *of == attempt.attempt).map(|(_, call)| call_row(call)).collect(),
        }
    };
    let mut rows: Vec<AttemptRow> = attempts.into_iter().map(row).collect();
    rows.iter_mut().skip(WITH_LIMITS).for_each(|row| row.limits.clear());
    Ok(rows)
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
        note: note(call),
        took: span(std::time::Duration::from_millis(call.duration_ms)),
        sent: bytes(call.sent_bytes),
        received: bytes(call.received_bytes),
    }
}

/// "with secret wiki-key, waited 1.2 s for its turn, connection reused"
fn note(call: &Call) -> Option<String> {
    let mut words = Vec::new();
    if !call.secrets.is_empty() {
        words.push(format!("with secret {}", call.secrets.join(", ")));
    }
    if call.waited_ms > 0 {
        words.push(format!("waited {} for its turn", span(std::time::Duration::from_millis(call.waited_ms))));
    }
    if call.reused {
        words.push("connection reused".into());
    }
    (!words.is_empty()).then(|| words.join(", "))
}

/// "2 of 5 spent, newest first"
pub fn spent(run: &Run, most: u32) -> String {
    let lost = if run.lost > 0 { format!("; {} lost with their node, not counted", run.lost) } else { String::new() };
    let deferred = if run.snoozed > 0 { format!("; {} deferred, not counted", run.snoozed) } else { String::new() };
    format!("{} of {most} failed{lost}{deferred}; newest first", run.failed)
}
