//! Answers from a recording. What acts on something has to come in its order and be the same; the first that is not ends the
//! replay, for nobody knows what the world would have answered. Readings of the time come each from its own row.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

use super::data::Data;
use super::entry::{Entry, Exchange, Refused, Talk, shown};
use super::recording::Recording;
use crate::domain::span::Size;
use crate::plugin::Stop;

/// Where the recorded guest waited until it was stopped, this one is stopped too, once what it has beside that is done.
const LAST_WAIT: Duration = Duration::from_millis(500);

/// Where a replay left its recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Divergence {
    /// The how-manieth act of the guest, from 1: HTTP, state, items, signatures.
    pub call: usize,
    pub recorded: String,
    pub now: String,
}

pub struct Player {
    pub recording: Recording,
    stop: Arc<Stop>,
    played: Mutex<Played>,
    /// Answers of HTTP that were given.
    answered: watch::Sender<usize>,
    waited: AtomicBool,
}

/// What is still to come, row by row.
struct Played {
    /// Places of acts.
    acts: VecDeque<usize>,
    /// How many of them were.
    done: usize,
    wall: Row<u64>,
    monotonic: Row<u64>,
    stops: Row<bool>,
    remaining: Row<u64>,
    polls: Row<Vec<u32>>,
    divergence: Option<Divergence>,
}

/// Readings of one kind; past its end the last one stands.
struct Row<T>(VecDeque<T>, T);

impl<T: Clone + Default> Row<T> {
    fn of(entries: &[Entry], pick: impl Fn(&Entry) -> Option<T>) -> Self {
        Self(entries.iter().filter_map(pick).collect(), T::default())
    }

    /// The next one; `None` past the end.
    fn next(&mut self) -> Option<T> {
        self.1 = self.0.pop_front()?;
        Some(self.1.clone())
    }
}

impl Player {
    pub fn new(recording: Recording, stop: Arc<Stop>) -> Self {
        let entries = &recording.entries;
        let number = |is: fn(&Entry) -> Option<u64>| Row::of(entries, is);
        let played = Played {
            acts: (0..entries.len()).filter(|place| entries[*place].is_act()).collect(),
            done: 0,
            wall: number(|entry| if let Entry::WallClock { ns } = entry { Some(*ns) } else { None }),
            monotonic: number(|entry| if let Entry::MonotonicClock { ns } = entry { Some(*ns) } else { None }),
            stops: Row::of(entries, |entry| if let Entry::ShouldStop { answer } = entry { Some(*answer) } else { None }),
            remaining: number(|entry| if let Entry::RemainingMs { answer } = entry { Some(*answer) } else { None }),
            polls: Row::of(entries, |entry| if let Entry::Poll { ready } = entry { Some(ready.clone()) } else { None }),
            divergence: None,
        };
        Self { recording, stop, played: Mutex::new(played), answered: watch::Sender::new(0), waited: AtomicBool::new(false) }
    }

    /// The first that was noted; else, after the guest's end, what the recording has beyond it.
    pub fn divergence(&self) -> Option<Divergence> {
        let played = self.lock();
        played.divergence.clone().or_else(|| {
            let left = played.acts.front()?;
            let recorded = self.recording.entries[*left].words();
            Some(Divergence { call: played.done + 1, recorded, now: "nothing: it ended".into() })
        })
    }

    pub fn waited_to_the_end(&self) -> bool {
        self.waited.load(Ordering::Acquire)
    }

    pub fn wall(&self) -> u64 {
        self.read("the wall clock", |played| &mut played.wall)
    }

    pub fn monotonic(&self) -> u64 {
        self.read("the monotonic clock", |played| &mut played.monotonic)
    }

    pub fn should_stop(&self) -> bool {
        self.read("control.should-stop", |played| &mut played.stops)
    }

    pub fn remaining_ms(&self) -> u64 {
        self.read("control.remaining-ms", |played| &mut played.remaining)
    }

    /// What was ready first; `None` when there is no more of it: then whatever is ready now.
    pub fn poll(&self) -> Option<Vec<u32>> {
        self.lock().polls.next()
    }

    fn read<T: Clone + Default>(&self, what: &str, row: impl FnOnce(&mut Played) -> &mut Row<T>) -> T {
        let mut played = self.lock();
        let row = row(&mut played);
        if let Some(value) = row.next() {
            return value;
        }
        let last = row.1.clone();
        if self.recording.end.cut {
            self.diverge(&mut played, self.cut_words(), what.to_owned());
        }
        last
    }

