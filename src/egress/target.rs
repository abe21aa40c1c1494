//! The gate before each target, shared by all that this node connects for its tenants: so many requests at a time, so many starts a second, and
//! a circuit that opens after failures and then lets one request through now and then, until the target has recovered.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::circuit::Circuit;
use super::remembered::Remembered;
use super::{Cause, Refused};
use crate::clock::Clock;
use crate::config::Target as Limits;
use crate::domain::grant::Origin;

pub struct Targets {
    limits: Limits,
    /// Nodes that share the limits; each request takes as many places, and as many turns, as there are.
    nodes: AtomicU32,
    clock: Arc<dyn Clock>,
    doors: Mutex<Remembered<Origin, Door>>,
    /// A tenant's own view of a target: it may be the tenant's requests that the target fails at.
    own: Mutex<Remembered<(Arc<str>, Origin), Circuit>>,
}

struct Door {
    slots: Arc<Semaphore>,
    /// Who waits for a turn, one behind the other: who gives up has taken none from those behind.
    queue: tokio::sync::Mutex<()>,
    /// When the next request may start; `None` when there was none.
    next: Mutex<Option<Instant>>,
    circuit: Circuit,
}

/// What a request says about its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Well,
    /// No connection: true for whoever asks.
    Unreachable(String),
    /// It was asked and failed: perhaps only at what this tenant asks.
    Failing(String),
    /// No answer in time, connected or not: it tells nothing to others, for good or ill.
    Late(String),
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

/// The right to one request, until it is dropped. What was not used of it goes back then.
pub struct Pass {
    door: Arc<Door>,
    own: Arc<Circuit>,
    _slot: OwnedSemaphorePermit,
    pub waited: Duration,
    unused: Option<Unused>,
}

/// A request that has not gone out.
struct Unused {
    /// Until the next one's turn.
    turn: Duration,
    /// Whether it was the one that an open circuit lets through: of the target, and of the tenant.
    probes: [bool; 2],
}

