//! The gate before each target, shared by all guests of this node: so many requests at a time, so many starts a second, and
//! a circuit that opens after failures and then lets one request through now and then, until the target has recovered.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime_wasi_http::Error;

use super::gate::{Refused, written};
use crate::clock::{Clock, Timestamp};
use crate::config::Target as Limits;
use crate::domain::grant::Origin;

/// Targets that are remembered; beyond it those are forgotten that nobody asks.
const REMEMBERED: usize = 4_096;

pub struct Targets {
    limits: Limits,
    /// Nodes that share the limits; each request takes as many places, and as many turns, as there are.
    nodes: AtomicU32,
    clock: Arc<dyn Clock>,
    doors: Mutex<HashMap<Origin, Arc<Door>>>,
    /// A tenant's own view of a target: it may be the tenant's requests that the target fails at.
    own: Mutex<Own>,
}

type Own = HashMap<(Arc<str>, Origin), Arc<Circuit>>;

struct Door {
    slots: Arc<Semaphore>,
    /// When the next request may start; `None` when there was none.
    next: Mutex<Option<Instant>>,
    circuit: Arc<Circuit>,
}

/// What a request says about its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Well,
    /// No connection: true for whoever asks.
    Unreachable(String),
    /// It was asked and failed: perhaps only at what this tenant asks.
    Failing(String),
    /// Neither: the request did not get so far, or was cut short by its own limit.
    Nothing,
}

/// What an answer says about its target. One that says when to come back is well: whoever asks will obey.
pub fn said(response: &hyper::Response<hyper::body::Incoming>) -> Seen {
    if response.status().is_server_error() && !response.headers().contains_key(hyper::header::RETRY_AFTER) {
        Seen::Failing(format!("it answered {}", response.status().as_u16()))
    } else {
        Seen::Well
    }
}

/// The right to one request, until it is dropped.
pub struct Pass {
    circuit: Arc<Circuit>,
    own: Arc<Circuit>,
    _slot: OwnedSemaphorePermit,
    pub waited: Duration,
}

impl Targets {
    pub fn new(limits: Limits, clock: Arc<dyn Clock>) -> Self {
        Self { limits, nodes: AtomicU32::new(1), clock, doors: Mutex::default(), own: Mutex::default() }
    }

    pub fn shares(&self, nodes: u32) {
        self.nodes.store(nodes.max(1), Relaxed);
    }

    /// Waits for the request's turn, as long as its run has time.
    ///
    /// # Errors
    /// When the circuit is open, or the turn would come too late.
    pub async fn enter(&self, tenant: &Arc<str>, origin: &Origin, within: Duration) -> Result<Pass, Refused> {
        let (door, own) = (self.door(origin), self.own(tenant, origin));
        let began = Instant::now();
        let open = || self.open(&[&door.circuit, &own], origin);
        // Before the wait, which would be for nothing; and after it, for much may have failed meanwhile.
        open().map_or(Ok(()), Err)?;
        let late = || {
            let why = format!(
                "{} has its {} requests under way or {} started this second, and the run's time is over before this one's turn",
                written(origin),
                self.limits.concurrency,
                self.limits.starts_per_second
            );
            Refused::failed(Error::ConnectionLimitReached, why)
        };
        let places = self.nodes.load(Relaxed).min(self.limits.concurrency);
        let slot = Arc::clone(&door.slots).acquire_many_owned(places);
        let slot = tokio::time::timeout(within, slot).await.map_err(|_| late())?;
        let slot = slot.map_err(|_| late())?;
        let left = within.saturating_sub(began.elapsed());
        tokio::time::sleep(self.turn(&door, Instant::now(), left).ok_or_else(late)?).await;
        if let Some(refused) = open() {
            return Err(refused);
        }
        let now = self.clock.now();
        door.circuit.passed(now, self.limits.probe_every.0);
        own.passed(now, self.limits.probe_every.0);
        Ok(Pass { circuit: Arc::clone(&door.circuit), own, _slot: slot, waited: began.elapsed() })
    }

    /// What a request that had its turn came to.
    pub fn seen(&self, pass: &Pass, seen: &Seen) {
        let (now, limits) = (self.clock.now(), &self.limits);
        match seen {
            Seen::Well => {
                pass.circuit.well();
                pass.own.well();
            }
            Seen::Unreachable(why) => pass.circuit.failed(why, now, limits),
            Seen::Failing(why) => {
                pass.circuit.well();
                pass.own.failed(why, now, limits);
            }
            Seen::Nothing => {}
        }
    }