    pub fn called(&self, now: &Entry) -> Result<Data, Refused> {
        match self.act(now).map(|(_, entry)| entry) {
            Some(Entry::Called { answer, .. }) => answer.clone(),
            _ => Err(Refused { code: "unavailable".into(), message: "the replay has left its recording".into() }),
        }
    }

    pub async fn asked<A: Talk>(&self, ask: A) -> Result<A::Answer, Refused> {
        let Some((_, entry)) = self.act(&ask.entry(None)) else { return std::future::pending().await };
        match A::of(entry) {
            Some((_, Some(answer))) => answer.clone(),
            _ => self.wait_to_the_end().await,
        }
    }

    /// The place of the request that was recorded, when it is this one; its body is looked at later.
    pub fn request(&self, now: Exchange) -> Option<usize> {
        self.act(&Entry::Http(Box::new(now))).map(|(place, _)| place)
    }

    pub fn exchange(&self, place: usize) -> Option<&Exchange> {
        match self.recording.entries.get(place) {
            Some(Entry::Http(exchange)) => Some(exchange),
            _ => None,
        }
    }

    /// Whether this is what was sent then.
    pub fn is_body(&self, place: usize, body: &[u8]) -> bool {
        let Some(exchange) = self.exchange(place).filter(|exchange| exchange.body.0 != body) else { return true };
        let mut played = self.lock();
        let nth = self.recording.entries[..=place].iter().filter(|entry| entry.is_act()).count();
        let (then, now) = parted(&exchange.body.0, body);
        let words = |body: &[u8]| format!("{} {} with {}", exchange.method, exchange.url, shown(body));
        played.divergence.get_or_insert(Divergence { call: nth, recorded: words(then), now: words(now) });
        self.stop.now.store(true, Ordering::Release);
        false
    }

    /// The place of an answer among all; it is over when this is dropped, also by a guest that does not want it any more.
    pub fn turn(&self, nth: usize) -> Turn<'_> {
        Turn { answered: &self.answered, nth }
    }

    /// The recorded guest got no answer here.
    pub async fn wait_to_the_end<T>(&self) -> T {
        if self.recording.end.cut {
            self.diverge(&mut self.lock(), self.cut_words(), "an answer that is not kept".into());
        } else {
            tokio::time::sleep(LAST_WAIT).await;
            self.waited.store(true, Ordering::Release);
            self.stop.now.store(true, Ordering::Release);
        }
        std::future::pending().await
    }

    /// The act that is next, when it is this one.
    fn act(&self, now: &Entry) -> Option<(usize, &Entry)> {
        let mut played = self.lock();
        if played.divergence.is_some() {
            return None;
        }
        let Some(place) = played.acts.front().copied() else {
            if self.recording.end.outcome.was_stopped() && !self.recording.end.cut {
                // It may have had an answer and no time to go on from there.
                self.waited.store(true, Ordering::Release);
                self.stop.now.store(true, Ordering::Release);
                return None;
            }
            let recorded = if self.recording.end.cut { self.cut_words() } else { "nothing: it ended".into() };
            self.diverge(&mut played, recorded, now.words());
            return None;
        };
        if let Some((recorded, now)) = difference(&self.recording.entries[place], now) {
            self.diverge(&mut played, recorded, now);
            return None;
        }
        played.acts.pop_front();
        played.done += 1;
        Some((place, &self.recording.entries[place]))
    }

    /// The first counts.
    fn diverge(&self, played: &mut Played, recorded: String, now: String) {
        let call = played.done + 1;
        played.divergence.get_or_insert(Divergence { call, recorded, now });
        self.stop.now.store(true, Ordering::Release);
    }

    fn cut_words(&self) -> String {
        format!("nothing: the recording was cut at {}", Size(super::recorder::LIMIT as u64))
    }

    fn lock(&self) -> MutexGuard<'_, Played> {
        self.played.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct Turn<'a> {
    answered: &'a watch::Sender<usize>,
    nth: usize,
}

impl Turn<'_> {
    /// Waits until the answers that came before have been given.
    pub async fn comes(&self) {
        // The sender is the player's own: it does not go away.
        let _ = self.answered.subscribe().wait_for(|given| *given >= self.nth).await;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.answered.send_modify(|given| *given = (*given).max(self.nth + 1));
    }
}