impl Pass {
    /// The request goes out now.
    pub fn begins(&mut self) {
        self.unused = None;
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let Some(Unused { turn, probes }) = self.unused.take() else { return };
        let mut next = lock(&self.door.next);
        *next = next.and_then(|next| next.checked_sub(turn));
        for (circuit, _) in [&self.door.circuit, &*self.own].into_iter().zip(probes).filter(|(_, probes)| *probes) {
            circuit.not_passed();
        }
    }
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
        let (door, own) = (self.door(tenant, origin), self.own(tenant, origin));
        let began = Instant::now();
        let open = || self.open(&[&door.circuit, &own], origin);
        // Before the wait, which would be for nothing; and after it, for much may have failed meanwhile.
        open().map_or(Ok(()), Err)?;
        let places = self.nodes.load(Relaxed).min(self.limits.concurrency);
        let in_time = tokio::time::timeout(within, async {
            let slot = Arc::clone(&door.slots).acquire_many_owned(places).await.ok()?;
            let queue = door.queue.lock().await;
            let wait = due(*lock(&door.next), Instant::now()).saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            Some((slot, queue))
        });
        let (slot, queue) = in_time.await.ok().flatten().ok_or_else(|| self.late(origin))?;
        if let Some(refused) = open() {
            return Err(refused);
        }
        let (now, every) = (self.clock.now(), self.limits.probe_every.0);
        let turn = self.take_turn(&door, Instant::now());
        let probes = [door.circuit.passed(now, every), own.passed(now, every)];
        drop(queue);
        Ok(Pass { door, own, _slot: slot, waited: began.elapsed(), unused: Some(Unused { turn, probes }) })
    }

    fn late(&self, origin: &Origin) -> Refused {
        let why = format!(
            "{} has its {} requests under way or {} started this second, and the run's time is over before this one's turn",
            origin, self.limits.concurrency, self.limits.starts_per_second
        );
        Refused::failed(Cause::Busy, why)
    }

    /// What a request that had its turn came to.
    pub fn seen(&self, pass: &mut Pass, seen: &Seen) {
        let (now, limits) = (self.clock.now(), &self.limits);
        let target = &pass.door.circuit;
        match seen {
            Seen::Well => {
                target.well();
                pass.own.well();
            }
            Seen::Unreachable(why) => target.failed(why, now, limits),
            Seen::Failing(why) => {
                target.well();
                pass.own.failed(why, now, limits);
            }
            Seen::Late(why) => pass.own.failed(why, now, limits),
            Seen::Nothing => return,
        }
        // Something was learned, were it only that its name is not known.
        pass.begins();
    }

    fn open(&self, circuits: &[&Circuit], origin: &Origin) -> Option<Refused> {
        let now = self.clock.now();
        let (until, failures, why) = circuits.iter().filter_map(|circuit| circuit.open_until(now)).max()?;
        let until_text = until.rfc3339();
        let what = format!("{} failed {failures} times in a row, the last time because {why}", origin);
        Some(Refused::failed(
            // A guest's side reads the number at the end.
            Cause::Open(format!("circuit open: {what}; try again in {} ms", until.since(now).as_millis())),
            format!("not sent: {what}; until {until_text} nothing goes there, then one request to see"),
        ))
    }

    /// Answers how long it is until the next one's.
    fn take_turn(&self, door: &Door, now: Instant) -> Duration {
        let turn = Duration::from_secs(1) * self.nodes.load(Relaxed) / self.limits.starts_per_second;
        let mut next = lock(&door.next);
        *next = Some(due(*next, now) + turn);
        turn
    }

    fn door(&self, tenant: &Arc<str>, origin: &Origin) -> Arc<Door> {
        let now = self.clock.now();
        let make = || Door {
            slots: Arc::new(Semaphore::new(self.limits.concurrency as usize)),
            queue: tokio::sync::Mutex::default(),
            next: Mutex::default(),
            circuit: Circuit::default(),
        };
        lock(&self.doors).get(tenant, origin, |door| door.circuit.open_until(now).is_some(), make)
    }

    fn own(&self, tenant: &Arc<str>, origin: &Origin) -> Arc<Circuit> {
        let (now, key) = (self.clock.now(), (Arc::clone(tenant), origin.clone()));
        lock(&self.own).get(tenant, &key, |circuit| circuit.open_until(now).is_some(), Circuit::default)
    }
}