    fn open(&self, circuits: &[&Arc<Circuit>], origin: &Origin) -> Option<Refused> {
        let now = self.clock.now();
        let (until, failures, why) = circuits.iter().filter_map(|circuit| circuit.open_until(now)).max()?;
        let until_text = until.rfc3339();
        let what = format!("{} failed {failures} times in a row, the last time because {why}", written(origin));
        Some(Refused::failed(
            // The guest's side reads the number at the end.
            Error::InternalError(Some(format!("circuit open: {what}; try again in {} ms", until.since(now).as_millis()))),
            format!("not sent: {what}; until {until_text} nothing goes there, then one request to see"),
        ))
    }

    /// How long to wait for the next start; `None` when it is later than `within`, and then no turn is taken.
    fn turn(&self, door: &Door, now: Instant, within: Duration) -> Option<Duration> {
        let second = Duration::from_secs(1);
        let mut next = lock(&door.next);
        // What was not used of the last second may be used at once.
        let turn = next.max(now.checked_sub(second)).unwrap_or(now);
        let wait = turn.saturating_duration_since(now);
        if wait > within {
            return None;
        }
        *next = Some(turn + second * self.nodes.load(Relaxed) / self.limits.starts_per_second);
        Some(wait)
    }

    fn door(&self, origin: &Origin) -> Arc<Door> {
        remembered(
            &mut lock(&self.doors),
            origin,
            |door| door.circuit.is_idle(),
            || Door {
                slots: Arc::new(Semaphore::new(self.limits.concurrency as usize)),
                next: Mutex::default(),
                circuit: Arc::default(),
            },
        )
    }

    fn own(&self, tenant: &Arc<str>, origin: &Origin) -> Arc<Circuit> {
        remembered(&mut lock(&self.own), &(Arc::clone(tenant), origin.clone()), Circuit::is_idle, Circuit::default)
    }
}

/// The thing under this key, made when it is not there. Where there are too many, those go that nobody holds: at rest ones
/// first, and if that is not enough all of them.
fn remembered<K: Clone + Eq + std::hash::Hash, V>(
    map: &mut HashMap<K, Arc<V>>,
    key: &K,
    at_rest: impl Fn(&V) -> bool,
    make: impl FnOnce() -> V,
) -> Arc<V> {
    if let Some(standing) = map.get(key) {
        return Arc::clone(standing);
    }
    if map.len() >= REMEMBERED {
        map.retain(|_, standing| Arc::strong_count(standing) > 1 || !at_rest(standing));
    }
    if map.len() >= REMEMBERED {
        map.retain(|_, standing| Arc::strong_count(standing) > 1);
    }
    Arc::clone(map.entry(key.clone()).or_insert_with(|| Arc::new(make())))
}

#[derive(Default)]
struct Circuit(Mutex<State>);

#[derive(Default)]
struct State {
    /// One after the other, without a success between them.
    failures: u32,
    why: String,
    /// Open: until then nothing passes, and the next one that does moves it.
    until: Option<Timestamp>,
}

impl Circuit {
    fn open_until(&self, now: Timestamp) -> Option<(Timestamp, u32, String)> {
        let state = lock(&self.0);
        state.until.filter(|until| now < *until).map(|until| (until, state.failures, state.why.clone()))
    }

    /// Something goes through. If that is the one that an open circuit lets through, the next one waits for its turn.
    fn passed(&self, now: Timestamp, every: Duration) {
        let mut state = lock(&self.0);
        if state.until.is_some() {
            state.until = Some(now.plus(every));
        }
    }

    fn well(&self) {
        *lock(&self.0) = State::default();
    }

    fn failed(&self, why: &str, now: Timestamp, limits: &Limits) {
        let mut state = lock(&self.0);
        state.failures = state.failures.saturating_add(1);
        why.clone_into(&mut state.why);
        // Stragglers of the time before do not keep it open for longer.
        if state.failures >= limits.failures && state.until.is_none() {
            state.until = Some(now.plus(limits.probe_every.0));
        }
    }

