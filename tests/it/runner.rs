//! The runner over a real store, with guests that follow a script and a clock that is moved by hand.

pub mod artifacts;
mod backlog;
mod ends;
pub mod fairness;
mod fanout;
pub mod items;
mod limits;
mod notices;
mod outside;
mod recording;
mod request;
mod rollouts;
mod schedules;
mod steps;
pub mod traces;
mod wiki;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use windlass::clock::Clock;
use windlass::domain::attempt::{Class, Counts, Outcome};
use windlass::domain::run::{Reason, State};
use windlass::plugin::{StateAnswer, StateAsk, StateCall};
use windlass::runner::Runner;

use crate::world::{TEN, World, transient, well};

const SECOND: Duration = Duration::from_secs(1);

fn reason(state: &State) -> Option<Reason> {
    match state {
        State::Dead { reason, .. } => Some(*reason),
        _ => None,
    }
}

#[tokio::test]
async fn t3_five_attempts_with_growing_delays_then_dead() {
    let world = World::new().await;
    let job = world.job("j", json!({})).await;
    world.guests.script("j", |_| std::future::ready(transient("connection refused")));
    let runner = world.start().await;
    let id = world.enqueue(&job).await;
    let run = world.ended(id, Duration::from_millis(500)).await;
    assert_eq!((reason(&run.state), run.failed, run.attempt), (Some(Reason::AttemptsSpent), 5, 5));
    let attempts = world.store.read().await.unwrap().attempts_of(&run).await.unwrap();
    assert_eq!(attempts.len(), 5, "each with its reason");
    let delays: Vec<i64> = attempts.iter().rev().filter_map(|attempt| attempt.delay_ms).collect();
    assert_eq!(delays.len(), 4, "none after the last: {delays:?}");
    for (delay, right) in delays.iter().zip([1_000, 2_000, 4_000, 8_000]) {
        assert!((right * 8 / 10..=right * 12 / 10).contains(delay), "{delays:?}");
    }
    runner.drain().await;
}

#[tokio::test]
async fn a_permanent_failure_is_dead_at_once_and_a_snooze_spends_nothing() {
    let world = World::new().await;
    let (bad, snoozing) = (world.job("bad", json!({})).await, world.job("snoozing", json!({})).await);
    world.guests.script("bad", |_| std::future::ready(Outcome::failed(Class::Permanent, "400 Invalid or stale signature")));
    world.guests.script("snoozing", |work| {
        let outcome = if work.attempt < 9 { Outcome::failed(Class::Snooze, "read-only") } else { well(None) };
        std::future::ready(outcome)
    });
    let runner = world.start().await;
    let (dead, id) = (world.enqueue(&bad).await, world.enqueue(&snoozing).await);
    let run = world.ended(dead, Duration::ZERO).await;
    assert_eq!((reason(&run.state), run.attempt), (Some(Reason::Permanent), 1));
    let run = world.ended(id, 5 * SECOND).await;
    assert_eq!((run.state.word(), run.failed, run.snoozed, run.attempt), ("succeeded", 0, 8, 9));
    runner.drain().await;
}

#[tokio::test]
async fn a_secret_that_is_not_set_yet_is_waited_for_while_the_job_is_new() {
    let world = World::new().await;
    let granted =
        |name: &str| json!({"grant": {"secrets": [{"name": name, "use": "sign", "algorithm": "hmac-sha1", "begins_with": "a"}]}});
    let (late, never) = (world.job("late", granted("key")).await, world.job("never", granted("other")).await);
    let context = world.context();
    let (nonce, sealed) = context.vault.seal(late.tenant, "key", b"hunter2").unwrap();
    let runner = Runner::start(context).await.unwrap();
    let (late, never) = (world.enqueue(&late).await, world.enqueue(&never).await);
    let waiting =
        world.until("deferred", Duration::ZERO, async || Some(world.run(late).await).filter(|run| run.snoozed > 0)).await;
    let State::Waiting { why, .. } = &waiting.state else { panic!("{waiting:?}") };
    assert!(why.as_deref().unwrap().contains("\"key\" is not set yet: windlass secret set alpha/key"), "{why:?}");
    assert_eq!(world.guests.attempts("late"), 0, "nothing began");
    let mut tx = world.store.begin().await.unwrap();
    tx.put_secret(waiting.tenant, "key", nonce, sealed, TEN).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(world.ended(late, SECOND).await.failed, 0);
    // For good it is not: what nobody sets is told by who misses it.
    world.ended(never, 10 * SECOND).await;
    let waited = world.clock.now().since(TEN);
    assert!(world.guests.attempts("never") == 1 && waited >= Duration::from_secs(600), "{waited:?}");
    runner.drain().await;
}

