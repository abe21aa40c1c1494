//! What becomes of a backlog over time.

use std::time::Duration;

use serde_json::json;
use windlass::domain::attempt::Counts;
use windlass::domain::run::State;
use windlass::store::run::RunQuery;

use crate::world::{World, well};

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
