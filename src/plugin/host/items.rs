//! The run's items: checked here, handed to the runner, which asks the store.

use std::sync::atomic::Ordering::Relaxed;

use super::port;
use crate::domain::item::{Answer, Ask, Ending, ItemState, MESSAGE_LIMIT, NewItem, too_many};
use crate::plugin::bindings::windlass::plugin::items::{Ending as GuestEnding, Host, Item, Refusal, Status};
use crate::plugin::instance::{Context, Guest};
use crate::plugin::outcome::cut;

impl Guest {
    /// Not an `async fn`: its future must not hold the store, which is not shared between threads.
    fn ask_items(&self, ask: Result<Ask, Refusal>) -> impl Future<Output = Result<Answer, Refusal>> + Send + use<> {
        self.context.journal.asked(|asks| asks.items += 1);
        let (tape, port) = (self.context.tape.clone(), self.context.items.clone());
        async move { port::asked(tape, port, ask?).await.map_err(|wrong| refusal(&wrong.code, &wrong.message)) }
    }
}

fn refusal(code: &str, message: &str) -> Refusal {
    Refusal { code: code.to_owned(), message: message.to_owned() }
}

/// What is wrong with one of them is wrong with the call.
fn checked<T>(
    context: &Context,
    list: Vec<T>,
    check: impl Fn(&T) -> Result<(), String>,
    bytes: impl Fn(&T) -> usize,
) -> Result<Vec<T>, Refusal> {
    let limits = &context.limits;
    if list.len() as u64 > limits.items {
        return Err(refusal("limit", &too_many(list.len() as u64, limits.items)));
    }
    list.iter().try_for_each(check).map_err(|wrong| refusal("invalid", &wrong))?;
    let more = list.iter().map(bytes).sum::<usize>() as u64;
    let used = context.item_bytes.fetch_add(more, Relaxed) + more;
    let most = limits.item_bytes.0;
    if used > most {
        let why = format!(
            "{used} bytes in items of this attempt; at most {most}: keep them elsewhere, or raise it: grant.limits = {{ item_bytes = … }}"
        );
        return Err(refusal("limit", &why));
    }
    context.journal.took("item_bytes", used);
    Ok(list)
}

fn ending(ending: GuestEnding) -> Ending {
    let state = match ending.status {
        Status::Done => ItemState::Done,
        Status::Failed => ItemState::Failed,
        Status::Skipped => ItemState::Skipped,
    };
    Ending { name: ending.name, state, message: cut(ending.message, MESSAGE_LIMIT), output: ending.output }
}

/// The runner answered something else than was asked: its mistake, told like a refusal.
fn mixed_up() -> Refusal {
    refusal("unavailable", "the store's answer does not fit the question")
}

impl Host for Guest {
    async fn declare(&mut self, items: Vec<Item>) -> Result<u64, Refusal> {
        let items = items.into_iter().map(|item| NewItem { name: item.name, input: item.input }).collect();
        let items = checked(&self.context, items, NewItem::check, |item| item.name.len() + item.input.len());
        match self.ask_items(items.map(Ask::Declare)).await? {
            Answer::Count(open) => Ok(open),
            Answer::Items(_) => Err(mixed_up()),
        }
    }

    async fn next(&mut self, max: u32) -> Result<Vec<Item>, Refusal> {
        match self.ask_items(Ok(Ask::Next(max))).await? {
            Answer::Items(items) => Ok(items.into_iter().map(|item| Item { name: item.name, input: item.input }).collect()),
            Answer::Count(_) => Err(mixed_up()),
        }
    }

    async fn finish(&mut self, endings: Vec<GuestEnding>) -> Result<u64, Refusal> {
        let endings = endings.into_iter().map(ending).collect();
        let size = |ending: &Ending| ending.name.len() + ending.output.as_ref().map_or(0, String::len);
        let endings = checked(&self.context, endings, Ending::check, size);
        let answered = self.ask_items(endings.map(Ask::Finish)).await?;
        let Answer::Count(ended) = answered else { return Err(mixed_up()) };
        if ended > 0 {
            // An item that has ended is progress, whatever else is reported.
            self.context.journal.sign_of_life();
        }
        Ok(ended)
    }
}
