//! What becomes of a backlog over time.

use std::time::Duration;

use serde_json::json;
use windlass::domain::attempt::Counts;
use windlass::domain::run::State;
use windlass::store::run::RunQuery;

use crate::world::{TEN, World, tenant, well};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn v7_a_backlog_that_grows_for_ten_minutes_while_runs_succeed_is_not_kept_up_with() {
    let world = World::new().await;
    let job = world.job("drain", json!({"triggers": [{"backlog": {"probe": "plugin", "every": "15s"}}]})).await;
    let counts = Counts { taken: 10, done: 10, failed: 0, left: Some(0) };
    world.guests.script("drain", move |_| std::future::ready(well(Some(counts))));
    let runner = world.start().await;
    let health = async || world.store.read().await.unwrap().healths().await.unwrap().remove(&job.id);
    for half_minute in 0..26 {
        world.guests.backlog.lock().unwrap().insert("drain".into(), Ok(100 + 50 * half_minute));
        for _ in 0..3 {
            world.clock.advance(10 * SECOND);
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
        let early = health().await.is_some_and(|health| health.why.contains("not keeping up"));
        assert!(!early || half_minute > 18, "after {half_minute} half minutes there are not ten minutes of samples");
    }
    let lagging = async || health().await.filter(|health| health.why.starts_with("not keeping up: "));
    let found = world.until("it is said", SECOND, lagging).await;
    assert_eq!(found.health.word(), "lagging");
    assert!(found.why.contains(" a minute come in, ") && found.why.contains("at this rate never fewer"), "{}", found.why);
    // It stands still: a promise was not given, so nothing is wrong.
    world.until("it recovers", 10 * SECOND, async || health().await.filter(|health| health.health.word() == "ok")).await;
    runner.drain().await;
}

#[tokio::test]
async fn a_cool_down_holds_the_next_run_back_and_a_threshold_the_first() {
    let world = World::new().await;
    let backlog = json!({"probe": "plugin", "every": "15s", "start_above": 100, "cool_down": "5m"});
    let job = world.job("drain", json!({"triggers": [{"backlog": backlog}]})).await;
    // Runs that say nothing of what they did: they rest all the same.
    world.guests.script("drain", |_| std::future::ready(well(None)));
    let level = |size: u64| drop(world.guests.backlog.lock().unwrap().insert("drain".into(), Ok(size)));
    level(100);
    let runner = world.start().await;
    let measured = |n| {
        let guests = world.guests.clone();
        async move || (guests.measured.lock().unwrap().len() >= n).then_some(())
    };
    world.until("it is measured", 10 * SECOND, measured(5)).await;
    assert_eq!(world.guests.attempts("drain"), 0);
    level(101);
    world.until("it starts", SECOND, async || (world.guests.attempts("drain") == 1).then_some(())).await;
    level(60);
    world.until("it goes on below the threshold", SECOND, async || (world.guests.attempts("drain") > 1).then_some(())).await;
    let query = RunQuery { job: Some(job.id), limit: 10, ..RunQuery::default() };
    let mut runs = world.store.read().await.unwrap().runs(world.tenant.id, &query).await.unwrap();
    runs.sort_by_key(|run| run.created_at);
    let State::Succeeded { ended_at, .. } = runs[0].state else { panic!("{:?}", runs[0]) };
    let rested = runs[1].created_at.since(ended_at);
    assert!(rested >= 300 * SECOND, "it cools down: {rested:?}");
    runner.drain().await;
}

/// More hang than have places, so that what they have they never give back.
#[tokio::test]
async fn w3_wikis_that_hang_or_refuse_do_not_delay_the_edit_of_another() {
    let world = World::new().await;
    let spec = json!({"triggers": [{"backlog": {"probe": "plugin", "every": "15s"}}]});
    let mut tx = world.store.begin().await.unwrap();
    let beta = tenant(tx.new_id(), "beta");
    tx.put_tenant(&beta, TEN).await.unwrap();
    tx.commit().await.unwrap();
    for n in 0..150 {
        let name = format!("hangs-{n}");
        world.guests.hung.lock().unwrap().insert(name.clone());
        world.job(&name, spec.clone()).await;
    }
    for n in 0..30 {
        let name = format!("beta-hangs-{n}");
        world.guests.hung.lock().unwrap().insert(name.clone());
        world.job_of(beta.id, &name, spec.clone()).await;
    }
    let level = |job: &str, found| drop(world.guests.backlog.lock().unwrap().insert(job.into(), found));
    let done = |counts: Counts| std::future::ready(well(Some(counts)));
    level("refuses", Err("refused".into()));
    level("full", Ok(10_000));
    world.guests.script("full", move |_| done(Counts { taken: 10, done: 10, failed: 0, left: None }));
    world.guests.script("edited", move |_| done(Counts { taken: 1, done: 1, failed: 0, left: Some(0) }));
    for job in ["refuses", "full", "edited"] {
        world.job_of(beta.id, job, spec.clone()).await;
    }
    let runner = world.start().await;
    let asked = |of: &str| world.guests.measured.lock().unwrap().iter().filter(|job| job.starts_with(of)).count();
    let all = async || (asked("hangs-") == 64 && asked("beta-hangs-") == 30).then_some(());
    world.until("all hang that can", SECOND, all).await;
    world.until("work is done beside them", SECOND, async || (world.guests.attempts("full") > 3).then_some(())).await;
    level("edited", Ok(1));
    world.until("the edit's job is done", SECOND, async || (world.guests.attempts("edited") > 0).then_some(())).await;
    assert_eq!(asked("hangs-"), 64, "no more places for who has that many");
    runner.drain().await;
}

#[tokio::test]
async fn w7_runs_that_do_not_say_what_they_did_make_a_job_stuck_when_nothing_gets_less() {
    let world = World::new().await;
    let job = world.job("drain", json!({"triggers": [{"backlog": {"probe": "plugin", "every": "15s"}}]})).await;
    world.guests.script("drain", |_| std::future::ready(well(None)));
    let level = |size: u64| drop(world.guests.backlog.lock().unwrap().insert("drain".into(), Ok(size)));
    level(5);
    let runner = world.start().await;
    let health = async |word: &'static str| {
        let found = world.store.read().await.unwrap().healths().await.unwrap().remove(&job.id);
        found.filter(|health| health.health.word() == word)
    };
    world.until("it is stuck", 5 * SECOND, async || health("stuck").await).await;
    level(4);
    world.until("it is not any more", 5 * SECOND, async || health("ok").await).await;
    runner.drain().await;
}