/// In words, then and now; `None` when both ask the same.
fn difference(then: &Entry, now: &Entry) -> Option<(String, String)> {
    let same = match (then, now) {
        (Entry::State { ask: then, .. }, Entry::State { ask: now, .. }) => then == now,
        (Entry::Items { ask: then, .. }, Entry::Items { ask: now, .. }) => then == now,
        (Entry::Called { what, with, .. }, Entry::Called { what: now, with: with_now, .. }) => what == now && with == with_now,
        (Entry::Http(then), Entry::Http(now)) => {
            if (&then.method, &then.url) == (&now.method, &now.url)
                && let Some((then_header, now_header)) = headers(then, now)
            {
                let words = |header: String| format!("{} {} with {header}", then.method, then.url);
                return Some((words(then_header), words(now_header)));
            }
            (&then.method, &then.url) == (&now.method, &now.url)
        }
        _ => false,
    };
    (!same).then(|| (then.words(), now.words()))
}

/// The first header that differs.
fn headers(then: &Exchange, now: &Exchange) -> Option<(String, String)> {
    let most = then.headers.len().max(now.headers.len());
    let at = (0..most).find(|n| then.headers.get(*n) != now.headers.get(*n))?;
    let words = |exchange: &Exchange| {
        exchange.headers.get(at).map_or("no further header".into(), |(name, value)| format!("{name}: {}", shown(&value.0)))
    };
    Some((words(then), words(now)))
}

/// Both from a little before where they part.
fn parted<'a>(then: &'a [u8], now: &'a [u8]) -> (&'a [u8], &'a [u8]) {
    let same = then.iter().zip(now).take_while(|(then, now)| then == now).count();
    let from = if same > 60 { same - 40 } else { 0 };
    (&then[from..], &now[from..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::StateAsk;
    use crate::plugin::tape::recording::tests::header;
    use crate::plugin::tape::recording::{Came, End};

    fn player(entries: Vec<Entry>, cut: bool) -> Player {
        let outcome = Came { outcome: "succeeded".into(), message: String::new(), output: None };
        Player::new(Recording { header: header(), entries, end: End { outcome, cut } }, Arc::default())
    }

    fn get(url: &str) -> Exchange {
        let (method, url) = ("GET".into(), url.into());
        Exchange { method, url, headers: Vec::new(), body: Data::default(), whole: true, answer: None }
    }

    #[test]
    fn the_first_act_that_differs_is_named_and_stops_the_guest() {
        let player = player(vec![Entry::WallClock { ns: 1 }, Entry::Http(Box::new(get("http://a/")))], false);
        assert!(player.request(get("http://a/?x")).is_none());
        let expected = Divergence { call: 1, recorded: "GET http://a/".into(), now: "GET http://a/?x".into() };
        assert_eq!(player.divergence(), Some(expected));
        assert!(player.stop.is_now() && player.request(get("http://a/")).is_none(), "nothing goes on after that");
    }

    #[test]
    fn what_was_not_asked_for_any_more_is_named() {
        let player = player(vec![StateAsk::Get("n".into()).entry(None), Entry::Http(Box::new(get("http://a/")))], false);
        assert!(player.act(&StateAsk::Get("n".into()).entry(None)).is_some());
        let left = player.divergence().unwrap();
        assert_eq!((left.call, left.recorded.as_str(), left.now.as_str()), (2, "GET http://a/", "nothing: it ended"));
    }

    #[test]
    fn readings_have_their_own_order_and_a_cut_recording_ends_there() {
        let whole = player(vec![Entry::MonotonicClock { ns: 1 }, Entry::WallClock { ns: 2 }, Entry::WallClock { ns: 3 }], false);
        assert_eq!((whole.wall(), whole.wall(), whole.monotonic(), whole.wall()), (2, 3, 1, 3));
        assert_eq!(whole.divergence(), None);
        let cut = player(vec![Entry::WallClock { ns: 2 }], true);
        assert_eq!((cut.wall(), cut.wall()), (2, 2));
        assert!(cut.divergence().unwrap().recorded.contains("cut at 2.0 MiB"), "{:?}", cut.divergence());
    }

    #[tokio::test]
    async fn answers_come_in_their_order_and_one_that_is_given_up_holds_nobody() {
        let player = player(Vec::new(), false);
        let (first, second) = (player.turn(0), player.turn(1));
        first.comes().await;
        assert!(futures_util::FutureExt::now_or_never(second.comes()).is_none(), "the first has not been given yet");
        drop(first);
        second.comes().await;
    }

    #[test]
    fn a_body_that_differs_is_shown_where_it_parts() {
        let mut sent = get("http://a/");
        sent.body = Data(b"a=1".to_vec());
        let player = player(vec![Entry::Http(Box::new(sent))], false);
        let place = player.request(get("http://a/")).unwrap();
        assert!(!player.is_body(place, b"a=2"));
        let found = player.divergence().unwrap();
        assert_eq!((found.recorded.as_str(), found.now.as_str()), (r#"GET http://a/ with "a=1""#, r#"GET http://a/ with "a=2""#));
    }
}
