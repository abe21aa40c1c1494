//! Limits of tenants, jobs, classes and memory, held by a whole runner over a real store. Whose turn it is among many: the ring's
//! own tests, in virtual time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::sync::Semaphore;
use windlass::clock::Clock;
use windlass::config::{Class, Settings};
use windlass::domain::job::Job;
use windlass::domain::run::{NewRun, Reason};
use windlass::domain::tenant::TenantLimits;
use windlass::error::Error;
use windlass::runner::Runner;
use windlass::span::Size;

use super::{SECOND, reason};
use crate::world::{TEN, World, new_run, well};

/// Guests of the job end one by one, as the test lets them.
fn gated(world: &World, job: &str) -> Arc<Semaphore> {
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    world.guests.script(job, move |_| {
        let gate = held.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            well(None)
        }
    });
    gate
}

async fn many(world: &World, job: &Job, runs: usize) {
    let answers = world.store.enqueue(vec![new_run(job); runs]).await.unwrap();
    assert!(answers.iter().all(Result::is_ok));
}

pub async fn limit(world: &World, change: impl FnOnce(&mut TenantLimits)) {
    let mut tenant = world.tenant.clone();
    change(&mut tenant.limits);
    let mut tx = world.store.begin().await.unwrap();
    tx.put_tenant(&tenant, TEN).await.unwrap();
    tx.commit().await.unwrap();
}

async fn start(world: &World, change: impl FnOnce(&mut Settings)) -> Runner {
    Runner::start(world.context_with(change)).await.unwrap()
}

