//! Items over HTTP: listed, run again, and worked on by programs outside.

use std::time::Duration;

use serde_json::{Value, json};
use windlass::domain::item::ItemState;
use windlass::domain::member::Role;
use windlass::id::Id;

use super::world::Served;
use crate::runner::items::{Items, named};
use crate::world::{World, well};

const SECOND: Duration = Duration::from_secs(1);

/// A guest of seventeen steps; the ninth is broken until it is run again.
fn deploy(world: &World) {
    world.guests.script("deploy", |work| {
        let (items, mended) = (Items::of(work), work.trigger == "rerun");
        async move {
            let open = items.declare(&named(17)).await;
            let mut worked = 0;
            while let Some(name) = items.next(1).await.pop() {
                let broken = name == "item-08" && !mended;
                let (state, said) = if broken { (ItemState::Failed, "read timed out") } else { (ItemState::Done, "up") };
                items.finish(&name, state, said).await.unwrap();
                worked += 1;
            }
            let mut outcome = well(None);
            if let windlass::domain::attempt::Outcome::Succeeded { summary, .. } = &mut outcome {
                *summary = format!("{worked} of {open}");
            }
            outcome
        }
    });
}

async fn ended(served: &Served, run: &Value) -> Value {
    let id: Id = run["id"].as_str().unwrap().parse().unwrap();
    served.world.ended(id, SECOND).await;
    served.get(&format!("tenants/alpha/runs/{id}")).await.body
}