    fn is_idle(&self) -> bool {
        lock(&self.0).failures == 0
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const WITHIN: Duration = Duration::from_secs(60);

    fn origin(text: &str) -> Origin {
        Origin::parse(text).unwrap()
    }

    fn acme() -> Arc<str> {
        "acme".into()
    }

    fn targets(limits: Limits) -> (Targets, ManualClock) {
        let clock = ManualClock::at(Timestamp(1_000_000));
        (Targets::new(limits, Arc::new(clock.clone())), clock)
    }

    async fn fails(targets: &Targets, tenant: &Arc<str>, target: &Origin, seen: Seen) -> Result<(), Refused> {
        let pass = targets.enter(tenant, target, WITHIN).await?;
        targets.seen(&pass, &seen);
        Ok(())
    }

    #[tokio::test]
    async fn w6_a_target_that_fails_three_times_is_probed_every_thirty_seconds_until_it_recovers() {
        let (targets, clock) = targets(Limits::default());
        let (target, refused) = (origin("http://wiki.test"), || Seen::Unreachable("connection refused".into()));
        for _ in 0..3 {
            fails(&targets, &acme(), &target, refused()).await.unwrap();
        }
        for _ in 0..4 {
            let closed = fails(&targets, &acme(), &target, refused()).await.unwrap_err();
            assert!(closed.why.contains("times in a row, the last time because connection refused"), "{}", closed.why);
            let told = format!("{:?}", closed.error);
            assert!(told.contains("circuit open: ") && told.contains("try again in 30000 ms"), "{told}");
            clock.advance(Duration::from_secs(30));
            fails(&targets, &acme(), &target, refused()).await.unwrap();
        }
        clock.advance(Duration::from_secs(30));
        fails(&targets, &acme(), &target, Seen::Well).await.unwrap();
        for _ in 0..10 {
            fails(&targets, &acme(), &target, Seen::Well).await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_may_be_the_tenants_own_doing_closes_the_target_for_it_alone() {
        let (targets, _) = targets(Limits::default());
        let (target, beta) = (origin("http://shared.test"), Arc::from("beta"));
        for _ in 0..3 {
            fails(&targets, &acme(), &target, Seen::Failing("it answered 500".into())).await.unwrap();
        }
        assert!(fails(&targets, &acme(), &target, Seen::Well).await.is_err());
        assert!(fails(&targets, &beta, &target, Seen::Well).await.is_ok());
        let gone = origin("http://gone.test");
        for _ in 0..3 {
            fails(&targets, &acme(), &gone, Seen::Unreachable("connection refused".into())).await.unwrap();
        }
        assert!(fails(&targets, &beta, &gone, Seen::Well).await.is_err());
    }

    #[tokio::test]
    async fn a_success_between_them_makes_failures_harmless() {
        let (targets, _) = targets(Limits::default());
        let target = origin("http://a.test");
        for _ in 0..10 {
            for _ in 0..2 {
                fails(&targets, &acme(), &target, Seen::Failing("it answered 503".into())).await.unwrap();
            }
            fails(&targets, &acme(), &target, Seen::Well).await.unwrap();
        }
    }

    #[tokio::test]
    async fn so_many_at_a_time_and_the_next_one_waits_for_its_turn() {
        let (targets, _) = targets(Limits { concurrency: 2, ..Limits::default() });
        let target = origin("http://a.test");
        let first = targets.enter(&acme(), &target, WITHIN).await.unwrap();
        let _second = targets.enter(&acme(), &target, WITHIN).await.unwrap();
        let late = targets.enter(&acme(), &target, Duration::from_millis(10)).await.map(|_| ()).unwrap_err();
        assert!(late.why.contains("its 2 requests under way"), "{}", late.why);
        drop(first);
        assert!(targets.enter(&acme(), &target, WITHIN).await.is_ok());
        let other = origin("http://b.test");
        targets.shares(2);
        let _first = targets.enter(&acme(), &other, WITHIN).await.unwrap();
        assert!(targets.enter(&acme(), &other, Duration::from_millis(10)).await.is_err(), "two nodes share the number");
    }

    #[tokio::test]
    async fn starts_are_spread_over_the_second_once_its_number_is_used() {
        let (targets, _) = targets(Limits { starts_per_second: 4, ..Limits::default() });
        let door = targets.door(&origin("http://a.test"));
        let now = Instant::now();
        let waits: Vec<_> = (0..8).map(|_| targets.turn(&door, now, WITHIN).unwrap().as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 250, 500, 750]);
        assert_eq!(targets.turn(&door, now, Duration::ZERO), None);
        assert_eq!(targets.turn(&door, now, WITHIN).unwrap().as_millis(), 1_000, "a turn that comes too late is not taken");
        targets.shares(2);
        targets.turn(&door, now, WITHIN);
        assert_eq!(targets.turn(&door, now, WITHIN).unwrap().as_millis(), 1_750, "two nodes share the second");
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded() {
        let (targets, _) = targets(Limits::default());
        for n in 0..REMEMBERED + 10 {
            let target = origin(&format!("http://{n}.test"));
            fails(&targets, &acme(), &target, Seen::Unreachable("gone".into())).await.unwrap();
        }
        assert!(lock(&targets.doors).len() <= REMEMBERED && lock(&targets.own).len() <= REMEMBERED);
    }
}
