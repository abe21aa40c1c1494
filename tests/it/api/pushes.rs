//! A plugin is pushed and answered at once; its push says how far it is, to who may know.

use serde_json::Value;
use windlass::clock::Timestamp;
use windlass::domain::member::Role;

use super::world::Served;
use crate::database::Beside;
use crate::plugin::{guests, modules};

/// Pushes and waits for the end.
async fn push(served: &Served, query: &str, token: &str, bytes: &[u8]) -> Value {
    push_with(served, query, token, &[], bytes).await
}

pub async fn push_with(served: &Served, query: &str, token: &str, headers: &[(&str, &str)], bytes: &[u8]) -> Value {
    let told = served.ask("POST", &format!("plugins?{query}"), Some(token), headers, bytes).await;
    assert_eq!((told.status, &told.body["state"]), (202, &"waiting".into()), "{}", told.body);
    let place = format!("pushes/{}", told.body["id"].as_str().unwrap());
    assert_eq!(told.header("location"), format!("/api/v1/{place}"));
    loop {
        let now = served.ask("GET", &place, Some(token), &[], b"").await;
        assert_eq!(now.status, 200);
        if ["ready", "refused", "lost"].contains(&now.body["state"].as_str().unwrap()) {
            return now.body;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_answered_at_once_and_says_how_it_ended() {
    let served = Served::new().await;
    let program = modules::program("hello", None);
    let ready = push(&served, "fallback=greeter", &served.admin, &program).await;
    assert_eq!((&ready["state"], &ready["name"], &ready["version"]), (&"ready".into(), &"greeter".into(), &"0.0.0".into()));
    assert_eq!((&ready["new"], &ready["tenant"], &ready["message"]), (&true.into(), &Value::Null, &Value::Null));
    let again = push(&served, "fallback=greeter", &served.admin, &program).await;
    assert_eq!((&again["state"], &again["new"]), (&"ready".into(), &false.into()));
    let other = push(&served, "fallback=greeter", &served.admin, &modules::program("other", None)).await;
    assert!(other["state"] == "refused" && other["message"].as_str().unwrap().contains("versions do not change"), "{other}");
    let no_job = push(&served, "fallback=no-job", &served.admin, guests::no_job()).await;
    assert!(
        no_job["state"] == "refused" && no_job["message"].as_str().unwrap().contains("windlass:plugin/job@1.0.0"),
        "{no_job}"
    );
    let compiled = std::fs::read_dir(served.world.dir.path().join("compiled")).unwrap().count();
    assert_eq!(compiled, 1, "what was refused left no code");
    let plugins = served.get("plugins").await.body;
    assert_eq!(plugins["items"].as_array().unwrap().iter().filter(|plugin| plugin["name"] == "greeter").count(), 1);
    assert_eq!(served.get("pushes").await.body["items"].as_array().unwrap().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_push_is_its_own_and_one_whose_node_has_gone_is_lost() {
    let served = Served::new().await;
    let (alpha, beta) = (served.token(Role::Admin, Some("alpha")).await, served.token(Role::Admin, Some("beta")).await);
    let own = push(&served, "fallback=greeter&tenant=alpha", &alpha, &modules::program("hello", None)).await;
    assert_eq!((&own["state"], &own["tenant"]), (&"ready".into(), &"alpha".into()), "{own}");
    let place = format!("pushes/{}", own["id"].as_str().unwrap());
    assert_eq!(served.ask("GET", &place, Some(&beta), &[], b"").await.status, 404);
    let seen = served.ask("GET", "pushes", Some(&beta), &[], b"").await;
    assert!(seen.body["items"].as_array().unwrap().is_empty(), "{}", seen.body);

    // However many others there are in the meantime, a tenant's list has its own.
    let id: windlass::id::Id = own["id"].as_str().unwrap().parse().unwrap();
    let mut tx = served.app.store.begin().await.unwrap();
    let other = tx.push(id).await.unwrap().unwrap();
    let beta_id = tx.need_tenant("beta").await.unwrap().id;
    for n in 1..=60 {
        let (id, name) = (windlass::id::Id(id.0 + n), format!("other-{n}"));
        tx.put_push(&windlass::domain::plugin::Push { id, name, tenant: beta_id, ..other.clone() }).await.unwrap();
    }
    tx.commit().await.unwrap();
    let seen = served.ask("GET", "pushes", Some(&alpha), &[], b"").await.body;
    let names: Vec<_> = seen["items"].as_array().unwrap().iter().map(|push| push["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["greeter"]);

    let mut tx = served.app.store.begin().await.unwrap();
    let mut left = tx.push(id).await.unwrap().unwrap();
    (left.state, left.at) = (windlass::domain::plugin::PushState::Compiling, Timestamp(0));
    tx.put_push(&left).await.unwrap();
    tx.commit().await.unwrap();
    let lost = served.get(&place).await.body;
    assert!(lost["state"] == "lost" && lost["message"].as_str().unwrap().contains("push it again"), "{lost}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_push_is_told_when_the_database_takes_it_again() {
    let served = Served::new().await;
    let (away, back) = if crate::database::is_postgres() {
        ("ALTER TABLE push ADD CONSTRAINT away CHECK (state <> 'ready')", "ALTER TABLE push DROP CONSTRAINT away")
    } else {
        (
            "CREATE TRIGGER away BEFORE UPDATE ON push WHEN NEW.state = 'ready' BEGIN SELECT RAISE(ABORT, 'away'); END",
            "DROP TRIGGER away",
        )
    };
    let mut beside = Beside::open(served.world.store.database()).await;
    beside.exec(away).await;
    let told = served.ask("POST", "plugins?name=late", Some(&served.admin), &[], &modules::program("hello", None)).await;
    let place = format!("pushes/{}", told.body["id"].as_str().unwrap());
    let added =
        || async { served.get("plugins").await.body["items"].as_array().unwrap().iter().any(|one| one["name"] == "late") };
    while !added().await {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    for _ in 0..5 {
        served.world.clock.advance(std::time::Duration::from_secs(6));
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        assert_ne!(served.get(&place).await.body["state"], "ready", "it cannot be written down");
    }
    beside.exec(back).await;
    // Without another try it would never be told.
    for _ in 0..500 {
        served.world.clock.advance(std::time::Duration::from_secs(6));
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        if served.get(&place).await.body["state"] == "ready" {
            return;
        }
    }
    panic!("{}", served.get(&place).await.body);
}
