//! Named pieces of work inside a run: each is recorded once, and the run ends by what became of them. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::attempt::{Class, Counts, Outcome};
use super::health::words;
use super::job::ItemsSpec;
use super::retry::Decision;
use super::run::{Final, Reason};
use crate::clock::Timestamp;
use crate::id::Id;

/// Items of one run.
pub const ITEMS_LIMIT: u64 = 10_000;
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewItem {
    pub name: String,
    /// JSON; empty for none.
    pub input: String,
}

/// What became of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    pub name: String,
    /// Not an open one.
    pub state: ItemState,
    pub message: String,
    /// JSON.
    pub output: Option<String>,
}

/// What a running guest asks of its run's items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    Declare(Vec<NewItem>),
    /// At most so many.
    Next(u32),
    Finish(Vec<Ending>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
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

    /// What a run that has items says of its pieces.
    pub fn counts(&self) -> Counts {
        Counts { taken: self.total(), done: self.done, failed: self.failed, left: Some(self.open()) }
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

/// What the items that are still open come to, when their run is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    pub state: ItemState,
    pub message: String,
}

/// How a run with items goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub decision: Decision,
    /// Set when items are open that have no further chance.
    pub closing: Option<Closing>,
    /// As they are when it is so.
    pub counts: ItemCounts,
}

/// A guest that ended well but left items open has not done its work: it gets another attempt at them.
pub fn unless_left_open(outcome: Outcome, counts: &ItemCounts, spec: &ItemsSpec) -> Outcome {
    match outcome {
        Outcome::Succeeded { .. } if counts.open() > 0 && !spec.outside => Outcome::failed(
            Class::Transient,
            format!("it ended with {} of {} still open", counts.open(), of_items(counts.total())),
        ),
        outcome => outcome,
    }
}

/// What the attempt's decision means for a run with items. `why` says what happened to it last.
pub fn judge(decision: Decision, counts: ItemCounts, spec: &ItemsSpec, why: &str) -> Verdict {
    let same = |decision| Verdict { decision, closing: None, counts };
    let Decision::End(end) = decision else { return same(decision) };
    if counts.total() == 0 {
        return same(decision);
    }
    let close = |state, message: String| (counts.open() > 0).then_some(Closing { state, message });
    match end {
        Final::Succeeded if counts.open() > 0 && spec.outside => same(Decision::Outside),
        Final::Succeeded => same(by_counts(&counts, spec)),
        Final::Cancelled => {
            Verdict { decision, closing: close(ItemState::Skipped, why.to_owned()), counts: counts.closed(ItemState::Skipped) }
        }
        Final::Dead(reason) => {
            let closed = counts.closed(ItemState::Failed);
            let gave_up = matches!(reason, Reason::AttemptsSpent | Reason::TotalLimit | Reason::LostTooOften);
            // With nothing open it is not the items that the run died of.
            let decision = if gave_up && counts.open() > 0 { by_counts(&closed, spec) } else { decision };
            Verdict { decision, closing: close(ItemState::Failed, format!("lost: {why}")), counts: closed }
        }
    }
}

fn by_counts(counts: &ItemCounts, spec: &ItemsSpec) -> Decision {
    let failed = counts.share_failed() > spec.threshold();
    Decision::End(if failed { Final::Dead(Reason::ItemsFailed) } else { Final::Succeeded })
}

/// Names of what a run's end has to tell, in the order of the items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    pub failed: Vec<String>,
    /// Open when the run ended.
    pub lost: Vec<String>,
}

impl Verdict {
    /// The run's message: what the attempt said, and which items it concerns. `None`: what was said is enough.
    pub fn message(&self, said: &str, names: &Names) -> Option<String> {
        let Decision::End(end) = self.decision else { return None };
        let total = of_items(self.counts.total());
        let lost = match (&self.closing, names.lost.len()) {
            (Some(Closing { state: ItemState::Failed, .. }), n @ 1..) => format!("lost {n} of {total}: {}", listed(&names.lost)),
            _ => String::new(),
        };
        let failed = match names.failed.len() {
            0 => String::new(),
            n => format!("{n} of {total} failed: {}", listed(&names.failed)),
        };
        let told: Vec<&str> = [failed.as_str(), lost.as_str()].into_iter().filter(|text| !text.is_empty()).collect();
        match end {
            _ if told.is_empty() => None,
            Final::Succeeded if lost.is_empty() => None,
            Final::Dead(Reason::ItemsFailed) | Final::Succeeded => Some(told.join("; ")),
            Final::Dead(_) => Some(format!("{said}; {}", told.join("; "))),
            Final::Cancelled => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(done: u64, failed: u64, pending: u64) -> ItemCounts {
        ItemCounts { pending, done, failed, ..ItemCounts::default() }
    }

    fn end(reason: Option<Reason>) -> Decision {
        Decision::End(reason.map_or(Final::Succeeded, Final::Dead))
    }

    #[test]
    fn a2_half_failed_is_success_and_more_is_not() {
        let spec = ItemsSpec::default();
        let spent = |counts| judge(end(Some(Reason::AttemptsSpent)), counts, &spec, "timed out").decision;
        assert_eq!(spent(counts(17, 0, 3)), end(None));
        assert_eq!(spent(counts(10, 10, 0)), end(Some(Reason::AttemptsSpent)), "nothing was open: it died of something else");
        assert_eq!(spent(counts(10, 9, 1)), end(None), "half is not more than half");
        assert_eq!(spent(counts(9, 9, 2)), end(Some(Reason::ItemsFailed)));
        assert_eq!(judge(end(None), counts(9, 11, 0), &spec, "").decision, end(Some(Reason::ItemsFailed)));
        assert_eq!(judge(end(None), counts(10, 10, 0), &spec, "").decision, end(None));
    }

    #[test]
    fn a3_failed_and_lost_are_counted_once() {
        let verdict = judge(end(Some(Reason::AttemptsSpent)), counts(15, 3, 2), &ItemsSpec::default(), "timed out");
        assert_eq!((verdict.counts.failed, verdict.counts.open(), verdict.counts.total()), (5, 0, 20));
        let (failed, lost) = (vec!["a".into(), "b".into(), "c".into()], vec!["d".into(), "e".into()]);
        let message = verdict.message("timed out", &Names { failed, lost }).unwrap();
        assert_eq!(message, "3 of 20 items failed: a, b, c; lost 2 of 20 items: d, e");
    }

    #[test]
    fn a6_ten_names_and_how_many_more() {
        let names: Vec<String> = (2868..2884).map(|id| id.to_string()).collect();
        let said = listed(&names);
        assert!(said.starts_with("2868, 2869") && said.ends_with("2877 … and 6 more") && !said.contains("2883"), "{said}");
        assert_eq!(listed(&names[..2]), "2868, 2869");
    }

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
