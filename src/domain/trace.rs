//! A run as a trace: ids that follow from the run's, so that every attempt on every node agrees on them and nothing is stored.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::log::Call;
use super::retry::Decision;
use super::run::{Run, State};
use crate::clock::Timestamp;
use crate::id::Id;

/// One span, as it is when it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub trace: u128,
    pub id: u64,
    /// Zero: none.
    pub parent: u64,
    pub name: String,
    /// It asked somebody else.
    pub is_client: bool,
    pub start: Timestamp,
    pub end: Timestamp,
    pub attributes: Vec<(&'static str, String)>,
    pub error: Option<String>,
}

/// An attempt's place in the trace of its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    run: Id,
    attempt: u32,
}

/// How often a guest has asked its host for something beside HTTP. Counts, because a span for each would be a million of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asks {
    pub state: u64,
    pub items: u64,
    pub artifacts: u64,
    /// Stand-ins and signatures.
    pub secrets: u64,
}

/// What made the run, beside its kind, which the run knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trigger {
    /// As people call it: the line of a schedule, the kind of a probe.
    pub name: Option<String>,
    /// The time of the schedule that the run is for.
    pub due_at: Option<Timestamp>,
}

/// The end of an attempt, of its run when that is over, or of a run that no node had.
#[derive(Debug, Clone)]
pub struct Ended<'a> {
    pub run: &'a Run,
    pub tenant: &'a str,
    pub job: &'a str,
    pub node: i64,
    /// [`super::attempt::Outcome::word`].
    pub outcome: &'a str,
    pub message: &'a str,
    pub decision: &'a Decision,
    pub trigger: Trigger,
    pub asks: Asks,
    pub at: Timestamp,
}

impl Place {
    pub fn new(run: &Run) -> Self {
        Self { run: run.id, attempt: run.attempt }
    }

    pub fn trace(self) -> u128 {
        u128::from_be_bytes(hash(self.run, "run", 0, 0))
    }

    fn span(self, what: &str, number: u64) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = hash(self.run, what, self.attempt, number);
        u64::from_be_bytes([a, b, c, d, e, f, g, h]).max(1)
    }

    fn root(self) -> u64 {
        Self { attempt: 0, ..self }.span("run", 0)
    }

    fn attempt(self) -> u64 {
        self.span("attempt", 0)
    }

    /// For the header `traceparent` of an HTTP call, the so manyth of the attempt.
    pub fn traceparent(self, call: u64) -> String {
        format!("00-{:032x}-{:016x}-01", self.trace(), self.span("call", call))
    }

    /// HTTP calls of the attempt.
    pub fn calls(self, calls: &[Call]) -> Vec<Span> {
        let span = |call: &Call| {
            let mut attributes = vec![("http.request.method", call.method.clone()), ("url.full", call.url.clone())];
            attributes.extend(call.status.map(|status| ("http.response.status_code", status.to_string())));
            let failed = call.status.filter(|status| *status >= 400).map(|status| format!("status {status}"));
            Span {
                trace: self.trace(),
                id: self.span("call", call.number),
                parent: self.attempt(),
                name: call.method.clone(),
                is_client: true,
                start: call.at,
                end: call.at.plus(Duration::from_millis(call.duration_ms)),
                attributes,
                error: call.error.clone().or(failed),
            }
        };
        calls.iter().map(span).collect()
    }
}

