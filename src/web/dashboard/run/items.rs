//! The items of a run, on its page: how many are where, a page of them, and which of them a re-run would take.

use std::fmt;
use std::time::Duration;

use askama::filters::HtmlSafe;

use super::log::After;
use crate::clock::Timestamp;
use crate::domain::health::words as in_words;
use crate::domain::item::{Item, ItemCounts, ItemState, presence};
use crate::domain::job::Order;
use crate::domain::run::{Run, State};
use crate::error::Result;
use crate::store::Tx;
use crate::store::item_list::ItemQuery;
use crate::store::job::Revision;
use crate::store::record::OUTSIDE_NODE;
use crate::web::address::Address;
use crate::web::show::number::commas;
use crate::web::show::pill::Pill;

/// Items on a page.
const PAGE: u32 = 50;
/// With more, the bar has a part a state instead of one an item.
const EACH: u64 = 60;
/// The rate is over so long.
const WINDOW: Duration = Duration::from_secs(600);

pub struct ItemsPart {
    pub here: String,
    pub counts: ItemCounts,
    pub notes: Vec<String>,
    pub bar: Bar,
    pub tabs: Vec<Tab>,
    pub rows: Vec<Item>,
    /// How many the tab has.
    pub of: u64,
    pub first: String,
    pub next: Option<String>,
    strict: bool,
    red: bool,
    paged: bool,
}

pub struct Tab {
    pub href: String,
    pub label: &'static str,
    pub count: u64,
    pub class: &'static str,
    pub here: bool,
}

impl ItemsPart {
    /// `settled`: the run is dead and needs nobody any more.
    pub async fn read(
        tx: &mut Tx,
        run: &Run,
        asked: &After,
        revision: Option<&Revision>,
        settled: bool,
        tenant: &str,
        now: Timestamp,
    ) -> Result<Self> {
        let counts = tx.item_counts(&[(run.tenant, run.id)]).await?.remove(&run.id).unwrap_or_default();
        let state = asked.items.as_deref().and_then(ItemState::parse);
        let strict = revision.is_some_and(|revision| revision.spec.items.order == Order::Strict);
        let red = matches!(run.state, State::Dead { .. }) && !settled;
        let of = state.map_or(counts.total(), |state| counts.of(state));
        let path = format!("/t/{tenant}/runs/{}", run.id);
        let address = |state: Option<ItemState>, after: Option<u64>| {
            let after = after.map(|after| after.to_string());
            Address::new(&path).some("items", state.map(ItemState::word)).some("item", after.as_deref()).to_string()
        };
        let (mut rows, mut notes, mut each) = (Vec::new(), Vec::new(), Vec::new());
        if counts.total() > 0 {
            rows = tx.items_of(run.tenant, run.id, ItemQuery { state, after: asked.item, limit: PAGE + 1 }).await?;
            notes = notes_of(tx, run, &counts, revision, now).await?;
            if counts.total() <= EACH {
                let all = ItemQuery { limit: u32::MAX, ..ItemQuery::default() };
                each = tx.items_of(run.tenant, run.id, all).await?.iter().map(|item| item.state).collect();
            }
        }
        let more = rows.len() > PAGE as usize;
        rows.truncate(PAGE as usize);
        let next = rows.last().filter(|_| more).map(|last| address(state, Some(last.position)));
        let tab = |of: Option<ItemState>, label, count| {
            let class = match of {
                Some(ItemState::Failed) if red => "red",
                Some(ItemState::Failed) => "amber",
                _ => "",
            };
            Tab { href: address(of, None) + "#items", label, count, class, here: of == state }
        };
        let of_state = |state: ItemState| (counts.of(state) > 0).then(|| tab(Some(state), label(state), counts.of(state)));
        let tabs =
            std::iter::once(tab(None, "All", counts.total())).chain(ItemState::ALL.into_iter().filter_map(of_state)).collect();
        let (here, first) = (address(state, asked.item), address(state, None));
        let paged = more || asked.item.is_some();
        Ok(Self { here, counts, notes, bar: Bar { counts, each, red }, tabs, rows, of, first, next, strict, red, paged })
    }

    pub fn is_empty(&self) -> bool {
        self.counts.total() == 0
    }

    pub fn is_paged(&self) -> bool {
        self.paged
    }

    pub fn pill(&self, item: &Item) -> Pill {
        Pill::item(item.state, self.red)
    }

    /// What it says, and who has it.
    pub fn message(&self, item: &Item) -> String {
        match (&item.message, &item.worker) {
            (Some(message), Some(worker)) => format!("{message} ({worker})"),
            (Some(message), None) => message.clone(),
            (None, Some(worker)) if item.state == ItemState::Pending => format!("last with {worker}"),
            (None, Some(worker)) => worker.clone(),
            (None, None) => String::new(),
        }
    }

