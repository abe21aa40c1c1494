//! What needs a person is told: once, to whom it concerns, by sinks that are there.

mod life;
mod sinks;
pub mod world;

use std::time::Duration;

use serde_json::json;
use windlass::app::Who;
use windlass::clock::Clock;
use windlass::domain::alert::{AlertKind, Subject};
use windlass::domain::attempt::{Class, Counts, Outcome};
use windlass::domain::member::Role;
use windlass::id::Id;

use crate::api::world::Served;
use crate::world::{TEN, World, well};
use world::{Hook, SECOND, alerts, tells};

fn nothing() -> Outcome {
    well(Some(Counts { taken: 0, done: 0, failed: 0, left: None }))
}

#[tokio::test]
async fn v1_work_that_quietly_stops_is_told_within_fifteen_minutes() {
    let world = World::new().await;
    let hook = Hook::open().await;
    tells(&world, &hook, &["silent", "stuck"]).await;
    let backlog = json!({ "triggers": [{ "backlog": { "probe": "plugin", "every": "15s" } }] });
    for name in ["hangs", "idles"] {
        world.job(name, backlog.clone()).await;
        world.guests.backlog.lock().unwrap().insert(name.into(), Ok(5));
    }
    world.job("clockwork", json!({ "triggers": [{ "schedule": "*/10 * * * *" }] })).await;
    world.guests.script("hangs", |_| std::future::pending());
    world.guests.script("idles", |_| std::future::ready(nothing()));
    world.guests.script("clockwork", |_| std::future::pending());
    let runner = world.start().await;
    let all = async || (hook.got().len() >= 3).then(|| hook.got());
    let got = world.until("all three are told", 5 * SECOND, all).await;
    let mut words = hook.words();
    words.sort();
    assert_eq!(words, ["raised silent alpha/clockwork", "raised silent alpha/hangs", "raised stuck alpha/idles"]);
    // Ten o'clock is over; ten past is the first time that is due.
    assert!(world.clock.now() <= TEN.plus(10 * 60 * SECOND + 15 * 60 * SECOND), "{}", world.clock.now().rfc3339());
    for one in got {
        let message = one.json()["data"]["message"].as_str().unwrap().to_owned();
        let says = match one.json()["data"]["job"].as_str().unwrap() {
            "hangs" => "5 wait at its target, and no run has done any of them",
            "idles" => "5 jobs, none runnable",
            _ => "its schedule was due at Sun 22 Nov, 10:10 UTC",
        };
        assert!(message.contains(says), "{message}");
    }
    drop(runner);
}

