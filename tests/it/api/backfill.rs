//! Runs for times of a schedule that have passed, and what is told of all its times.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use windlass::clock::Timestamp;
use windlass::domain::job::Job;
use windlass::store::schedule::Occurrence;

use super::world::Served;
use crate::runner::fairness;
use crate::world::{TEN, well};

const HOUR: Duration = Duration::from_secs(3_600);
const SECOND: Duration = Duration::from_secs(1);

fn before(hours: u32) -> Timestamp {
    TEN.minus(HOUR * hours)
}

/// The five hours before ten, of which seven o'clock had its run.
async fn five_hours(served: &Served) -> (Job, Value) {
    let job = served.world.job("hourly", json!({"triggers": [{"schedule": "0 * * * *", "input": {"batch": 7}}]})).await;
    let mut tx = served.world.store.begin().await.unwrap();
    let trigger = tx.triggers_of(job.id).await.unwrap().remove(0);
    let line = |due_at, result| Occurrence {
        trigger: trigger.id,
        due_at,
        tenant: job.tenant,
        job: job.id,
        result,
        run: None,
        note: None,
    };
    tx.put_occurrences(&[line(before(3), "ran"), line(before(2), "missed")], TEN).await.unwrap();
    tx.commit().await.unwrap();
    (job, json!({"from": before(5), "to": TEN}))
}