    /// The button that runs what is not done; `None` where that is nothing, or all.
    pub fn rest_label(&self) -> Option<String> {
        let rest = self.counts.total() - self.counts.done;
        if rest == 0 || self.counts.done == 0 {
            return None;
        }
        Some(if self.strict {
            format!("Re-run from step {}", self.counts.done + 1)
        } else {
            format!("Re-run {} not done", commas(rest))
        })
    }
}

fn label(state: ItemState) -> &'static str {
    match state {
        ItemState::Pending => "Pending",
        ItemState::Running => "Running",
        ItemState::Done => "Done",
        ItemState::Failed => "Failed",
        ItemState::Skipped => "Skipped",
    }
}

/// Beside the heading: in which order, how fast, and whether anybody is there.
async fn notes_of(
    tx: &mut Tx,
    run: &Run,
    counts: &ItemCounts,
    revision: Option<&Revision>,
    now: Timestamp,
) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let spec = revision.map(|revision| &revision.spec.items);
    if spec.is_some_and(|spec| spec.order == Order::Strict) {
        notes.push("in this order; a failure skips what follows".to_owned());
    }
    let State::Running { node, started_at, .. } = run.state else { return Ok(notes) };
    if node == OUTSIDE_NODE && spec.is_some_and(|spec| spec.outside) {
        notes.push(presence(&tx.item_workers(run.tenant, run.job).await?, now));
    }
    let since = started_at.max(now.minus(WINDOW));
    let ended = tx.items_ended(run.tenant, run.id, since).await?;
    notes.extend(pace(ended, counts.open(), now.since(since)));
    Ok(notes)
}

/// "12.0 a minute, about 5 min left"
#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
fn pace(ended: u64, open: u64, within: Duration) -> Option<String> {
    if ended == 0 || within.is_zero() {
        return None;
    }
    let rate = ended as f64 / within.as_secs_f64();
    let left = Duration::try_from_secs_f64(open as f64 / rate).ok().filter(|_| open > 0);
    let left =
        left.map(|left| format!(", about {} left", in_words(Duration::from_secs(left.as_secs().max(1))))).unwrap_or_default();
    Some(format!("{:.1} a minute{left}", rate * 60.0))
}

/// How many are where, at a glance.
pub struct Bar {
    counts: ItemCounts,
    /// Item by item; empty when there are too many.
    each: Vec<ItemState>,
    red: bool,
}

impl fmt::Display for Bar {
    #[expect(clippy::cast_precision_loss, reason = "a width on a screen")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.counts.words();
        write!(f, "<svg class=\"seg\" viewBox=\"0 0 1000 8\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{words}\">")?;
        let order = [ItemState::Done, ItemState::Running, ItemState::Failed, ItemState::Pending, ItemState::Skipped];
        let parts: Vec<(ItemState, u64)> = match self.each.as_slice() {
            [] => order.map(|state| (state, self.counts.of(state))).into_iter().filter(|(_, n)| *n > 0).collect(),
            each => each.iter().map(|state| (*state, 1)).collect(),
        };
        let (gap, sum) = (if parts.len() > 1 { 2.0 } else { 0.0 }, parts.iter().map(|(_, n)| n).sum::<u64>().max(1));
        let mut x = 0.0;
        for (state, n) in parts {
            let wide = 1000.0 * n as f64 / sum as f64;
            write!(
                f,
                "<rect class=\"{}\" x=\"{x:.1}\" width=\"{:.1}\" height=\"8\"/>",
                self.class(state),
                (wide - gap).max(1.0)
            )?;
            x += wide;
        }
        f.write_str("</svg>")
    }
}

impl Bar {
    fn class(&self, state: ItemState) -> &'static str {
        match state {
            ItemState::Pending => "f-none",
            ItemState::Running => "f-run",
            ItemState::Done => "f-done",
            ItemState::Failed if self.red => "f-dead",
            ItemState::Failed => "f-retry",
            ItemState::Skipped => "f-skip",
        }
    }
}

impl HtmlSafe for Bar {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_items_are_a_part_each_and_many_a_part_a_state() {
        let counts = ItemCounts { done: 2, failed: 1, ..ItemCounts::default() };
        let each = vec![ItemState::Done, ItemState::Failed, ItemState::Done];
        let few = Bar { counts, each, red: true }.to_string();
        assert_eq!((few.matches("<rect").count(), few.matches("f-dead").count()), (3, 1), "{few}");
        let many = Bar { counts, each: Vec::new(), red: false }.to_string();
        assert_eq!((many.matches("<rect").count(), many.matches("f-retry").count()), (2, 1), "{many}");
        assert!(many.contains("aria-label=\"3 items: 2 done, 1 failed\""), "{many}");
    }

    #[test]
    fn the_pace_tells_how_long_it_will_take() {
        let minute = Duration::from_secs(60);
        assert_eq!(pace(12, 60, minute).as_deref(), Some("12.0 a minute, about 5 min left"));
        assert_eq!(pace(12, 0, minute).as_deref(), Some("12.0 a minute"));
        assert_eq!(pace(0, 60, minute), None);
    }
}