/// So many have begun, and no more begin.
async fn stays_at(world: &World, job: &str, attempts: usize) {
    world.until("they run", Duration::ZERO, async || (world.guests.attempts(job) >= attempts).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(world.guests.attempts(job), attempts, "{job}");
}

async fn all_ended(world: &World, runs: u64) {
    world
        .until("all are over", Duration::ZERO, async || {
            let mut tx = world.store.read().await.unwrap();
            let done = tx.count_runs(world.tenant.id, &windlass::store::run::RunQuery::default()).await.unwrap();
            let open = tx.state_counts(world.tenant.id).await.unwrap();
            (done == runs && open.waiting + open.running == 0).then_some(())
        })
        .await;
}

#[tokio::test]
async fn v8_heavy_runs_keep_to_their_class_while_light_ones_go_on() {
    let world = World::new().await;
    let heavy = world.job("heavy", json!({"max_live": 0, "class": "heavy", "priority": 9})).await;
    let light = world.job("light", json!({"max_live": 0})).await;
    let gate = gated(&world, "heavy");
    many(&world, &heavy, 60).await;
    let runner = start(&world, |settings| {
        settings.classes.insert("heavy".into(), Class { running: Some(4), priority: 0 });
    })
    .await;
    stays_at(&world, "heavy", 4).await;
    many(&world, &light, 200).await;
    stays_at(&world, "light", 200).await;
    assert_eq!(world.guests.attempts("heavy"), 4, "what light ones left free is not the heavy ones'");
    gate.add_permits(3);
    stays_at(&world, "heavy", 7).await;
    gate.add_permits(100);
    all_ended(&world, 260).await;
    runner.drain().await;
}

#[tokio::test]
async fn the_grants_of_running_guests_stay_within_the_nodes_memory() {
    let world = World::new().await;
    let job = world.job("j", json!({"max_live": 0})).await;
    let gate = gated(&world, "j");
    many(&world, &job, 10).await;
    let context = world.context_with(|settings| settings.worker.memory_budget = Some(Size::mib(200)));
    let runner = Runner::start(context.clone()).await.unwrap();
    stays_at(&world, "j", 3).await;
    assert_eq!(context.memory.free(), 8);
    gate.add_permits(2);
    stays_at(&world, "j", 5).await;
    gate.add_permits(100);
    all_ended(&world, 10).await;
    runner.drain().await;
    assert_eq!(context.memory.free(), 200, "all is given back");
}

#[tokio::test]
async fn a_job_runs_so_often_at_a_time_as_it_says_however_many_wait() {
    let world = World::new().await;
    let job = world.job("j", json!({"max_live": 0, "running": 2})).await;
    let gate = gated(&world, "j");
    many(&world, &job, 9).await;
    let runner = start(&world, |_| {}).await;
    stays_at(&world, "j", 2).await;
    gate.add_permits(1);
    stays_at(&world, "j", 3).await;
    gate.add_permits(100);
    all_ended(&world, 9).await;
    runner.drain().await;
}

#[tokio::test]
async fn a_tenant_starts_no_more_in_a_minute_than_it_may() {
    let world = World::new().await;
    limit(&world, |limits| limits.starts_per_minute = Some(3)).await;
    let job = world.job("j", json!({"max_live": 0})).await;
    let minutes: Arc<Mutex<Vec<i64>>> = Arc::default();
    let (noted, clock) = (minutes.clone(), world.clock.clone());
    world.guests.script("j", move |_| {
        noted.lock().unwrap().push(clock.now().minute());
        std::future::ready(well(None))
    });
    many(&world, &job, 8).await;
    let runner = start(&world, |_| {}).await;
    stays_at(&world, "j", 3).await;
    world.until("all have run", 5 * SECOND, async || (world.guests.attempts("j") == 8).then_some(())).await;
    let minutes = minutes.lock().unwrap().clone();
    let first = TEN.minute();
    assert_eq!(minutes, [first, first, first, first + 1, first + 1, first + 1, first + 2, first + 2]);
    runner.drain().await;
}

/// The starts of a minute that one job does not use are the other's.
#[tokio::test]
async fn starts_that_one_job_has_no_runs_for_are_anothers() {
    let world = World::new().await;
    limit(&world, |limits| limits.starts_per_minute = Some(10)).await;
    let (few, more) = (world.job("few", json!({"max_live": 0})).await, world.job("more", json!({"max_live": 0})).await);
    many(&world, &few, 1).await;
    many(&world, &more, 6).await;
    let runner = start(&world, |_| {}).await;
    // The clock stands: all in this minute.
    stays_at(&world, "more", 6).await;
    assert_eq!(world.guests.attempts("few"), 1);
    many(&world, &few, 2).await;
    stays_at(&world, "few", 3).await;
    runner.drain().await;
}

#[tokio::test]
async fn no_more_runs_wait_than_a_tenant_may_have_and_what_is_refused_says_so() {
    let world = World::new().await;
    limit(&world, |limits| limits.waiting = Some(5)).await;
    let full = world.job("full", json!({"max_live": 0})).await;
    let timed = world.job("timed", json!({"triggers": [{"schedule": "*/5 * * * *"}]})).await;
    let mut tx = world.store.begin().await.unwrap();
    tx.pause_job(full.tenant, full.id, "ann", None, TEN).await.unwrap();
    tx.commit().await.unwrap();
    let later = NewRun { due_at: Some(TEN.plus(3_600 * SECOND)), ..new_run(&full) };
    let answers = world.store.enqueue([vec![later; 2], vec![new_run(&full); 5]].concat()).await.unwrap();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 5, "those that are due later count");
    let Some(Err(Error::TooMany(why))) = answers.last() else { panic!("{answers:?}") };
    assert!(why.starts_with("alpha has 5 runs waiting") && why.contains("limits.waiting = 5"), "{why}");
    let runner = start(&world, |_| {}).await;
    let occurrence = world
        .until("the schedule was due", 10 * SECOND, async || {
            world.store.read().await.unwrap().occurrences_of(timed.id, 1).await.unwrap().pop()
        })
        .await;
    assert_eq!((occurrence.1.as_str(), occurrence.2), ("suppressed", None));
    assert!(occurrence.3.as_deref().unwrap().contains("limits.waiting = 5"), "{occurrence:?}");
    // One has gone: there is room for one, as soon as it is counted again.
    let run = answers[2].as_ref().unwrap().id();
    let mut tx = world.store.begin().await.unwrap();
    tx.cancel(full.tenant, run, "ann", world.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    world.clock.advance(SECOND);
    let answers = world.store.enqueue(vec![new_run(&full); 2]).await.unwrap();
    assert!(answers[0].is_ok() && answers[1].is_err(), "{answers:?}");
    runner.drain().await;
}

/// No attempt is spent on waiting for a limit: who is not wanted any more after so long says so as its start deadline.
#[tokio::test]
async fn c6_a_run_behind_its_tenants_limit_asks_each_time_and_gives_up_at_its_deadline() {
    let world = World::new().await;
    limit(&world, |limits| limits.running = 1).await;
    let job = world.job("j", json!({"max_live": 0})).await;
    let gate = gated(&world, "j");
    let runner = start(&world, |_| {}).await;
    many(&world, &job, 1).await;
    stays_at(&world, "j", 1).await;
    let ten_minutes = TEN.plus(600 * SECOND);
    let hasty = NewRun { start_by: Some(ten_minutes), ..new_run(&job) };
    let [first, second] = world.store.enqueue(vec![hasty; 2]).await.unwrap().try_into().unwrap();
    let (first, second) = (first.unwrap().id(), second.unwrap().id());
    for _ in 0..9 {
        world.clock.advance(60 * SECOND);
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(world.run(first).await.attempt, 0, "the limit is asked each time, and waiting is no attempt");
    }
    gate.add_permits(1);
    stays_at(&world, "j", 2).await;
    world.clock.advance(120 * SECOND);
    gate.add_permits(1);
    assert_eq!(world.ended(first, Duration::ZERO).await.state.word(), "succeeded", "it began in time");
    let late = world.ended(second, Duration::ZERO).await;
    assert_eq!((reason(&late.state), world.guests.attempts("j")), (Some(Reason::StartDeadline), 2), "its guest never began");
    runner.drain().await;
}