#[tokio::test]
async fn more_failed_pieces_than_the_threshold_are_dead_and_fewer_are_not() {
    let world = World::new().await;
    for (name, failed, state, outcome) in [("half", 10, "succeeded", "succeeded"), ("more", 11, "dead", "failed")] {
        let job = world.job(name, json!({})).await;
        let counts = Counts { taken: 20, done: 20 - failed, failed, left: Some(0) };
        world.guests.script(name, move |_| std::future::ready(well(Some(counts))));
        let runner = world.start().await;
        let run = world.ended(world.enqueue(&job).await, Duration::ZERO).await;
        assert_eq!(run.state.word(), state, "{name}");
        assert_eq!(run.counts, Some(counts));
        let attempts = world.store.read().await.unwrap().attempts_of(&run).await.unwrap();
        assert_eq!(attempts[0].outcome, outcome, "what the guest called well is not, when its job says so");
        runner.drain().await;
    }
}

#[tokio::test]
async fn a_drain_hands_back_what_does_not_end_and_spends_nothing() {
    let world = World::new().await;
    let job = world.job("j", json!({"max_live": 0})).await;
    // One listens, one has to be stopped.
    world.guests.script("j", |work| {
        let (stop, deaf) = (work.stop.clone(), work.input.contains("deaf"));
        async move {
            loop {
                tokio::time::sleep(Duration::from_millis(5)).await;
                if stop.now.load(Ordering::Acquire) {
                    return Outcome::Cancelled;
                }
                if !deaf && stop.asked.load(Ordering::Acquire) {
                    return well(None);
                }
            }
        }
    });
    let runner = world.start().await;
    let listens = world.enqueue(&job).await;
    let mut deaf = crate::world::new_run(&job);
    deaf.input = Some(json!({"deaf": true}));
    let deaf = world.store.enqueue(vec![deaf]).await.unwrap().remove(0).unwrap().id();
    world.until("both run", Duration::ZERO, async || (world.guests.attempts("j") == 2).then_some(())).await;
    let clock = world.clock.clone();
    let moved = tokio::spawn(async move {
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            clock.advance(SECOND);
        }
    });
    runner.drain().await;
    moved.abort();
    assert_eq!(world.run(listens).await.state.word(), "succeeded");
    let run = world.run(deaf).await;
    assert_eq!((run.state.word(), run.failed, run.lost, run.snoozed), ("waiting", 0, 0, 0));
}

#[tokio::test]
async fn w5_poll_button_and_cron_together_make_one_run() {
    let world = World::new().await;
    let triggers = json!([
        {"backlog": {"probe": "plugin", "every": "15s"}},
        {"schedule": "* * * * *"},
    ]);
    let job = world.job("drain", json!({"triggers": triggers})).await;
    world.guests.backlog.lock().unwrap().insert("drain".into(), Ok(300));
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let held = gate.clone();
    world.guests.script("drain", move |_| {
        let gate = held.clone();
        async move {
            let _open = gate.acquire().await;
            well(Some(Counts { taken: 300, done: 300, failed: 0, left: Some(0) }))
        }
    });
    let runner = world.start().await;
    world.until("it runs", SECOND, async || (world.guests.attempts("drain") == 1).then_some(())).await;
    let pressed = world.enqueue(&job).await;
    let merged = world
        .until("the schedule was merged", SECOND, async || {
            let occurrences = world.store.read().await.unwrap().occurrences_of(job.id, 5).await.unwrap();
            occurrences.into_iter().find(|(_, result, _, _)| result == "merged")
        })
        .await;
    assert_eq!(merged.2, Some(pressed), "all of them are the one run");
    assert_eq!(world.guests.attempts("drain"), 1);
    world.guests.backlog.lock().unwrap().insert("drain".into(), Ok(0));
    gate.add_permits(100);
    assert_eq!(world.ended(pressed, SECOND).await.state.word(), "succeeded");
    runner.drain().await;
}