/// When a request may start. What was not used of the last second may be used at once.
fn due(next: Option<Instant>, now: Instant) -> Instant {
    next.max(now.checked_sub(Duration::from_secs(1))).unwrap_or(now)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::clock::{ManualClock, Timestamp};

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
        let mut pass = targets.enter(tenant, target, WITHIN).await?;
        targets.seen(&mut pass, &seen);
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
    async fn no_answer_in_time_neither_opens_a_target_for_others_nor_closes_its_circuit() {
        let (targets, clock) = targets(Limits::default());
        let (target, beta, late) = (origin("http://dark.test"), Arc::from("beta"), || Seen::Late("no answer".into()));
        for _ in 0..3 {
            fails(&targets, &acme(), &target, Seen::Unreachable("no route".into())).await.unwrap();
        }
        clock.advance(Duration::from_secs(30));
        fails(&targets, &acme(), &target, late()).await.unwrap();
        assert!(fails(&targets, &beta, &target, Seen::Well).await.is_err(), "it is as dead as before");
        let slow = origin("http://slow.test");
        for _ in 0..3 {
            fails(&targets, &acme(), &slow, late()).await.unwrap();
        }
        assert!(fails(&targets, &acme(), &slow, Seen::Well).await.is_err());
        assert!(fails(&targets, &beta, &slow, Seen::Well).await.is_ok(), "only acme found it slow");
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

    /// Milliseconds until the next one may start.
    fn wait(door: &Door, now: Instant) -> u128 {
        due(*lock(&door.next), now).saturating_duration_since(now).as_millis()
    }

    #[test]
    fn starts_are_spread_over_the_second_once_its_number_is_used() {
        let (targets, _) = targets(Limits { starts_per_second: 4, ..Limits::default() });
        let (door, now) = (targets.door(&acme(), &origin("http://a.test")), Instant::now());
        let waits = || {
            let wait = wait(&door, now);
            targets.take_turn(&door, now);
            wait
        };
        assert_eq!([(); 8].map(|()| waits()), [0, 0, 0, 0, 0, 250, 500, 750]);
        targets.shares(2);
        assert_eq!([(); 2].map(|()| waits()), [1_000, 1_500], "two nodes share the second");
    }

    #[tokio::test]
    async fn a_turn_goes_back_when_its_request_is_given_up_before_it_goes_out() {
        let (targets, _) = targets(Limits { starts_per_second: 1, ..Limits::default() });
        // One a minute.
        targets.shares(60);
        let (target, tenant) = (origin("http://a.test"), acme());
        for _ in 0..100 {
            drop(targets.enter(&tenant, &target, WITHIN).await.unwrap());
        }
        targets.enter(&tenant, &target, WITHIN).await.unwrap().begins();
        let (door, now) = (targets.door(&tenant, &target), Instant::now());
        let waits = wait(&door, now);
        assert!(waits > 0, "that one was used");
        for _ in 0..100 {
            assert!(targets.enter(&tenant, &target, WITHIN).now_or_never().is_none(), "it waits, and is dropped");
        }
        assert_eq!(wait(&door, now), waits, "who only waited took nothing");
    }

    #[tokio::test]
    async fn a_probe_that_does_not_go_out_leaves_its_place_to_another() {
        let (targets, clock) = targets(Limits::default());
        let (target, gone) = (origin("http://a.test"), || Seen::Unreachable("gone".into()));
        for _ in 0..3 {
            fails(&targets, &acme(), &target, gone()).await.unwrap();
        }
        drop(targets.enter(&acme(), &target, WITHIN).await.map(|_| ()).unwrap_err());
        clock.advance(Duration::from_secs(30));
        for _ in 0..3 {
            drop(targets.enter(&acme(), &target, WITHIN).await.unwrap());
        }
        let mut probe = targets.enter(&acme(), &target, WITHIN).await.unwrap();
        probe.begins();
        drop(probe);
        assert!(targets.enter(&acme(), &target, WITHIN).await.is_err(), "one was sent, and nothing is known of it");
    }

    #[tokio::test]
    async fn a_flood_of_names_makes_nothing_forgotten_that_is_open_or_in_use() {
        let (targets, _) = targets(Limits { concurrency: 1, failures: 1, ..Limits::default() });
        let (open, used, failing) = (origin("http://open.test"), origin("http://used.test"), origin("http://failing.test"));
        fails(&targets, &acme(), &open, Seen::Unreachable("gone".into())).await.unwrap();
        fails(&targets, &acme(), &failing, Seen::Failing("it answered 500".into())).await.unwrap();
        let _pass = targets.enter(&acme(), &used, WITHIN).await.unwrap();
        let hostile: Arc<str> = "hostile".into();
        for (n, seen) in (0..100_000).zip([Seen::Well, Seen::Unreachable("gone".into())].into_iter().cycle()) {
            fails(&targets, &hostile, &origin(&format!("http://{n}.test")), seen).await.unwrap();
        }
        for closed in [&open, &failing] {
            assert!(targets.enter(&acme(), closed, WITHIN).await.is_err(), "it is open still");
        }
        assert!(targets.enter(&acme(), &used, Duration::from_millis(1)).await.is_err(), "its one place is taken");
        assert!(lock(&targets.doors).len() < 50_000 && lock(&targets.own).len() < 50_000, "what is remembered is bounded");
    }
}