impl Ended<'_> {
    /// The attempt, what it waited for, and the whole run when it is over.
    pub fn spans(&self) -> Vec<Span> {
        let (run, place) = (self.run, Place::new(self.run));
        let mut spans = Vec::new();
        match run.state {
            State::Running { started_at, .. } => {
                if run.attempt == 1 {
                    spans.push(self.span(place.span("wait", 0), "wait", run.created_at, started_at));
                }
                spans.push(self.attempt(started_at));
            }
            // It ends where it waits.
            _ if run.attempt == 0 => spans.push(self.span(place.span("wait", 0), "wait", run.created_at, self.at)),
            _ => {}
        }
        match self.decision {
            Decision::Again { due_at, .. } if *due_at > self.at => {
                spans.push(self.span(place.span("backoff", 0), "backoff", self.at, *due_at));
            }
            Decision::Again { .. } | Decision::Outside => {}
            Decision::End(_) => {
                let due_at = self.trigger.due_at;
                spans.extend(due_at.map(|due_at| self.span(place.span("trigger", 0), "trigger", due_at, run.created_at)));
                spans.push(self.whole());
            }
        }
        spans
    }

    /// A child of the run.
    fn span(&self, id: u64, name: &str, start: Timestamp, end: Timestamp) -> Span {
        let place = Place::new(self.run);
        Span {
            trace: place.trace(),
            id,
            parent: place.root(),
            name: name.to_owned(),
            is_client: false,
            start,
            end,
            attributes: Vec::new(),
            error: None,
        }
    }

    fn error(&self) -> Option<String> {
        let well = matches!(self.outcome, "succeeded" | "snoozed" | "cancelled" | "drained");
        (!well).then(|| format!("{}: {}", self.outcome, self.message))
    }

    fn attempt(&self, started_at: Timestamp) -> Span {
        let Asks { state, items, artifacts, secrets } = self.asks;
        let mut attributes = vec![
            ("windlass.attempt", self.run.attempt.to_string()),
            ("windlass.node", self.node.to_string()),
            ("windlass.outcome", self.outcome.to_owned()),
        ];
        let asked = [
            ("windlass.calls.state", state),
            ("windlass.calls.items", items),
            ("windlass.calls.artifacts", artifacts),
            ("windlass.calls.secrets", secrets),
        ];
        attributes.extend(asked.into_iter().filter(|(_, n)| *n > 0).map(|(key, n)| (key, n.to_string())));
        let span = self.span(Place::new(self.run).attempt(), "attempt", started_at, self.at);
        Span { attributes, error: self.error(), ..span }
    }

    /// The run, from when it was due.
    fn whole(&self) -> Span {
        let (run, trigger) = (self.run, &self.trigger);
        let mut attributes = vec![
            ("windlass.tenant", self.tenant.to_owned()),
            ("windlass.job", self.job.to_owned()),
            ("windlass.run", run.id.to_string()),
            ("windlass.trigger", run.cause.word().to_owned()),
            ("windlass.attempts", run.attempt.to_string()),
            ("windlass.outcome", self.outcome.to_owned()),
        ];
        attributes.extend(trigger.name.clone().map(|name| ("windlass.trigger.name", name)));
        attributes.extend(trigger.due_at.map(|due_at| ("windlass.trigger.due_at", due_at.rfc3339())));
        let start = trigger.due_at.map_or(run.created_at, |due_at| due_at.min(run.created_at));
        Span { parent: 0, attributes, error: self.error(), ..self.span(Place::new(run).root(), "run", start, self.at) }
    }
}

fn hash(run: Id, what: &str, attempt: u32, number: u64) -> [u8; 16] {
    let mut hash = Sha256::new_with_prefix(b"windlass trace");
    hash.update(run.0.to_be_bytes());
    hash.update(what);
    hash.update(attempt.to_be_bytes());
    hash.update(number.to_be_bytes());
    let mut first = [0; 16];
    first.copy_from_slice(&hash.finalize()[..16]);
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attempt_of_a_run_is_of_one_trace_and_each_span_is_itself() {
        let place = |run, attempt| Place { run: Id(run), attempt };
        assert_eq!(place(7, 1).trace(), place(7, 2).trace());
        assert_eq!(place(7, 1).root(), place(7, 2).root());
        assert_ne!(place(7, 1).trace(), place(8, 1).trace());
        assert_ne!(place(7, 1).attempt(), place(7, 2).attempt());
        assert_ne!(place(7, 1).span("call", 0), place(7, 1).span("call", 1));
        let header = place(7, 1).traceparent(0);
        assert!(header.len() == 55 && header.starts_with("00-") && header.ends_with("-01"), "{header}");
    }
}
