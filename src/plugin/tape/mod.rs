//! What a guest learns comes through here: from the world, from the world and noted, from a recording, or from a script.
//! Clocks, random numbers, HTTP, state, items, signatures and the run's own life: with the same tape a guest does the same.

mod data;
mod entry;
mod failure;
mod http;
mod mask;
mod player;
mod recorder;
mod recording;
mod script;
mod wasi;

pub use data::{bytes, versioned};
pub use entry::Failure;
pub use entry::Refused;
pub use http::{Sending, exchange};
pub use player::Divergence;
#[cfg(test)]
pub use recording::tests::recordings;
pub use recording::{Came, Header, Recording, Recordings};
pub use script::Response;
pub use script::{Script, Scripted};
pub use wasi::{add_to_linker, furnish};

pub(super) use entry::Talk;

use std::sync::Arc;
use std::time::Duration;

use self::data::Data;
use self::entry::Entry;
use self::player::Player;
use self::recorder::Recorder;
use super::Stop;
use crate::clock::Timestamp;
use crate::domain::attempt::Outcome;

/// Of one call of one export.
#[derive(Default)]
pub enum Tape {
    /// The world answers, and nothing is kept.
    #[default]
    Live,
    /// The world answers, and it is noted.
    Recording(Box<Recorder>),
    /// What was noted answers, in its order, whatever the world would say.
    Replaying(Box<Player>),
    /// HTTP and the clock are made up; the rest is the caller's, as it is live.
    Scripted(Script),
}

impl Tape {
    /// Notes a call that begins now, up to [`recorder::LIMIT`] bytes.
    pub fn record(now: Timestamp) -> Self {
        Self::Recording(Box::new(Recorder::new(now)))
    }

    /// Answers from a recording; `stop` is the call's, which ends where it leaves the recording.
    pub fn replay(recording: Recording, stop: Arc<Stop>) -> Self {
        Self::Replaying(Box::new(Player::new(recording, stop)))
    }

    /// How long a call may take that has this limit: a replay on a slow machine has more, unless it ran out of time then, too.
    pub fn patience(&self, limit: Duration) -> Duration {
        match self {
            Self::Replaying(player) if player.recording.end.outcome.outcome != "timed_out" => {
                (limit * 4).max(Duration::from_secs(60))
            }
            _ => limit,
        }
    }

    /// What was noted so far, with what the call came to; `None` where nothing is. `header` is told when the call began, and its
    /// seed; it is asked now and not before, because of most calls nothing is kept.
    pub fn recording(&self, outcome: &Outcome, header: impl FnOnce(Timestamp, [u8; 32]) -> Header) -> Option<Recording> {
        match self {
            Self::Recording(recorder) => Some(recorder.recording(outcome, header)),
            _ => None,
        }
    }

    /// Where a replay left its recording, and what the recording has that was not asked for.
    pub fn divergence(&self) -> Option<Divergence> {
        match self {
            Self::Replaying(player) => player.divergence(),
            _ => None,
        }
    }

    /// Whether a replay ended where the recorded call waited until it was stopped.
    pub fn waited_to_the_end(&self) -> bool {
        matches!(self, Self::Replaying(player) if player.waited_to_the_end())
    }

    /// A question that is answered at once, by its name and what it is asked with: `sign`, and whatever comes to be like it.
    pub fn called(
        &self,
        what: &'static str,
        with: &[&[u8]],
        live: impl FnOnce() -> Result<Vec<u8>, Refused>,
    ) -> Result<Vec<u8>, Refused> {
        let call = |answer| Entry::Called {
            what: what.to_owned(),
            with: with.iter().map(|bytes| Data(bytes.to_vec())).collect(),
            answer,
        };
        match self {
            Self::Live | Self::Scripted(_) => live(),
            Self::Recording(recorder) => {
                let answer = live();
                recorder.note(call(answer.clone().map(Data)));
                answer
            }
            Self::Replaying(player) => player.called(&call(Ok(Data::default()))).map(|data| data.0),
        }
    }

    /// The same for one that takes time to answer. It is noted with its answer: a guest that ends before has not learned it.
    pub async fn called_out(
        &self,
        what: &'static str,
        with: Vec<Vec<u8>>,
        live: impl Future<Output = Result<Vec<u8>, Refused>> + Send,
    ) -> Result<Vec<u8>, Refused> {
        let answer = match self {
            Self::Live | Self::Scripted(_) | Self::Recording(_) => Some(live.await),
            Self::Replaying(_) => None,
        };
        let with: Vec<&[u8]> = with.iter().map(Vec::as_slice).collect();
        self.called(what, &with, || answer.unwrap_or_else(|| Ok(Vec::new())))
    }

    pub fn should_stop(&self, live: impl FnOnce() -> bool) -> bool {
        match self {
            Self::Live | Self::Scripted(_) => live(),
            Self::Recording(recorder) => {
                let answer = live();
                recorder.note(Entry::ShouldStop { answer });
                answer
            }
            Self::Replaying(player) => player.should_stop(),
        }
    }

    /// `most`: the time limit less the grace, what a clock that is made up counts down from.
    pub fn remaining_ms(&self, most: Duration, live: impl FnOnce() -> u64) -> u64 {
        match self {
            Self::Live => live(),
            Self::Recording(recorder) => {
                let answer = live();
                recorder.note(Entry::RemainingMs { answer });
                answer
            }
            Self::Replaying(player) => player.remaining_ms(),
            Self::Scripted(script) => script.remaining_ms(most),
        }
    }

    /// A question that the runner answers.
    pub async fn asked<A: Talk>(
        &self,
        ask: A,
        live: impl Future<Output = Result<A::Answer, Refused>> + Send,
    ) -> Result<A::Answer, Refused> {
        match self {
            Self::Live | Self::Scripted(_) => live.await,
            Self::Recording(recorder) => {
                let place = recorder.note(ask.entry(None));
                let answer = live.await;
                recorder.change(place, A::bytes(&answer), |entry| A::answer(entry, answer.clone()));
                answer
            }
            Self::Replaying(player) => player.asked(ask).await,
        }
    }
}
