//! Whether the server itself lives: its loops, its nodes, its heartbeat outwards.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use windlass::clock::Clock;
use windlass::config::{Heartbeat, Settings};
use windlass::runner::{Context, Runner};
use windlass::span::Span;
use windlass::store::Store;
use windlass::vault::Vault;
use windlass::web::{self, Options};

use super::world::{Hook, SECOND, rule};
use crate::api::world::Served;
use crate::database;
use crate::world::{Scripted, World, new_run};

async fn health(address: SocketAddr) -> (u16, String) {
    let ask = move || {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let mut answer = agent.get(format!("http://{address}/healthz")).call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn v6_a_process_that_lives_and_does_nothing_says_so_within_ninety_seconds() {
    let served = Served::new().await;
    let (world, hook) = (&served.world, Hook::open().await);
    world.job("often", json!({ "triggers": [{ "schedule": "* * * * *" }] })).await;
    let heartbeat = Some(Heartbeat { url: format!("{}/ping", hook.origin), every: Span::secs(60) });
    let context = world.context_with(|settings| settings.heartbeat = heartbeat);
    let options = Options { duties: context.duties.clone(), ..Options::default() };
    let router = web::router(served.app.clone(), options).into_make_service_with_connect_info::<SocketAddr>();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let runner = Runner::start(context).await.unwrap();
    let beats = async || (hook.got().len() >= 3).then(|| hook.got());
    let got = world.until("three heartbeats", 10 * SECOND, beats).await;
    assert!(got.iter().all(|got| got.path == "/ping"));
    // The clock may have run ahead of loops that are slow here.
    let well = async || Some(health(address).await).filter(|(status, _)| *status == 200);
    world.until("all is well", Duration::ZERO, well).await;

    // Somebody has the database for himself and does not give it back.
    let held = world.store.begin().await.unwrap();
    let (began, beaten) = (world.clock.now(), hook.got().len());
    let ill = async || Some(health(address).await).filter(|(status, _)| *status == 503);
    let (_, why) = world.until("it says so", 5 * SECOND, ill).await;
    assert!(world.clock.now().since(began) <= 90 * SECOND, "{:?}", world.clock.now().since(began));
    assert!(why.contains("has not come round for"), "{why}");
    for _ in 0..30 {
        world.clock.advance(10 * SECOND);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // One at most was on its way before the first loop was missed.
    assert!(hook.got().len() <= beaten + 2, "the heartbeat stopped too");

    drop(held);
    world.until("it is well again", SECOND / 10, well).await;
    runner.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v6_a_clock_that_is_set_makes_no_loop_hang_and_hides_none() {
    let world = World::new().await;
    let context = world.context();
    let duties = context.duties.clone();
    let runner = Runner::start(context).await.unwrap();
    let hanging = || duties.hanging(world.clock.uptime());
    let hour = 3_600_000;
    world.clock.step(2 * hour);
    assert_eq!(hanging(), Vec::<String>::new(), "two hours that nobody waited for");
    let held = world.store.begin().await.unwrap();
    world.clock.step(-12 * hour);
    let began = world.clock.uptime();
    let ill = async || Some(hanging()).filter(|hanging| !hanging.is_empty());
    let why = world.until("it says so although it is earlier than before", 5 * SECOND, ill).await;
    assert!(world.clock.uptime() - began <= 90 * SECOND && why[0].contains("has not come round for"), "{why:?}");
    drop(held);
    runner.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v6_a_node_whose_clock_is_far_off_says_that_it_schedules_nothing() {
    if !database::is_postgres() {
        return;
    }
    let world = World::new().await;
    let (context, _, store) = other_with(&world, Span::secs(5)).await;
    let duties = context.duties.clone();
    let runner = Runner::start(context).await.unwrap();
    let why = async || {
        tokio::time::sleep(Duration::from_millis(20)).await;
        duties.hanging(world.clock.uptime()).pop()
    };
    let why = world.until("it says why", Duration::ZERO, why).await;
    assert!(why.contains("from the database's: it claims and schedules nothing until it is set"), "{why}");
    runner.drain().await;
    store.close().await;
}

/// Another node on the same database, with guests of its own.
async fn other(world: &World) -> (Arc<Context>, Arc<Scripted>, Store) {
    // The clock is the test's, the database's is the machine's.
    other_with(world, Span::secs(u32::MAX.into())).await
}

async fn other_with(world: &World, skew: Span) -> (Arc<Context>, Arc<Scripted>, Store) {
    let store = Store::open(world.store.database().clone(), Arc::new(world.clock.clone())).await.unwrap();
    let clock: Arc<dyn Clock> = Arc::new(world.clock.clone());
    let vault = Arc::new(Vault::open(&world.dir.path().join("secret.key"), None).unwrap());
    let mut settings = Settings::default();
    settings.lease.skew = skew;
    let guests: Arc<Scripted> = Arc::default();
    let (egress, settings) = (world.egress(), Arc::new(settings));
    let context = Context::new(store.clone(), guests.clone(), egress, clock, settings, vault, world.objects());
    (context, guests, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn v5_a_node_that_stops_taking_one_job_is_told_within_two_minutes() {
    if !database::is_postgres() {
        return;
    }
    let world = World::new().await;
    let hook = Hook::open().await;
    super::world::tells(&world, &hook, &["node"]).await;
    let job = world.job("drain", json!({ "max_live": 0 })).await;
    let (near, (far, far_guests, far_store)) = (world.context(), other(&world).await);
    let (near, far) = (Runner::start(near).await.unwrap(), Runner::start(far).await.unwrap());
    let both = async || {
        for _ in 0..20 {
            world.store.enqueue(vec![new_run(&job)]).await.unwrap();
        }
        (far_guests.attempts("drain") > 0 && world.guests.attempts("drain") > 0).then_some(())
    };
    world.until("both take it", Duration::ZERO, both).await;
    far_guests.lacks.lock().unwrap().insert("sha256:none".into());
    // What it had begun is over.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = world.clock.now();
    let told = async || {
        for _ in 0..5 {
            world.store.enqueue(vec![new_run(&job)]).await.unwrap();
        }
        hook.got().first().cloned()
    };
    // Small steps: what takes its time on a busy machine (claims, ends, the message) takes less of the clock's.
    let got = world.until("it is told", SECOND / 4, told).await;
    assert_eq!(got.words(), "raised node alpha/drain");
    assert_eq!(got.json()["data"]["node"], json!(far_store.node()));
    assert!(world.clock.now().since(began) <= 120 * SECOND, "{:?}", world.clock.now().since(began));
    far.drain().await;
    near.drain().await;
    far_store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v6_a_node_that_died_is_told_by_another() {
    if !database::is_postgres() {
        return;
    }
    let world = World::new().await;
    let hook = Hook::open().await;
    let (_, _, dead) = other(&world).await;
    let alerts = vec![rule(&json!({ "when": ["node"], "webhook": format!("{}/hook", hook.origin) }))];
    let runner = Runner::start(world.context_with(|settings| settings.alerts = alerts)).await.unwrap();
    // Nothing beats for it: the reaper, which counts in real time, finds it dead after the lease.
    let told = async || {
        tokio::time::sleep(Duration::from_millis(40)).await;
        hook.got().first().cloned()
    };
    let got = world.until("it is told", SECOND, told).await;
    assert_eq!((got.words().as_str(), &got.json()["data"]["node"]), ("raised node -/-", &json!(dead.node())));
    runner.drain().await;
}