fn with(body: &Value, more: Value) -> Value {
    let mut body = body.clone();
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn times_that_have_passed_get_a_run_each_and_those_that_had_one_are_left() {
    let served = Served::new().await;
    let (job, window) = five_hours(&served).await;
    let path = "tenants/alpha/jobs/hourly/backfill";
    let told = served.post(path, &with(&window, json!({"dry_run": true}))).await;
    assert_eq!((told.status, &told.body["total"], &told.body["had"]), (200, &json!(4), &json!(1)), "{}", told.body);
    assert_eq!(told.body["first"][0], json!(before(5)));
    let told = served.post(path, &with(&window, json!({"expect": 5}))).await;
    assert_eq!(told.status, 409, "not what was seen: {}", told.body);
    // Never more at once than the job may have.
    let (at_once, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = (at_once.clone(), most.clone());
    served.world.guests.script("hourly", move |_| {
        let (at_once, most) = counted.clone();
        async move {
            most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            at_once.fetch_sub(1, Ordering::SeqCst);
            well(None)
        }
    });
    let runner = served.world.start().await;
    let begun = served.post(path, &with(&window, json!({"expect": 4, "reason": "the night was long"}))).await;
    assert_eq!(
        (begun.status, &begun.body["action"], &begun.body["total"]),
        (201, &json!("backfill"), &json!(4)),
        "{}",
        begun.body
    );
    let operation = format!("operations/{}", begun.body["id"].as_str().unwrap());
    let done = served
        .world
        .until("it is done", SECOND, async || {
            Some(served.get(&operation).await.body).filter(|operation| operation["state"] == "done")
        })
        .await;
    assert_eq!((&done["done"], &done["left"]), (&json!(4), &json!(0)));
    let ledger = served.get("tenants/alpha/jobs/hourly/occurrences?limit=200").await.body;
    let came: Vec<(&Value, &Value)> =
        ledger["items"].as_array().unwrap().iter().rev().take(5).map(|line| (&line["due_at"], &line["result"])).collect();
    let right = [(5, "backfilled"), (4, "backfilled"), (3, "ran"), (2, "backfilled"), (1, "backfilled")];
    let right = right.map(|(hours, result)| (json!(before(hours)), json!(result)));
    assert_eq!(came, right.iter().map(|(at, result)| (at, result)).collect::<Vec<_>>());
    let ran = served.get("tenants/alpha/jobs/hourly/occurrences?result=ran").await.body;
    assert_eq!(ran["items"].as_array().unwrap().iter().map(|line| &line["due_at"]).collect::<Vec<_>>(), [&json!(before(3))]);
    let wrong = served.get("tenants/alpha/jobs/hourly/occurrences?result=lost").await;
    assert!(wrong.status == 422 && wrong.body.to_string().contains("there are ran, late"), "{}", wrong.body);
    served.world.until("all ran", SECOND, async || (served.world.guests.attempts("hourly") == 4).then_some(())).await;
    assert_eq!(most.load(Ordering::SeqCst), 1);
    let first = ledger["items"].as_array().unwrap().last().unwrap()["run"].as_str().unwrap().to_owned();
    let run = served.get(&format!("tenants/alpha/runs/{first}")).await.body;
    assert_eq!(
        (&run["input"], &run["trigger"]["kind"]),
        (&json!({"batch": 7, "due_at": before(5)}), &json!("schedule")),
        "{run}"
    );
    let told = served.post(path, &window).await;
    assert_eq!(told.status, 409, "nothing is left: {}", told.body);
    let told = served.post(path, &with(&window, json!({"dry_run": true, "again": true}))).await;
    assert_eq!(told.body["total"], 5);
    assert_eq!(job.spec.max_live, 1);
    runner.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_is_stopped_where_it_stands() {
    let served = Served::new().await;
    let (_, window) = five_hours(&served).await;
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let held = gate.clone();
    served.world.guests.script("hourly", move |_| {
        let gate = held.clone();
        async move {
            let _open = gate.acquire().await;
            well(None)
        }
    });
    let runner = served.world.start().await;
    let begun = served.post("tenants/alpha/jobs/hourly/backfill", &window).await.body;
    let operation = format!("operations/{}", begun["id"].as_str().unwrap());
    served.world.until("the first runs", SECOND, async || (served.world.guests.attempts("hourly") == 1).then_some(())).await;
    let stopped = served.post(&format!("{operation}/cancel"), &json!({})).await.body;
    assert_eq!((&stopped["state"], &stopped["done"]), (&json!("cancelled"), &json!(1)));
    gate.add_permits(10);
    served.world.clock.advance(60 * SECOND);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(served.world.guests.attempts("hourly"), 1);
    runner.drain().await;
}

/// What finds no place among the tenant's waiting runs is not ticked off: it waits, says so, and has its run later.
#[tokio::test(flavor = "multi_thread")]
async fn what_meets_the_limit_of_waiting_runs_waits_for_its_turn() {
    let served = Served::new().await;
    let world = &served.world;
    let spec = json!({"max_live": 0, "triggers": [{"schedule": "0 * * * *"}]});
    let job = world.job("hourly", spec).await;
    fairness::limit(world, |limits| limits.waiting = Some(2)).await;
    let mut tx = world.store.begin().await.unwrap();
    tx.pause_job(job.tenant, job.id, "ann", None, TEN).await.unwrap();
    tx.commit().await.unwrap();
    let runner = world.start().await;
    let body = json!({"from": before(5), "to": TEN, "rate": 3});
    let begun = served.post("tenants/alpha/jobs/hourly/backfill", &body).await.body;
    let operation = format!("operations/{}", begun["id"].as_str().unwrap());
    let seen = async |what: &str, fits: &(dyn Fn(&Value) -> bool + Sync)| {
        world.until(what, SECOND, async || Some(served.get(&operation).await.body).filter(|found| fits(found))).await
    };
    let waits = seen("it waits", &|found| found["done"] == 2 && found["waits"] != Value::Null).await;
    assert_eq!(
        (&waits["state"], &waits["left"], &waits["waits"]),
        (&json!("running"), &json!(0), &json!("limits.waiting of alpha (2 of 2)"))
    );
    let mut tx = world.store.begin().await.unwrap();
    tx.resume_job(job.tenant, job.id, TEN).await.unwrap();
    tx.commit().await.unwrap();
    let done = seen("it is done", &|found| found["state"] == "done").await;
    assert_eq!((&done["done"], &done["left"], &done["waits"]), (&json!(5), &json!(0), &Value::Null));
    world.until("all ran", SECOND, async || (world.guests.attempts("hourly") == 5).then_some(())).await;
    runner.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_that_the_ledger_has_forgotten_are_made_up_for_only_when_that_is_said() {
    let served = Served::new().await;
    five_hours(&served).await;
    let path = "tenants/alpha/jobs/hourly/backfill";
    // A job that is younger than the ledger had no runs that it could have forgotten.
    let told = served.post(path, &json!({"from": before(24 * 8), "to": before(24 * 8 - 2), "dry_run": true})).await;
    assert_eq!((told.status, &told.body["total"], &told.body["known_since"]), (200, &json!(2), &Value::Null), "{}", told.body);
    served.world.clock.advance(Duration::from_secs(10 * 24 * 3600));
    let window = json!({"from": before(24 * 8), "to": before(24 * 8 - 2), "dry_run": true});
    let told = served.post(path, &window).await;
    let says = told.body.to_string();
    assert!(told.status == 422 && says.contains("2026-11-14T10:00:00.000Z is before 2026-11-25T10:00:00.000Z"), "{says}");
    assert!(says.contains("retention.succeeded = 7days") && says.contains("(again)"), "{says}");
    let told = served.post(path, &with(&window, json!({"again": true}))).await;
    assert_eq!(
        (told.status, &told.body["total"], &told.body["known_since"]),
        (200, &json!(2), &json!("2026-11-25T10:00:00.000Z")),
        "{}",
        told.body
    );
    let kept = json!({"from": "2026-11-25T10:00:00Z", "to": "2026-11-26T10:00:00Z", "dry_run": true});
    let told = served.post(path, &kept).await;
    assert_eq!((told.status, &told.body["known_since"]), (200, &Value::Null), "{}", told.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_that_cannot_be_are_refused_with_what_would_be_right() {
    let served = Served::new().await;
    let (_, window) = five_hours(&served).await;
    served.world.job("none", json!({})).await;
    served.world.job("two", json!({"triggers": [{"schedule": "0 * * * *"}, {"schedule": "30 2 * * *"}]})).await;
    for (job, body, says) in [
        ("hourly", json!({"from": TEN, "to": before(5)}), "is not after from"),
        ("hourly", json!({"from": before(5), "to": TEN.plus(HOUR)}), "is yet to come"),
        ("hourly", json!({"from": before(24 * 800), "to": TEN, "again": true}), "more than 10000 times"),
        ("hourly", with(&window, json!({"rate": 0})), "is not from 1 to 1000"),
        ("hourly", with(&window, json!({"schedule": 3})), "3 is no schedule of this job; there is 0 (\"0 * * * *\")"),
        ("none", window.clone(), "has no schedule"),
        ("two", window.clone(), "say which: 0 (\"0 * * * *\"), 1 (\"30 2 * * *\")"),
    ] {
        let told = served.post(&format!("tenants/alpha/jobs/{job}/backfill"), &body).await;
        assert!(told.status == 422 && told.body.to_string().replace("\\\"", "\"").contains(says), "{says}: {}", told.body);
    }
    let told = served.post("operations", &json!({"action": "backfill"})).await;
    assert!(told.body.to_string().contains("there are rerun, discard, undo"), "{}", told.body);
}
