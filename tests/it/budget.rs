//! What attempts may cost: failures, lost nodes and snoozes apart, limits of time, cancels, one number for all.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use windlass::app::Who;
use windlass::app::enqueue::Request;
use windlass::clock::Clock;
use windlass::domain::attempt::{Attempt, Class, Outcome};
use windlass::domain::job::Job;
use windlass::domain::retry::{Budget, Decision};
use windlass::domain::run::{NewRun, Reason, Run, State};
use windlass::domain::span::Size;
use windlass::domain::trigger::Cause;
use windlass::id::Id;
use windlass::store::record::{Finished, Recorded};

use crate::api::world::Served;
use crate::database::Beside;
use crate::world::{World, new_run, transient, well};

const SECOND: Duration = Duration::from_secs(1);

fn dead(run: &Run) -> Option<Reason> {
    match run.state {
        State::Dead { reason, .. } => Some(reason),
        _ => None,
    }
}

/// The attempt that ended it.
async fn last(world: &World, id: Id) -> Attempt {
    let run = world.run(id).await;
    world.store.read().await.unwrap().attempts_of(&run).await.unwrap().remove(0)
}

#[tokio::test]
async fn c4_a_run_that_kills_its_process_goes_on_at_the_next_start_but_not_for_ever() {
    let mut world = World::new().await;
    let job = world.job("j", json!({})).await;
    let id = world.enqueue(&job).await;
    for lost in 1..=2 {
        let claimed = world.claim(job.id, 1).await;
        assert_eq!((claimed[0].run.id, claimed[0].run.attempt, claimed[0].run.lost), (id, lost, lost - 1));
        world = world.reopened().await;
        // Starting takes it back; nothing claims it, for this runner's guests are never ready.
        let context = world.context();
        windlass::runner::reaper::take_back(&context).await.unwrap();
        assert_eq!(world.run(id).await.page_state(), "retrying");
        assert_eq!(world.run(id).await.failed, 0, "a crash spends no attempt");
    }
    world.claim(job.id, 1).await;
    world = world.reopened().await;
    windlass::runner::reaper::take_back(&world.context()).await.unwrap();
    assert_eq!(dead(&world.run(id).await), Some(Reason::LostTooOften));
    assert_eq!(last(&world, id).await.outcome, "lost");
    // The others live.
    let other = world.job("other", json!({})).await;
    let runner = world.start().await;
    assert_eq!(world.ended(world.enqueue(&other).await, Duration::ZERO).await.state.word(), "succeeded");
    runner.drain().await;
}

#[tokio::test]
async fn t4_a_target_that_says_when_is_not_asked_before_and_not_much_later() {
    let world = World::new().await;
    let job = world.job("j", json!({})).await;
    world.guests.script("j", |work| {
        let busy = Outcome::Failed {
            class: Class::Transient,
            message: "503".into(),
            delay: Some(Duration::from_secs(5)),
            counts: None,
            details: Vec::new(),
        };
        std::future::ready(if work.attempt == 1 { busy } else { well(None) })
    });
    let runner = world.start().await;
    let id = world.enqueue(&job).await;
    let run = world.ended(id, SECOND).await;
    let attempts = world.store.read().await.unwrap().attempts_of(&run).await.unwrap();
    let State::Succeeded { started_at, .. } = &run.state else { panic!("{run:?}") };
    assert_eq!(attempts[1].delay_ms, Some(5_000));
    assert!(started_at.since(attempts[1].started_at) >= Duration::from_secs(5));
    runner.drain().await;
}

