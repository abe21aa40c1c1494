//! A state is a shape and a word. The word is the class; the stylesheet has the shape.

use std::fmt;

use askama::filters::HtmlSafe;

use crate::domain::alert::AlertKind;
use crate::domain::health::Health;
use crate::domain::item::ItemState;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pill {
    class: &'static str,
    word: &'static str,
}

impl Pill {
    pub fn word(&self) -> &'static str {
        self.word
    }

    /// Of a run: what [`crate::domain::run::Run::page_state`] says.
    pub fn run(state: &'static str) -> Self {
        Self { class: state, word: if state == "snoozed" { "deferred" } else { state } }
    }

    pub fn health(health: Health) -> Self {
        Self { class: health.word(), word: health.word() }
    }

    /// Red for what needs a person; amber for what Windlass is at still.
    pub fn alert(kind: AlertKind) -> Self {
        let class = match kind {
            AlertKind::Late => "late",
            AlertKind::Node => "dead",
            other => other.word(),
        };
        Self { class, word: kind.word() }
    }

    /// Of a sink: whether it took the last message, or whether that was given up.
    pub fn sink(fails: bool, given_up: bool) -> Self {
        match (fails, given_up) {
            (false, _) => Self { class: "ok", word: "taken" },
            (true, false) => Self { class: "retrying", word: "retrying" },
            (true, true) => Self { class: "dead", word: "given up" },
        }
    }

    pub fn node(state: &'static str) -> Self {
        Self {
            class: if state == "up" {
                "ok"
            } else if state == "dead" {
                "dead"
            } else {
                "paused"
            },
            word: state,
        }
    }

    /// Whether a node takes a job that others take.
    pub fn takes(yes: bool) -> Self {
        if yes { Self { class: "ok", word: "yes" } } else { Self { class: "failing", word: "stopped" } }
    }

    /// Of an attempt: amber while there will be another, red when it was the last of a dead run.
    pub fn attempt(outcome: &str, last_word: bool) -> Self {
        let failed = if last_word { "failed final" } else { "failed" };
        let (class, word) = match outcome {
            "running" => ("running", "running"),
            "succeeded" => ("succeeded", "succeeded"),
            "snoozed" => ("snoozed", "deferred"),
            "cancelled" => ("cancelled", "cancelled"),
            "drained" => ("paused", "handed back"),
            "timed_out" => (failed, "timed out"),
            "out_of_memory" => (failed, "out of memory"),
            "lost" => (failed, "node lost"),
            "transient" => (failed, "transient"),
            "permanent" => (failed, "permanent"),
            "trapped" => (failed, "trapped"),
            "undecodable" => (failed, "undecodable"),
            "too_late" => (failed, "too late"),
            _ => (failed, "failed"),
        };
        Self { class, word }
    }

    /// Of an item; red when its run is dead of it and nobody has seen to that.
    pub fn item(state: ItemState, red: bool) -> Self {
        let class = match state {
            ItemState::Pending => "waiting",
            ItemState::Running => "running",
            ItemState::Done => "succeeded",
            ItemState::Failed if red => "failed final",
            ItemState::Failed => "failed",
            ItemState::Skipped => "skipped",
        };
        Self { class, word: state.word() }
    }

    pub fn dead() -> Self {
        Self::run("dead")
    }

    /// Of a dead run that was run again, or discarded: it needs nobody any more, so it is not red.
    pub fn settled() -> Self {
        Self { class: "skipped", word: "dead, settled" }
    }

    pub fn operation(state: &str) -> Self {
        match state {
            "running" => Self { class: "running", word: "running" },
            "cancelled" => Self { class: "cancelled", word: "stopped" },
            _ => Self { class: "done", word: "done" },
        }
    }

    pub fn occurrence(result: &str) -> Self {
        let (class, word) = match result {
            "ran" => ("ran", "ran"),
            "late" => ("late", "late"),
            "backfilled" => ("ran", "backfilled"),
            "queued" => ("waiting", "queued"),
            "merged" => ("skipped", "merged"),
            "skipped" => ("skipped", "skipped"),
            "missed" => ("missed", "missed"),
            "suppressed" => ("suppressed", "suppressed"),
            _ => ("skipped", "other"),
        };
        Self { class, word }
    }
}

impl fmt::Display for Pill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<span class=\"pill {}\">{}</span>", self.class, self.word)
    }
}

impl HtmlSafe for Pill {}
