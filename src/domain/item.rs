//! Named pieces of work inside a run: each is recorded once, and the run ends by what became of them. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::attempt::Counts;
use super::health::words;
use crate::clock::Timestamp;
use crate::id::Id;

mod verdict;

pub use verdict::{Closing, Names, Verdict, judge, unless_left_open};

/// Bytes of an item's name.
pub const NAME_LIMIT: usize = 200;
/// Bytes of an item's input, and of its output.
pub const BODY_LIMIT: usize = 16 * 1024;
/// Characters of what an item says of its end.
pub const MESSAGE_LIMIT: usize = 1_024;
/// For so long a worker outside has an item, unless it asks for more.
pub const DELIVERY: Duration = Duration::from_secs(30);
/// A worker outside that was not heard of for so long is not there.
pub const AWAY: Duration = Duration::from_secs(60);
/// Names that a message shows; the log has all.
pub const SHOWN: usize = 10;

/// The numbers stand in the database; below 2 an item is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ItemState {
    Pending = 0,
    Running = 1,
    Done = 2,
    Failed = 3,
    Skipped = 4,
}

impl ItemState {
    pub const ALL: [Self; 5] = [Self::Pending, Self::Running, Self::Done, Self::Failed, Self::Skipped];

    pub fn code(self) -> i64 {
        self as i64
    }

    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }

    pub fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Running)
    }
}

/// Which items of a run are worked on when it is run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Items {
    /// What is not done; what is done stays done.
    Open,
    All,
}

/// An item as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub run: Id,
    pub name: String,
    /// From 0, in the order they were declared.
    pub position: u64,
    pub state: ItemState,
    /// JSON.
    pub input: Option<String>,
    pub message: Option<String>,
    /// JSON.
    pub output: Option<String>,
    /// The run's attempt that last took it; 0 before.
    pub attempt: u32,
    /// How often it was handed out.
    pub deliveries: u32,
    /// The worker outside that has it, or had it last.
    pub worker: Option<String>,
    /// Until when that worker has it.
    pub leased_until: Option<Timestamp>,
    /// Grows with every change: who writes says what it read.
    pub fence: i64,
    pub ended_at: Option<Timestamp>,
}

/// An item to add, or to work on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewItem {
    pub name: String,
    /// JSON; empty for none.
    pub input: String,
}

/// What became of an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    pub name: String,
    /// Not an open one.
    pub state: ItemState,
    pub message: String,
    /// JSON.
    pub output: Option<String>,
}

/// What a running guest asks of its run's items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    Declare(Vec<NewItem>),
    /// At most so many.
    Next(u32),
    Finish(Vec<Ending>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Items that are open now, or that have ended by this call.
    Count(u64),
    Items(Vec<NewItem>),
}

/// Why it was not done; nothing of the call was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// `not-declared`, `limit`, `order`, `late` or `invalid`.
    pub code: &'static str,
    pub message: String,
}

impl Refused {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

pub type Told = Result<Answer, Refused>;

impl NewItem {
    /// # Errors
    /// What is wrong with it, for who declared it.
    pub fn check(&self) -> Result<(), String> {
        check_name(&self.name)?;
        check_json(&self.name, "input", Some(self.input.as_str()).filter(|input| !input.is_empty()))
    }
}

impl Ending {
    /// # Errors
    /// What is wrong with it, for who reported it.
    pub fn check(&self) -> Result<(), String> {
        check_name(&self.name)?;
        check_json(&self.name, "output", self.output.as_deref())
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if name.trim().is_empty() || name.len() > NAME_LIMIT || name.chars().any(char::is_control) {
        let shown: String = name.chars().take(40).collect();
        return Err(format!("{shown:?} is no name of an item: write 1 to {NAME_LIMIT} bytes without control characters"));
    }
    Ok(())
}

fn check_json(name: &str, what: &str, text: Option<&str>) -> Result<(), String> {
    let Some(text) = text else { return Ok(()) };
    if text.len() > BODY_LIMIT {
        return Err(format!(
            "the {what} of {name:?} has {} bytes, the limit is {BODY_LIMIT}: keep it elsewhere and put its place here",
            text.len()
        ));
    }
    let read = serde_json::from_str::<serde::de::IgnoredAny>(text);
    read.map(drop).map_err(|wrong| format!("the {what} of {name:?} is no JSON: {wrong}"))
}

/// How many items of a run are in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ItemCounts {
    pub pending: u64,
    pub running: u64,
    pub done: u64,
    pub failed: u64,
    pub skipped: u64,
}

impl ItemCounts {
    pub fn of(&self, state: ItemState) -> u64 {
        match state {
            ItemState::Pending => self.pending,
            ItemState::Running => self.running,
            ItemState::Done => self.done,
            ItemState::Failed => self.failed,
            ItemState::Skipped => self.skipped,
        }
    }

