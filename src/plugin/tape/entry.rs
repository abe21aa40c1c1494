//! One thing that a guest learned, as a recording keeps it.

use serde::{Deserialize, Serialize};

use super::data::Data;
use crate::domain::item;
use crate::plugin::{StateAnswer, StateAsk};

/// A refusal, as the guest sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub code: String,
    pub message: String,
}

/// `None`: the call had not been answered when the guest ended.
pub type Answered<T> = Option<Result<T, Refused>>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum Entry {
    /// Nanoseconds since 1970.
    WallClock {
        ns: u64,
    },
    /// Nanoseconds since the call began.
    MonotonicClock {
        ns: u64,
    },
    /// Which of several things that were waited for were ready first.
    Poll {
        ready: Vec<u32>,
    },
    ShouldStop {
        answer: bool,
    },
    RemainingMs {
        answer: u64,
    },
    State {
        ask: Box<StateAsk>,
        answer: Box<Answered<StateAnswer>>,
    },
    Items {
        ask: Box<item::Ask>,
        answer: Box<Answered<item::Answer>>,
    },
    Called {
        what: String,
        with: Vec<Data>,
        answer: Result<Data, Refused>,
    },
    Http(Box<Exchange>),
}

/// A request as the guest made it (a secret's place-holder, not the secret), and its answer as the guest got it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, Data)>,
    pub body: Data,
    /// The guest wrote the body to its end.
    pub whole: bool,
    /// `None`: none came before the guest ended.
    pub answer: Option<Answer>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The how-manieth answer it was, from 0: requests may be under way side by side.
    pub place: usize,
    #[serde(flatten)]
    pub came: Came,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Came {
    Response {
        status: u16,
        headers: Vec<(String, Data)>,
        /// As they came: a guest may see where one ends.
        body: Vec<Data>,
        end: End,
    },
    Failure(Failure),
}

/// How far the guest read an answer's body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Not to its end.
    Open,
    Whole,
    Broken(Failure),
}

/// Why there is no answer: the case of `wasi:http`'s `error-code`, and what it carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub error: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Entry {
    /// Acts on something, or asks it: has to come in the same order in a replay. The rest only reads the time.
    pub fn is_act(&self) -> bool {
        matches!(self, Self::State { .. } | Self::Items { .. } | Self::Called { .. } | Self::Http(_))
    }

    /// Bytes that it takes in memory, about.
    pub fn bytes(&self) -> usize {
        let data = |data: &[Data]| data.iter().map(|data| 24 + data.0.len()).sum::<usize>();
        let more = match self {
            Self::WallClock { .. } | Self::MonotonicClock { .. } | Self::ShouldStop { .. } | Self::RemainingMs { .. } => 0,
            Self::Poll { ready } => ready.len() * 4,
            Self::State { ask, answer } => state_bytes(ask) + answer.as_ref().as_ref().map_or(0, StateAsk::bytes),
            Self::Items { ask, answer } => items_bytes(ask) + answer.as_ref().as_ref().map_or(0, item::Ask::bytes),
            Self::Called { with, answer, .. } => data(with) + answer.as_ref().map_or(100, |answer| answer.0.len()),
            Self::Http(exchange) => {
                let headers = exchange.headers.iter().map(|(name, value)| 48 + name.len() + value.0.len()).sum::<usize>();
                300 + exchange.url.len() + headers + exchange.body.0.len()
            }
        };
        size_of::<Self>() + more
    }

    /// For a person: what was asked.
    pub fn words(&self) -> String {
        match self {
            Self::WallClock { .. } => "the wall clock".into(),
            Self::MonotonicClock { .. } => "the monotonic clock".into(),
            Self::Poll { .. } => "poll".into(),
            Self::ShouldStop { .. } => "control.should-stop".into(),
            Self::RemainingMs { .. } => "control.remaining-ms".into(),
            Self::State { ask, .. } => match &**ask {
                StateAsk::Get(key) => format!("state.get {key:?}"),
                StateAsk::Set { key, value, expected } => {
                    let over = expected.map(|version| format!(" over version {version}")).unwrap_or_default();
                    format!("state.set {key:?} to {}{over}", shown(value))
                }
                StateAsk::Delete { key, .. } => format!("state.delete {key:?}"),
                StateAsk::Keys { prefix } => format!("state.keys {prefix:?}"),
            },
            Self::Items { ask, .. } => match &**ask {
                item::Ask::Declare(items) => {
                    format!("items.declare {}", listed(items.iter().map(|item| item.name.as_str())))
                }
                item::Ask::Next(max) => format!("items.next {max}"),
                item::Ask::Finish(endings) => {
                    let ended: Vec<String> =
                        endings.iter().map(|ending| format!("{} {}", ending.name, ending.state.word())).collect();
                    format!("items.finish {}", listed(ended.iter().map(String::as_str)))
                }
            },
            Self::Called { what, with, .. } => {
                let with: Vec<String> = with.iter().map(|data| shown(&data.0)).collect();
                format!("{what} {}", with.join(" "))
            }
            Self::Http(exchange) => format!("{} {}", exchange.method, exchange.url),
        }
    }
}

fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(5);
    let first = names.take(5).collect::<Vec<_>>().join(", ");
    if more == 0 { first } else { format!("{first} and {more} more") }
}

/// Enough of it to recognise it.
pub fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 200;
    match std::str::from_utf8(bytes) {
        Ok(text) if text.len() <= MOST => format!("{text:?}"),
        Ok(text) => format!("{:?}… ({} bytes)", &text[..text.floor_char_boundary(MOST)], text.len()),
        Err(_) => format!("{} bytes", bytes.len()),
    }
}

fn state_bytes(ask: &StateAsk) -> usize {
    100 + match ask {
        StateAsk::Get(text) | StateAsk::Delete { key: text, .. } | StateAsk::Keys { prefix: text } => text.len(),
        StateAsk::Set { key, value, .. } => key.len() + value.len(),
    }
}

fn items_bytes(ask: &item::Ask) -> usize {
    100 + match ask {
        item::Ask::Declare(items) => new_bytes(items),
        item::Ask::Next(_) => 0,
        item::Ask::Finish(endings) => {
            let output = |ending: &item::Ending| ending.output.as_ref().map_or(0, String::len);
            endings.iter().map(|ending| 100 + ending.name.len() + ending.message.len() + output(ending)).sum()
        }
    }
}

fn new_bytes(items: &[item::NewItem]) -> usize {
    items.iter().map(|item| 48 + item.name.len() + item.input.len()).sum()
}

/// Questions that the runner answers, and their answers.
pub trait Talk: PartialEq + Send + Sized {
    type Answer: Clone + Send;

    fn entry(&self, answer: Answered<Self::Answer>) -> Entry;
    /// Puts the answer into an entry that [`Talk::entry`] made.
    fn answer(entry: &mut Entry, answer: Result<Self::Answer, Refused>);
    /// That an answer takes in memory, about.
    fn bytes(answer: &Result<Self::Answer, Refused>) -> usize;
    /// What was asked then and answered, when it is of this kind.
    fn of(entry: &Entry) -> Option<(&Self, &Answered<Self::Answer>)>;
}

impl Talk for StateAsk {
    type Answer = StateAnswer;

    fn entry(&self, answer: Answered<StateAnswer>) -> Entry {
        Entry::State { ask: Box::new(self.clone()), answer: Box::new(answer) }
    }

    fn answer(entry: &mut Entry, came: Result<StateAnswer, Refused>) {
        if let Entry::State { answer, .. } = entry {
            **answer = Some(came);
        }
    }

    fn bytes(answer: &Result<StateAnswer, Refused>) -> usize {
        match answer {
            Ok(StateAnswer::Entry(Some((value, _)))) => value.len(),
            Ok(StateAnswer::Keys(keys)) => keys.iter().map(|key| 24 + key.len()).sum(),
            Ok(_) => 0,
            Err(refused) => refused.message.len(),
        }
    }

    fn of(entry: &Entry) -> Option<(&Self, &Answered<StateAnswer>)> {
        match entry {
            Entry::State { ask, answer } => Some((ask, answer)),
            _ => None,
        }
    }
}

impl Talk for item::Ask {
    type Answer = item::Answer;

    fn entry(&self, answer: Answered<item::Answer>) -> Entry {
        Entry::Items { ask: Box::new(self.clone()), answer: Box::new(answer) }
    }

    fn answer(entry: &mut Entry, came: Result<item::Answer, Refused>) {
        if let Entry::Items { answer, .. } = entry {
            **answer = Some(came);
        }
    }

    fn bytes(answer: &Result<item::Answer, Refused>) -> usize {
        match answer {
            Ok(item::Answer::Items(items)) => new_bytes(items),
            Ok(item::Answer::Count(_)) => 0,
            Err(refused) => refused.message.len(),
        }
    }

    fn of(entry: &Entry) -> Option<(&Self, &Answered<item::Answer>)> {
        match entry {
            Entry::Items { ask, answer } => Some((ask, answer)),
            _ => None,
        }
    }
}
