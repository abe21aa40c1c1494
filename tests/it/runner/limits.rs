//! Each limit of an attempt has a hostile guest that runs into it, in a real sandbox over a real store: it is told which limit
//! that was and what raises it, and its run says what it took.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::routing::any;
use serde_json::{Value, json};
use windlass::config::Settings;
use windlass::domain::grant::Ceiling;
use windlass::domain::job::Job;
use windlass::domain::limits::Limits;
use windlass::id::Id;
use windlass::span::Size;

use super::steps::started;
use crate::plugin::{guests, modules, sandbox};
use crate::world::{TEN, World};

/// What the grant gives, the attack, and how much of the limit it took then; `None`: that is not counted, or nothing.
type Case = (Value, Value, Option<u64>);

/// By the key of the limit. `url`: of a target that answers 10 bytes.
fn cases(url: &str) -> BTreeMap<&'static str, Case> {
    let attack = |name: &str, rest: Value| {
        let mut input = json!({ "attack": name, "url": url });
        input.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        input
    };
    BTreeMap::from([
        ("output_bytes", (json!("100 B"), attack("big_data", json!({ "bytes": 200 })), None)),
        ("log_bytes", (json!("5500 B"), attack("log_flood", json!({ "n": 50 })), Some(5 * 1_064))),
        ("log_lines", (json!(3), attack("log_flood", json!({ "n": 50 })), Some(3))),
        ("requests", (json!(3), attack("http_flood", json!({ "n": 5 })), Some(5))),
        ("open_requests", (json!(2), attack("unread", json!({ "n": 4, "ms": 1 })), Some(2))),
        ("request_bytes", (json!("1500 B"), attack("http", json!({ "method": "POST", "bytes": 1_501 })), Some(1_501))),
        ("response_bytes", (json!("9 B"), attack("http", json!({})), Some(10))),
        ("state_keys", (json!(3), attack("state_flood", json!({ "n": 10, "bytes": 1 })), Some(3))),
        ("state_bytes", (json!("100 B"), attack("state_flood", json!({ "n": 10, "bytes": 20 })), Some(3 * 27))),
        ("items", (json!(5), attack("items_flood", json!({ "n": 6 })), None)),
        ("item_bytes", (json!("1000 B"), attack("items_flood", json!({ "n": 3, "bytes": 400 })), None)),
        ("artifacts", (json!(2), attack("artifact", json!({ "n": 3 })), Some(2))),
        ("artifact_bytes", (json!("2000 B"), attack("artifact", json!({ "n": 2, "bytes": 1_500 })), Some(1_500))),
        ("table_elements", (json!(5_000), json!({}), None)),
        ("instances", (json!(1), attack("echo", json!({})), None)),
        ("handles", (json!(50), attack("handles", json!({})), None)),
    ])
}

async fn target() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(any(|| std::future::ready("0123456789")));
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

/// All that a person who looks at the run is told: its end, what its guest answered, its requests, its log.
async fn told(world: &World, id: Id) -> String {
    let run = world.run(id).await;
    let mut tx = world.store.read().await.unwrap();
    let payload = tx.payload(run.tenant, id).await.unwrap();
    let (lines, dropped) = tx.log_of(run.tenant, id, 0, 0).await.unwrap();
    let calls = tx.calls_of(run.tenant, id).await.unwrap();
    let errors = calls.into_iter().filter_map(|(_, call)| call.error).collect::<Vec<_>>().join("\n");
    format!("{:?}\n{:?}\n{errors}\n{} lines, {dropped} dropped", run.message, payload.output, lines.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_limit_has_a_hostile_guest_that_is_told_its_name_and_what_raises_it() {
    let (world, url) = (World::new().await, target().await);
    let mut tenant = world.tenant.clone();
    tenant.ceiling = Ceiling { hosts: vec![url.clone()], networks: vec!["127.0.0.0/8".into()], ..Ceiling::default() };
    let sandbox = sandbox(world.dir.path());
    let hostile = sandbox.catalog().add(guests::hostile().to_vec()).await.unwrap().digest;
    let tables = sandbox.catalog().add(modules::table_bomb()).await.unwrap().digest;
    let mut tx = world.store.begin().await.unwrap();
    tx.put_tenant(&tenant, TEN).await.unwrap();
    let cases = cases(&url);
    let mut jobs: Vec<(&str, Job)> = Vec::new();
    for (key, (limit, ..)) in &cases {
        let grant = json!({ "http": [{ "host": url, "methods": ["GET", "POST"] }], "limits": { *key: limit } });
        let spec = json!({ "name": key.replace('_', "-"), "plugin": "hostile", "retry": { "attempts": 1 }, "grant": grant });
        let spec = serde_json::from_value(spec).unwrap();
        let digest = if *key == "table_elements" { &tables } else { &hostile };
        jobs.push((*key, tx.put_job(tenant.id, &spec, digest, "test", TEN).await.unwrap()));
    }
    tx.commit().await.unwrap();
    let runner = started(&world, sandbox, Settings::default()).await;
    let mut runs = BTreeMap::new();
    for (key, job) in &jobs {
        let run = windlass::domain::run::NewRun { input: Some(cases[key].1.clone()), ..crate::world::new_run(job) };
        runs.insert(*key, world.store.enqueue(vec![run]).await.unwrap().remove(0).unwrap().id());
    }
    for known in Limits::known() {
        let key = known.key;
        let (limit, _, took) = cases.get(key).unwrap_or_else(|| panic!("a limit without a hostile guest does not count: {key}"));
        let id = runs[key];
        let run = world.ended(id, Duration::ZERO).await;
        let told = told(&world, id).await;
        if key.starts_with("log_") {
            let kept = if key == "log_lines" { 3 } else { 5 };
            assert!(told.ends_with(&format!("\n{kept} lines, {} dropped", 50 - kept)), "{key}: {told}");
        } else {
            // In bytes, or as sizes are shown.
            let number = limit.to_string().replace(|letter: char| !letter.is_ascii_digit(), "");
            let size = serde_json::from_value::<Size>(limit.clone()).map_or_else(|_| number.clone(), |size| size.to_string());
            assert!(told.contains(&number) || told.contains(&size), "{key}: {told}");
            assert!(told.contains(&format!("limits = {{ {key} = … }}")), "{key}: {told}");
        }
        let attempts = world.store.read().await.unwrap().attempts_of(&run).await.unwrap();
        let used = attempts[0].used.clone();
        let taken =
            if key == "requests" { used.map(|used| used.requests) } else { used.and_then(|used| used.took.get(key).copied()) };
        assert_eq!(taken, *took, "{key}: {told}");
    }
    assert_eq!(cases.len(), Limits::known().len(), "of what is no limit any more");
    runner.drain().await;
}