#[tokio::test]
async fn a_paused_job_waits_and_its_schedule_is_suppressed() {
    let world = World::new().await;
    let job = world.job("j", json!({"triggers": [{"schedule": "*/5 * * * *"}]})).await;
    let mut tx = world.store.begin().await.unwrap();
    tx.pause_job(job.tenant, job.id, "ann", None, crate::world::TEN).await.unwrap();
    tx.commit().await.unwrap();
    let runner = world.start().await;
    let id = world.enqueue(&job).await;
    let found = world
        .until("the schedule was suppressed", 10 * SECOND, async || {
            world.store.read().await.unwrap().occurrences_of(job.id, 1).await.unwrap().pop()
        })
        .await;
    assert_eq!(found.1, "suppressed");
    assert_eq!(world.run(id).await.state.word(), "waiting");
    let mut tx = world.store.begin().await.unwrap();
    tx.resume_job(job.tenant, job.id, crate::world::TEN).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(world.ended(id, Duration::ZERO).await.state.word(), "succeeded");
    runner.drain().await;
}

#[tokio::test]
async fn a_pause_with_an_end_ends_by_itself() {
    let world = World::new().await;
    let job = world.job("j", json!({})).await;
    let end = world.clock.now().plus(Duration::from_secs(3_600));
    let mut tx = world.store.begin().await.unwrap();
    tx.pause_job(job.tenant, job.id, "ann", Some(end), world.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    let runner = world.start().await;
    let id = world.enqueue(&job).await;
    world.clock.advance(Duration::from_secs(3_500));
    assert_eq!(world.run(id).await.state.word(), "waiting");
    assert_eq!(world.ended(id, 10 * SECOND).await.state.word(), "succeeded");
    assert!(world.clock.now() >= end, "{:?}", world.clock.now());
    runner.drain().await;
}

#[tokio::test]
async fn t14_missed_times_are_rows_and_the_last_is_made_up_for() {
    let world = World::new().await;
    let job = world.job("j", json!({"triggers": [{"schedule": "0 * * * *"}]})).await;
    world.clock.advance(Duration::from_secs(3 * 3600 + 1_800));
    let runner = world.start().await;
    let occurrences = world
        .until("three occurrences", Duration::ZERO, async || {
            Some(world.store.read().await.unwrap().occurrences_of(job.id, 10).await.unwrap()).filter(|all| all.len() >= 3)
        })
        .await;
    let results: Vec<&str> = occurrences.iter().rev().map(|(_, result, _, _)| result.as_str()).collect();
    assert_eq!(results, ["missed", "missed", "late"]);
    runner.drain().await;
}

#[tokio::test]
async fn t14_after_a_long_downtime_it_is_the_last_time_that_is_made_up_for() {
    let world = World::new().await;
    let triggers = json!([{"schedule": "*/5 * * * *", "catch_up": "last", "start_deadline": "2h"}]);
    let job = world.job("j", json!({"triggers": triggers})).await;
    world.clock.advance(Duration::from_secs(12 * 3600 + 200));
    let runner = world.start().await;
    let last = world
        .until("an occurrence", Duration::ZERO, async || {
            world.store.read().await.unwrap().occurrences_of(job.id, 1).await.unwrap().pop()
        })
        .await;
    assert_eq!((last.1.as_str(), last.0), ("late", crate::world::TEN.plus(Duration::from_secs(12 * 3600))));
    runner.drain().await;
}

#[tokio::test]
async fn w7_a_backlog_that_cannot_be_taken_is_stuck_and_is_left_alone() {
    let world = World::new().await;
    let job = world.job("drain", json!({"triggers": [{"backlog": {"probe": "plugin", "every": "15s"}}]})).await;
    world.guests.backlog.lock().unwrap().insert("drain".into(), Ok(5));
    world.guests.script("drain", |_| std::future::ready(well(Some(Counts { left: Some(0), ..Counts::default() }))));
    let runner = world.start().await;
    let health = async || {
        world.store.read().await.unwrap().healths().await.unwrap().remove(&job.id).filter(|h| h.health.word() == "stuck")
    };
    let stuck = world.until("it is stuck", SECOND, health).await;
    assert!(stuck.why.starts_with("5 jobs, none runnable"), "{}", stuck.why);
    let attempts = world.guests.attempts("drain");
    for _ in 0..24 {
        world.clock.advance(10 * SECOND);
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    assert_eq!(world.guests.attempts("drain"), attempts, "4 minutes later it has not tried again");
    world.guests.backlog.lock().unwrap().insert("drain".into(), Ok(6));
    world.until("fresh work is tried", SECOND, async || (world.guests.attempts("drain") > attempts).then_some(())).await;
    runner.drain().await;
}

#[tokio::test]
async fn w9_a_poll_that_fails_is_never_zero() {
    let world = World::new().await;
    let job = world.job("drain", json!({"triggers": [{"backlog": {"probe": "plugin", "every": "15s"}}]})).await;
    world.guests.backlog.lock().unwrap().insert("drain".into(), Err("expected JSON, got text/html".into()));
    let runner = world.start().await;
    let health = world
        .until("it says so", 5 * SECOND, async || {
            world.store.read().await.unwrap().healths().await.unwrap().remove(&job.id).filter(|h| h.health.word() == "failing")
        })
        .await;
    assert!(health.why.contains("poll failed") && health.why.contains("text/html"), "{}", health.why);
    let probe = world.store.read().await.unwrap().probes_of(job.id).await.unwrap().remove(0);
    assert_eq!((probe.size, probe.clear_at), (None, None));
    runner.drain().await;
}

#[tokio::test]
async fn state_compares_and_sets_and_has_a_quota() {
    let world = World::new().await;
    let job = world.job("j", json!({})).await;
    world.guests.script("j", |work| {
        let port = work.state.clone();
        async move {
            let ask = async |ask: StateAsk| {
                let (answer, answered) = tokio::sync::oneshot::channel();
                port.send(StateCall { ask, answer }).await.unwrap();
                answered.await.unwrap()
            };
            let set = |value: &[u8], expected| StateAsk::Set { key: "k".into(), value: value.to_vec(), expected };
            assert!(matches!(ask(set(b"a", Some(0))).await, Ok(StateAnswer::Version(1))));
            assert_eq!(ask(set(b"b", Some(0))).await.unwrap_err().code, "conflict");
            assert!(matches!(ask(set(b"b", Some(1))).await, Ok(StateAnswer::Version(2))));
            assert_eq!(ask(set(&[0; 70_000], None)).await.unwrap_err().code, "quota");
            assert!(matches!(ask(StateAsk::Get("k".into())).await, Ok(StateAnswer::Entry(Some((value, 2)))) if value == b"b"));
            assert!(matches!(ask(StateAsk::Keys { prefix: String::new() }).await, Ok(StateAnswer::Keys(keys)) if keys == ["k"]));
            assert!(matches!(ask(StateAsk::Delete { key: "k".into(), expected: Some(2) }).await, Ok(StateAnswer::Done)));
            assert!(matches!(ask(StateAsk::Get("k".into())).await, Ok(StateAnswer::Entry(None))));
            well(None)
        }
    });
    let runner = world.start().await;
    assert_eq!(world.ended(world.enqueue(&job).await, Duration::ZERO).await.state.word(), "succeeded");
    runner.drain().await;
}

#[tokio::test]
async fn c7_a_long_delay_is_kept_and_comes_once() {
    let world = World::new().await;
    let job = world.job("j", json!({"max_live": 0})).await;
    let runs = (0..1_000).map(|_| {
        let mut run = crate::world::new_run(&job);
        run.due_at = Some(crate::world::TEN.plus(Duration::from_secs(5 * 3600)));
        run
    });
    world.store.enqueue(runs.collect()).await.unwrap();
    let runner = world.start().await;
    world.clock.advance(Duration::from_secs(4 * 3600));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(world.guests.attempts("j"), 0);
    world.until("all ran", 600 * SECOND, async || (world.guests.attempts("j") == 1_000).then_some(())).await;
    world.clock.advance(Duration::from_secs(24 * 3600));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.guests.attempts("j"), 1_000);
    runner.drain().await;
}