#[tokio::test]
async fn w14_a_measurement_that_does_not_come_round_is_told_within_a_minute() {
    let world = World::new().await;
    let hook = Hook::open().await;
    tells(&world, &hook, &["late"]).await;
    world.job("drain", json!({ "triggers": [{ "backlog": { "probe": "plugin", "every": "60s" } }] })).await;
    let runner = world.start().await;
    let measured = async || (world.guests.measured.lock().unwrap().len() >= 2).then(|| world.clock.now());
    let last = world.until("it is measured", 5 * SECOND, measured).await;
    assert!(hook.got().is_empty());
    world.guests.hung.lock().unwrap().insert("drain".into());
    let told = async || hook.got().first().cloned();
    let got = world.until("it is told", SECOND, told).await;
    assert_eq!(got.words(), "raised late alpha/drain");
    let took = world.clock.now().since(last);
    assert!(took > 2 * 60 * SECOND && took <= (3 * 60 + 60) * SECOND, "{took:?}");
    drop(runner);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_told_once_again_after_a_while_not_while_it_is_silent_and_when_it_is_over() {
    let served = Served::new().await;
    let (world, hook) = (&served.world, Hook::open().await);
    let late = json!({ "when": ["failing"], "slack": format!("{}/called-last", hook.origin), "after": "30m" });
    let first = json!({ "when": ["failing"], "webhook": format!("{}/hook", hook.origin), "repeat": "2h" });
    alerts(world, &hook, &[first, late]).await;
    let job = world.job("bad", json!({})).await;
    world.guests.script("bad", |_| std::future::ready(Outcome::failed(Class::Permanent, "400 <no>")));
    let runner = world.start().await;
    world.enqueue(&job).await;
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let until = async |n: usize| {
        let got = async || (hook.got().len() >= n).then(|| hook.got()[n - 1].clone());
        world.until("the next message", 30 * SECOND, got).await
    };
    assert_eq!(until(1).await.words(), "raised failing alpha/bad");
    let raised = world.clock.now();
    let called = until(2).await;
    assert!(called.path == "/called-last" && world.clock.now().since(raised) >= minutes(29), "after half an hour");
    assert!(called.json()["text"].as_str().unwrap().contains("*alpha / bad: failing*\nthe last run is dead: 400 &lt;no&gt;"));
    assert_eq!(until(3).await.words(), "repeated failing alpha/bad");
    assert!(world.clock.now().since(raised) >= minutes(119));
    // Silent for a day: six hours bring nothing.
    let now = world.clock.now();
    let body = json!({ "tenant": "alpha", "job": "bad", "until": now.plus(minutes(24 * 60)) });
    let viewer = served.token(Role::Viewer, None).await;
    assert_eq!(served.ask("POST", "silences", Some(&viewer), &[], body.to_string().as_bytes()).await.status, 403);
    assert_eq!(served.post("silences", &body).await.status, 201);
    let listed = served.get("alerts").await.body;
    assert_eq!((&listed["items"][0]["kind"], &listed["items"][0]["silenced_by"]), (&json!("failing"), &json!("test")));
    for _ in 0..72 {
        world.clock.advance(minutes(5));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(hook.got().len(), 3);
    let end = json!({ "tenant": "alpha", "job": "bad" });
    assert_eq!(served.post("silences", &end).await.status, 204);
    assert_eq!(served.post("silences", &end).await.status, 404);
    let again = async || hook.words().split_off(3).contains(&"repeated failing alpha/bad".to_owned()).then_some(());
    world.until("it is told again", 30 * SECOND, again).await;
    // Who was told hears that it is over, both of them.
    let told = hook.got().len();
    world.guests.script("bad", |_| std::future::ready(well(None)));
    world.enqueue(&job).await;
    let both = async || {
        let new = hook.got().split_off(told);
        let over = |got: &&crate::alerts::world::Got| got.text.contains("recovered") || got.text.contains("no longer failing");
        (new.iter().filter(over).count() == 2).then_some(())
    };
    world.until("both hear that it is over", 10 * SECOND, both).await;
    let listed = served.get("alerts").await.body;
    let over = listed["items"].as_array().unwrap().iter().find(|alert| alert["kind"] == "failing").unwrap();
    assert!(over["closed_at"].is_string(), "{listed}");
    drop(runner);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_run_that_needs_nobody_makes_its_job_fail_no_more() {
    let served = Served::new().await;
    let world = &served.world;
    let job = world.job("bad", json!({})).await;
    world.guests.script("bad", |_| std::future::ready(Outcome::failed(Class::Permanent, "400")));
    let runner = world.start().await;
    let health = async |wanted: &str| {
        let is = async || (served.get("tenants/alpha/jobs/bad").await.body["health"] == wanted).then_some(());
        world.until(wanted, SECOND, is).await;
    };
    let run = world.enqueue(&job).await;
    health("failing").await;
    served.app.discard("alpha", run, &Who::server()).await.unwrap();
    health("ok").await;
    served.app.undo_discard("alpha", run, &Who::server()).await.unwrap();
    health("failing").await;
    // Run again, it is no answer before it has ended; then the new run speaks for it.
    world.guests.script("bad", |_| std::future::pending());
    let again = served.app.rerun("alpha", run, None, &Who::server()).await.unwrap().id();
    let running = async || (world.run(again).await.state.word() == "running").then_some(());
    world.until("it runs", SECOND, running).await;
    for _ in 0..8 {
        world.clock.advance(5 * SECOND);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    health("failing").await;
    drop(runner);
}

#[tokio::test(flavor = "multi_thread")]
async fn open_alerts_come_in_pages_and_then_those_that_ended() {
    let served = Served::new().await;
    let world = &served.world;
    let now = world.clock.now();
    let mut tx = world.store.begin().await.unwrap();
    for kind in [AlertKind::Dead, AlertKind::Late] {
        let subject = |n| Subject { tenant: world.tenant.id, job: Id(n), node: 0, kind };
        let raised: Vec<_> = (1..=60).map(|n| (subject(n), format!("{n}"))).collect();
        tx.raise_alerts(&raised, now).await.unwrap();
    }
    for alert in tx.open_alerts().await.unwrap().into_iter().take(20) {
        assert!(tx.close_alert(alert.id, now).await.unwrap());
    }
    tx.commit().await.unwrap();
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = served.get(&format!("alerts?limit=50{after}")).await.body;
        assert_eq!(page["count"], json!({ "value": 120, "capped": false }));
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 50);
        seen.extend(items.iter().map(|alert| (alert["closed_at"].is_null(), alert["id"].as_str().unwrap().to_owned())));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen.len(), 120);
    assert!(seen.is_sorted_by(|a, b| a > b), "open ones, the newest first, then ended ones");
    assert_eq!(served.get("alerts?limit=50&after=nowhere").await.status, 422);
    assert_eq!(served.get("alerts?tenant=beta").await.body["count"]["value"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_the_edge_is_one_alert() {
    let served = Served::new().await;
    let (world, hook) = (&served.world, Hook::open().await);
    tells(world, &hook, &["failing"]).await;
    let job = world.job("edge", json!({})).await;
    let runner = world.start().await;
    for round in 0..3 {
        world.guests.script("edge", |_| std::future::ready(Outcome::failed(Class::Permanent, "no")));
        world.ended(world.enqueue(&job).await, SECOND).await;
        let raised = async || (!hook.got().is_empty()).then_some(());
        world.until("it is told", SECOND, raised).await;
        world.guests.script("edge", |_| std::future::ready(well(None)));
        world.ended(world.enqueue(&job).await, SECOND).await;
        assert_eq!(hook.words(), ["raised failing alpha/edge"], "round {round}");
    }
    let over = async || (hook.got().len() == 2).then_some(());
    world.until("it is over", 5 * SECOND, over).await;
    assert_eq!(hook.words()[1], "recovered failing alpha/edge");
    drop(runner);
}