#[tokio::test]
async fn a_cancelled_run_is_asked_and_then_stopped() {
    let world = World::new().await;
    let job = world.job("j", json!({})).await;
    world.guests.script("j", |work| {
        let stop = work.stop.clone();
        async move {
            while !stop.now.load(Ordering::Acquire) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Outcome::Cancelled
        }
    });
    let runner = world.start().await;
    let id = world.enqueue(&job).await;
    world.until("it runs", Duration::ZERO, async || (world.guests.attempts("j") == 1).then_some(())).await;
    let mut tx = world.store.begin().await.unwrap();
    tx.cancel(job.tenant, id, "ann", world.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    let asked = world.clock.now();
    let run = world.ended(id, Duration::from_millis(100)).await;
    let State::Cancelled { ended_at, .. } = run.state else { panic!("{run:?}") };
    assert!(ended_at.since(asked) <= Duration::from_secs(10), "{:?}", ended_at.since(asked));
    runner.drain().await;
}

#[tokio::test]
async fn v9_the_last_attempt_says_how_it_ended_and_a_time_out_is_no_error() {
    let world = World::new().await;
    let runner = world.start().await;
    for (name, outcome) in [
        ("timed-out", Outcome::TimedOut { message: "no progress for 30s".into() }),
        ("trapped", Outcome::Trapped { message: "stack overflow".into() }),
        ("out-of-memory", Outcome::OutOfMemory { wanted: Size(2), limit: Size(1) }),
        ("transient", transient("503")),
    ] {
        let job = world.job(name, json!({ "retry": { "attempts": 1 } })).await;
        let (word, says) = (outcome.word(), outcome.message());
        world.guests.script(name, move |_| std::future::ready(outcome.clone()));
        let run = world.ended(world.enqueue(&job).await, Duration::ZERO).await;
        assert_eq!(dead(&run), Some(Reason::AttemptsSpent), "{name}");
        let last = last(&world, run.id).await;
        assert_eq!((last.outcome.as_str(), last.message), (word, Some(says)), "{name}");
        assert_eq!(last.node, world.store.node(), "{name}");
    }
    runner.drain().await;
}

#[tokio::test]
async fn no_attempt_begins_after_the_total_limit_whatever_it_waits_for() {
    let world = World::new().await;
    let runner = world.start().await;
    for (name, class) in [("failing", Class::Transient), ("snoozing", Class::Snooze)] {
        let job = world.job(name, json!({ "time_limit": "10s", "total_limit": "60s", "retry": { "attempts": 100 } })).await;
        let (clock, began) = (world.clock.clone(), Arc::new(Mutex::new(Vec::new())));
        let noted = began.clone();
        world.guests.script(name, move |_| {
            noted.lock().unwrap().push(clock.now());
            std::future::ready(Outcome::failed(class, "not now"))
        });
        let id = world.enqueue(&job).await;
        let run = world.ended(id, SECOND).await;
        assert_eq!(dead(&run), Some(Reason::TotalLimit), "{name}");
        let began = began.lock().unwrap().clone();
        assert!(began.len() > 1, "{name}: it was tried again while there was time");
        assert!(began.iter().all(|at| at.since(began[0]) <= Duration::from_secs(60)), "{name}: {began:?}");
    }
    runner.drain().await;
}

#[tokio::test]
async fn a_run_that_could_not_start_in_time_does_not_start() {
    let served = Served::new().await;
    let world = &served.world;
    world.job("j", json!({ "max_live": 0, "start_deadline": "60s" })).await;
    let who = Who::server();
    let asked = served.app.run_now("alpha", "j", Request::default(), Cause::Api, &who).await.unwrap().id();
    served.app.pause("alpha", "j", None, &who).await.unwrap();
    world.clock.advance(Duration::from_secs(61));
    served.app.resume("alpha", "j", &who).await.unwrap();
    let runner = world.start().await;
    let run = world.ended(asked, Duration::ZERO).await;
    assert_eq!((dead(&run), run.failed), (Some(Reason::StartDeadline), 0));
    assert_eq!(last(world, asked).await.outcome, "too_late");
    assert_eq!(world.guests.attempts("j"), 0, "it did not start");
    // Run again, it has its time anew.
    served.app.pause("alpha", "j", None, &who).await.unwrap();
    let again = served.app.rerun("alpha", asked, None, &who).await.unwrap().id();
    let by = |run: &Run| run.start_by.map(|by| by.since(run.created_at));
    assert_eq!(by(&world.run(again).await), Some(Duration::from_secs(60)));
    runner.drain().await;
}

#[tokio::test]
async fn c8_everybody_sees_the_number_that_the_claim_gave() {
    let mut world = World::new().await;
    let job = world.job("j", json!({})).await;
    let id = world.enqueue(&job).await;
    // Two nodes die with it, then it fails, is put off, and succeeds.
    for _ in 0..2 {
        world.claim(job.id, 1).await;
        world = world.reopened().await;
        windlass::runner::reaper::take_back(&world.context()).await.unwrap();
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = seen.clone();
    world.guests.script("j", move |work| {
        told.lock().unwrap().push(work.attempt);
        std::future::ready(match work.attempt {
            3 => transient("503"),
            4 => Outcome::failed(Class::Snooze, "read-only"),
            _ => well(None),
        })
    });
    let runner = world.start().await;
    let run = world.ended(id, SECOND).await;
    assert_eq!((run.attempt, run.failed, run.lost, run.snoozed), (5, 1, 2, 1));
    assert_eq!(*seen.lock().unwrap(), [3, 4, 5], "the guest");
    let attempts = world.store.read().await.unwrap().attempts_of(&run).await.unwrap();
    let shown: Vec<_> = attempts.iter().rev().map(|attempt| (attempt.attempt, attempt.outcome.as_str())).collect();
    assert_eq!(shown, [(1, "lost"), (2, "lost"), (3, "transient"), (4, "snoozed"), (5, "succeeded")]);
    runner.drain().await;
}

#[tokio::test]
async fn c11_what_cannot_be_read_ends_its_own_run_alone() {
    let world = World::new().await;
    let (bad, good) = (world.job("bad", json!({ "max_live": 0 })).await, world.job("good", json!({})).await);
    world.guests.script("bad", |_| std::future::ready(Outcome::Undecodable { message: "its plugin cannot be loaded".into() }));
    // One names a definition that is not there, the other's plugin is broken.
    let runs = vec![NewRun { revision: Id(42), ..new_run(&bad) }, new_run(&bad)];
    let ids = world.store.enqueue(runs).await.unwrap();
    let [unreadable, unloadable] = [ids[0].as_ref().unwrap().id(), ids[1].as_ref().unwrap().id()];
    let runner = world.start().await;
    for id in [unreadable, unloadable] {
        let run = world.ended(id, Duration::ZERO).await;
        assert_eq!((dead(&run), run.attempt), (Some(Reason::Undecodable), 1), "{run:?}");
        assert_eq!(last(&world, id).await.outcome, "undecodable");
    }
    assert_eq!(world.ended(world.enqueue(&good).await, Duration::ZERO).await.state.word(), "succeeded");
    runner.drain().await;
}

/// A row that was damaged, or one that a later version wrote.
#[tokio::test]
async fn c11_a_job_that_cannot_be_read_stands_still_alone() {
    let world = World::new().await;
    let (bad, good) = (world.job("bad", json!({})).await, world.job("good", json!({})).await);
    let mut beside = Beside::open(world.store.database()).await;
    beside.exec(format!("UPDATE job_revision SET spec = '{{\"name\": 1}}' WHERE id = {}", bad.revision.0)).await;
    let id = world.enqueue(&bad).await;
    let runner = world.start().await;
    assert_eq!(dead(&world.ended(id, Duration::ZERO).await), Some(Reason::Undecodable));
    assert_eq!(world.ended(world.enqueue(&good).await, Duration::ZERO).await.state.word(), "succeeded");
    runner.drain().await;
    let mut tx = world.store.begin().await.unwrap();
    let names = |jobs: Vec<Job>| jobs.into_iter().map(|job| job.spec.name).collect::<Vec<_>>();
    assert_eq!(names(tx.jobs().await.unwrap()), ["good"]);
    let mended = tx.put_job(bad.tenant, &bad.spec, &bad.digest, "a person", world.clock.now()).await.unwrap();
    assert_eq!(mended.id, bad.id, "applying its file again mends it, and its history is its own");
    assert_eq!(names(tx.jobs().await.unwrap()), ["bad", "good"]);
}

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Logged {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[tokio::test]
async fn a_late_end_changes_nothing_and_is_logged_as_late() {
    let world = World::new().await;
    let job = world.job("j", json!({})).await;
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let held = gate.clone();
    let claims: Arc<Mutex<Vec<u32>>> = Arc::default();
    let seen = claims.clone();
    world.guests.script("j", move |work| {
        let (gate, attempt) = (held.clone(), work.attempt);
        seen.lock().unwrap().push(attempt);
        async move {
            if attempt == 1 {
                let _open = gate.acquire().await;
                return Outcome::failed(Class::Permanent, "the late word");
            }
            well(None)
        }
    });
    let logged = Logged::default();
    let writer = logged.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let runner = world.start().await;
    let id = world.enqueue(&job).await;
    world.until("it runs", Duration::ZERO, async || (!claims.lock().unwrap().is_empty()).then_some(())).await;
    // Its node is held for dead: the run goes on elsewhere and ends well.
    let run = world.run(id).await;
    let State::Running { started_at, .. } = run.state else { panic!("{run:?}") };
    let run = Run { fence: 1, state: State::Running { node: 1, started_at, stopping: false }, ..run };
    let why = "its node was lost";
    let again = Decision::Again { due_at: world.clock.now(), delay: Duration::ZERO, why: why.into(), spent: Budget::Lost };
    let lost = Finished::new(run, again, "lost", why);
    assert_eq!(world.store.record(vec![lost]).await.unwrap(), [Recorded::Yes]);
    let before = world.ended(id, Duration::ZERO).await;
    gate.add_permits(1);
    world
        .until("it is logged", Duration::ZERO, async || logged.text().contains("late: the lease has passed").then_some(()))
        .await;
    assert!(logged.text().contains(&format!("run.id={id} attempt=1")), "{}", logged.text());
    assert_eq!(world.run(id).await, before);
    assert_eq!((before.state.word(), before.attempt, before.lost), ("succeeded", 2, 1));
    runner.drain().await;
}
