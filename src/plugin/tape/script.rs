//! A world that is made up: answers by method and URL, and a clock that moves when it is read or slept on.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::entry::{Failure, shown};
use crate::clock::Timestamp;

/// Each reading of the clock moves it so far: a guest that waits for a time comes to it.
const READING: Duration = Duration::from_millis(1);

/// How often a sleeper looks whether it is its turn, and how many times at most, in real time.
const LOOK: Duration = Duration::from_millis(1);
const PATIENCE: u32 = 500;

/// One answer, given to the first request that it fits, so many times.
#[derive(Debug, Clone)]
pub struct Scripted {
    pub method: String,
    pub url: String,
    /// Must stand in the request's body.
    pub body_contains: Option<String>,
    /// How often it is given.
    pub times: u32,
    /// How much later the clock is when it comes.
    pub after: Duration,
    pub answer: Result<Response, Failure>,
}

#[derive(Debug, Clone, Default)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

pub struct Script {
    pub seed: [u8; 32],
    began: Timestamp,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    elapsed: Duration,
    answers: Vec<Scripted>,
    /// Requests that nothing was written for.
    unexpected: Vec<String>,
    /// Requests that are not answered yet.
    under_way: usize,
    /// Who sleeps, until when; numbered, for two may sleep equally long.
    sleepers: BTreeSet<(Duration, u64)>,
    slept: u64,
}

pub struct UnderWay<'a>(&'a Script);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.lock().under_way -= 1;
    }
}

struct Sleeper<'a>(&'a Script, (Duration, u64));

impl<'a> Sleeper<'a> {
    fn new(script: &'a Script, until: Duration) -> Self {
        let mut state = script.lock();
        state.slept += 1;
        let sleeper = (until, state.slept);
        state.sleepers.insert(sleeper);
        Self(script, sleeper)
    }
}

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        self.0.lock().sleepers.remove(&self.1);
    }
}

impl Script {
    pub fn new(began: Timestamp, seed: [u8; 32], answers: Vec<Scripted>) -> Self {
        Self { seed, began, state: Mutex::new(State { answers, ..State::default() }) }
    }

    /// Since 1970.
    pub fn wall(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.began.0).unwrap_or(0)) + self.read()
    }

    /// Since the call began.
    pub fn monotonic(&self) -> Duration {
        self.read()
    }

    pub fn elapsed(&self) -> Duration {
        self.lock().elapsed
    }

    /// The clock goes on to that instant, and no time passes: unless a request is under way, which is answered first, or
    /// somebody sleeps less long.
    pub async fn sleep_until(&self, until: Duration) {
        let _sleeper = Sleeper::new(self, until);
        for _ in 0..PATIENCE {
            // What is ready already is seen before.
            tokio::time::sleep(LOOK).await;
            let mut state = self.lock();
            if state.elapsed >= until {
                return;
            }
            if state.under_way == 0 && state.sleepers.first().is_none_or(|(first, _)| *first >= until) {
                state.elapsed = until;
                return;
            }
        }
        // A guest that sleeps before it has written its request to the end.
        let mut state = self.lock();
        state.elapsed = state.elapsed.max(until);
    }

    /// A request is under way until this is dropped.
    pub fn begin(&self) -> UnderWay<'_> {
        self.lock().under_way += 1;
        UnderWay(self)
    }

    pub fn remaining_ms(&self, most: Duration) -> u64 {
        u64::try_from(most.saturating_sub(self.lock().elapsed).as_millis()).unwrap_or(u64::MAX)
    }

    fn read(&self) -> Duration {
        let mut state = self.lock();
        state.elapsed = state.elapsed.saturating_add(READING);
        state.elapsed
    }

    /// The answer to this request. One that nothing was written for is denied.
    pub fn answer(&self, method: &str, url: &str, body: &[u8]) -> Result<Response, Failure> {
        let mut state = self.lock();
        let text = String::from_utf8_lossy(body);
        let fits = |one: &Scripted| {
            one.times > 0
                && one.method.eq_ignore_ascii_case(method)
                && one.url == url
                && one.body_contains.as_ref().is_none_or(|part| text.contains(part.as_str()))
        };
        let Some(place) = state.answers.iter().position(fits) else {
            let with = if body.is_empty() { String::new() } else { format!(" with {}", shown(body)) };
            state.unexpected.push(format!("{method} {url}{with}"));
            return Err(Failure { error: "HttpRequestDenied".into(), detail: None });
        };
        let found = &mut state.answers[place];
        found.times -= 1;
        let (after, answer) = (found.after, found.answer.clone());
        state.elapsed = state.elapsed.saturating_add(after);
        answer
    }

    /// Requests that nothing was written for.
    pub fn unexpected(&self) -> Vec<String> {
        self.lock().unexpected.clone()
    }

    /// Answers that nobody came for.
    pub fn left(&self) -> Vec<String> {
        let left = |one: &Scripted| format!("{} {}", one.method, one.url);
        self.lock().answers.iter().filter(|one| one.times > 0).map(left).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(url: &str, times: u32, status: u16) -> Scripted {
        let answer = Ok(Response { status, ..Response::default() });
        Scripted { method: "GET".into(), url: url.into(), body_contains: None, times, after: Duration::from_secs(5), answer }
    }

    #[tokio::test]
    async fn the_clock_goes_from_sleeper_to_sleeper_and_waits_for_answers() {
        let script = Script::new(Timestamp(0), [0; 32], Vec::new());
        let (hour, second) = (Duration::from_secs(3600), Duration::from_secs(1));
        tokio::select! {
            () = script.sleep_until(hour) => panic!("the longer one was first"),
            () = script.sleep_until(second) => {}
        }
        assert_eq!(script.elapsed(), second);
        let request = script.begin();
        tokio::select! {
            () = script.sleep_until(hour) => panic!("a request was under way"),
            () = tokio::time::sleep(LOOK * 20) => {}
        }
        drop(request);
        script.sleep_until(hour).await;
        assert_eq!(script.elapsed(), hour);
    }

    #[test]
    fn answers_are_given_in_their_order_and_so_often() {
        let script = Script::new(Timestamp(1_000), [0; 32], vec![one("http://a/", 1, 503), one("http://a/", 2, 200)]);
        let status = || script.answer("GET", "http://a/", b"").map(|answer| answer.status).ok();
        assert_eq!([status(), status(), status(), status()], [Some(503), Some(200), Some(200), None]);
        assert_eq!(script.unexpected(), ["GET http://a/"]);
        assert_eq!(script.wall(), Duration::from_millis(1_000 + 15_000 + 1), "each answer took its time");
        assert_eq!(script.remaining_ms(Duration::from_secs(15)), 0);
        assert_eq!(script.remaining_ms(Duration::from_secs(60)), 44_999);
    }
}