fn words(list: &Value) -> Vec<(&str, &str)> {
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| (item["state"].as_str().unwrap(), item["message"].as_str().unwrap_or_default())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn t6_a_rerun_works_on_what_is_not_done_and_all_is_done_then() {
    let served = Served::new().await;
    served.world.job("deploy", json!({"items": {"order": "strict"}})).await;
    deploy(&served.world);
    let runner = served.world.start().await;
    let first = ended(&served, &served.post("tenants/alpha/jobs/deploy/runs", &json!({})).await.body).await;
    assert_eq!((first["state"].as_str(), first["cause"].as_str()), (Some("dead"), Some("items_failed")));
    assert_eq!(first["items"], json!({"pending": 0, "running": 0, "done": 8, "failed": 1, "skipped": 8}));
    let old = format!("tenants/alpha/runs/{}", first["id"].as_str().unwrap());

    let again = served.post(&format!("{old}/rerun"), &json!({"items": "open"})).await;
    assert_eq!((again.status, &again.body["rerun_of"]), (201, &first["id"]));
    let second = ended(&served, &again.body).await;
    assert_eq!((second["state"].as_str(), second["summary"].as_str()), (Some("succeeded"), Some("9 of 9")));
    let new = format!("tenants/alpha/runs/{}", second["id"].as_str().unwrap());
    let items = served.get(&format!("{new}/items")).await.body;
    let words_now = words(&items);
    assert!(words_now[..8].iter().all(|word| *word == ("done", "already up to date")), "{words_now:?}");
    assert!(words_now[8..].iter().all(|word| *word == ("done", "up")), "{words_now:?}");
    assert_eq!(
        words(&served.get(&format!("{old}/items")).await.body)[8],
        ("failed", "read timed out"),
        "the old run stays as it was"
    );

    let nothing = served.post(&format!("{new}/rerun"), &json!({"items": "open"})).await;
    assert_eq!(nothing.status, 409, "{}", nothing.body);
    let all = served.post(&format!("{new}/rerun"), &json!({"items": "all"})).await;
    assert_eq!(ended(&served, &all.body).await["summary"], "17 of 17");
    runner.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn items_are_listed_by_state_and_page_by_page() {
    let served = Served::new().await;
    served.world.job("deploy", json!({"items": {"order": "strict"}})).await;
    deploy(&served.world);
    let runner = served.world.start().await;
    let run = ended(&served, &served.post("tenants/alpha/jobs/deploy/runs", &json!({})).await.body).await;
    runner.drain().await;
    let address = format!("tenants/alpha/runs/{}/items", run["id"].as_str().unwrap());
    let page = served.get(&format!("{address}?state=skipped&limit=5")).await.body;
    assert_eq!((page["count"]["value"].as_u64(), page["items"].as_array().unwrap().len()), (Some(8), 5));
    let after = page["next"].as_str().unwrap();
    let rest = served.get(&format!("{address}?state=skipped&limit=5&after={after}")).await.body;
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (3, &Value::Null));
    assert_eq!(rest["items"][2]["name"], "item-16");
    let one = &served.get(&format!("{address}?limit=1")).await.body["items"][0];
    let keys: Vec<_> = one.as_object().unwrap().keys().map(String::as_str).collect();
    let all = [
        "name",
        "position",
        "state",
        "input",
        "message",
        "output",
        "attempt",
        "deliveries",
        "worker",
        "leased_until",
        "ended_at",
    ];
    assert_eq!(keys, all);
    assert_eq!((&one["input"], &one["output"], &one["deliveries"]), (&json!(1), &json!("item-00"), &json!(1)));
    for (wrong, field) in [("state=lost", "state"), ("after=x", "after"), ("limit=0", "limit")] {
        let told = served.get(&format!("{address}?{wrong}")).await;
        assert_eq!((told.status, told.body["errors"][0]["field"].as_str()), (422, Some(field)), "{}", told.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_outside_takes_keeps_and_ends_items() {
    let served = Served::new().await;
    served.world.job("images", json!({"items": {"outside": true}})).await;
    served.world.job("inside", json!({})).await;
    served.world.guests.script("images", |work| {
        let items = Items::of(work);
        async move {
            items.declare(&named(3)).await;
            well(None)
        }
    });
    let runner = served.world.start().await;
    let run = served.post("tenants/alpha/jobs/images/runs", &json!({})).await.body;
    let id: Id = run["id"].as_str().unwrap().parse().unwrap();
    let items = "tenants/alpha/jobs/images/items";
    let why = async || served.get(&format!("tenants/alpha/runs/{id}")).await.body["why"].clone();
    served
        .world
        .until("it is outside", Duration::ZERO, async || (why().await == "waiting: no worker has come yet").then_some(()))
        .await;

    let taken = served.post(&format!("{items}/claim"), &json!({"worker": "gpu-1", "max": 2})).await;
    assert_eq!(taken.status, 200, "{}", taken.body);
    assert_eq!(
        taken.body["items"][0],
        json!({"run": id, "name": "item-00", "input": 1, "delivery": 1, "leased_until": "2026-11-22T10:00:30.000Z"})
    );
    assert_eq!(why().await, "1 of 1 workers online");
    let renewed = served.post(&format!("{items}/renew"), &json!({"worker": "gpu-1"})).await.body;
    assert_eq!(renewed, json!({"renewed": 2, "lease_ms": 30_000}));
    let result = |name: &str| json!({"run": id, "name": name, "status": "done", "output": {"species": 3}});
    let results =
        json!({"worker": "gpu-1", "items": [result("item-00"), result("item-00"), result("item-01"), result("no-such")]});
    let told = served.post(&format!("{items}/finish"), &results).await;
    let recorded: Vec<_> =
        told.body["items"].as_array().unwrap().iter().map(|told| told["recorded"].as_bool().unwrap()).collect();
    assert_eq!((told.status, recorded), (200, vec![true, false, true, false]));

    // The last one; then the run is over, and a result that comes again is answered 200 all the same.
    served.post(&format!("{items}/claim"), &json!({"worker": "gpu-1"})).await;
    let last = json!({"worker": "gpu-1", "items": [{"run": id, "name": "item-02", "status": "failed", "message": "no insect"}]});
    assert_eq!(served.post(&format!("{items}/finish"), &last).await.body["items"][0]["recorded"], true);
    let over = ended(&served, &run).await;
    assert_eq!((over["state"].as_str(), over["attempt"].as_u64()), (Some("succeeded"), Some(1)));
    assert_eq!(over["items"], json!({"pending": 0, "running": 0, "done": 2, "failed": 1, "skipped": 0}));
    let late = served.post(&format!("{items}/finish"), &last).await;
    assert_eq!((late.status, &late.body["items"][0]["recorded"]), (200, &json!(false)));
    runner.drain().await;

    for (path, body, status) in [
        ("images/items/claim", json!({"worker": ""}), 422),
        ("images/items/claim", json!({"worker": "w", "max": 101}), 422),
        ("images/items/finish", json!({"worker": "w", "items": [{"run": id, "name": "", "status": "done"}]}), 422),
        ("images/items/finish", json!({"worker": "w", "items": [{"run": id, "name": "a", "status": "running"}]}), 422),
        ("inside/items/claim", json!({"worker": "w"}), 409),
        ("none/items/claim", json!({"worker": "w"}), 404),
    ] {
        let told = served.post(&format!("tenants/alpha/jobs/{path}"), &body).await;
        assert_eq!(told.status, status, "{path} {body}: {}", told.body);
    }
    let (viewer, beta) = (served.token(Role::Viewer, Some("alpha")).await, served.token(Role::Admin, Some("beta")).await);
    for (token, status) in [(&viewer, 403), (&beta, 404)] {
        let told = served.ask("POST", &format!("{items}/claim"), Some(token), &[], br#"{"worker":"w"}"#).await;
        assert_eq!(told.status, status, "{}", told.body);
    }
}