    pub fn add(&mut self, state: ItemState, n: u64) {
        match state {
            ItemState::Pending => self.pending += n,
            ItemState::Running => self.running += n,
            ItemState::Done => self.done += n,
            ItemState::Failed => self.failed += n,
            ItemState::Skipped => self.skipped += n,
        }
    }

    pub fn total(&self) -> u64 {
        self.open() + self.done + self.failed + self.skipped
    }

    pub fn open(&self) -> u64 {
        self.pending + self.running
    }

    /// What a run that has items says of its pieces. Of what is left at the target items know nothing.
    pub fn counts(&self) -> Counts {
        Counts { taken: self.total(), done: self.done, failed: self.failed, left: None }
    }

    fn closed(self, state: ItemState) -> Self {
        let mut counts = Self { pending: 0, running: 0, ..self };
        counts.add(state, self.open());
        counts
    }

    /// Of all items, the share that failed; 0 when there are none.
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
    fn share_failed(&self) -> f64 {
        if self.total() == 0 { 0.0 } else { self.failed as f64 / self.total() as f64 }
    }

    /// "20 items: 17 done, 3 failed"
    pub fn words(&self) -> String {
        let each = ItemState::ALL.into_iter().filter(|state| self.of(*state) > 0);
        let each: Vec<_> = each.map(|state| format!("{} {}", self.of(state), state.word())).collect();
        format!("{}: {}", of_items(self.total()), each.join(", "))
    }
}

/// Why a run gets no more items.
pub fn too_many(items: u64, most: u64) -> String {
    format!(
        "{items} items; a run has at most {most}: make an item of several pieces, or raise it: grant.limits = {{ items = … }}"
    )
}

fn of_items(n: u64) -> String {
    if n == 1 { "1 item".into() } else { format!("{n} items") }
}

/// The first ten names, in order, and how many more.
pub fn listed(names: &[String]) -> String {
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} … and {more} more"),
    }
}

/// A program outside that takes items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    pub name: String,
    pub seen_at: Timestamp,
}

/// "2 of 3 workers online"; when none is, since when. `workers`: the last one heard of first.
pub fn presence(workers: &[Worker], now: Timestamp) -> String {
    let online = workers.iter().filter(|worker| now.since(worker.seen_at) < AWAY).count();
    match (online, workers.first()) {
        (_, None) => "waiting: no worker has come yet".into(),
        (0, Some(last)) => {
            format!("waiting: 0 of {} workers online; last seen {} ago", workers.len(), words(now.since(last.seen_at)))
        }
        (online, Some(_)) => format!("{online} of {} workers online", workers.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_bodies_are_checked() {
        let item = |name: &str, input: &str| NewItem { name: name.into(), input: input.into() }.check();
        assert!(item("step 9", "{\"a\":1}").is_ok() && item("x", "").is_ok());
        for (name, input, says) in [("", "1", "no name"), ("a\nb", "1", "no name"), ("a", "{", "is no JSON")] {
            let wrong = item(name, input).unwrap_err();
            assert!(wrong.contains(says), "{wrong}");
        }
        assert!(item("a", &"1".repeat(BODY_LIMIT + 1)).unwrap_err().contains("the limit is 16384"));
    }
}
