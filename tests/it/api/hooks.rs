//! Webhooks over HTTP: who may, what becomes of what they say.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use windlass::app::Who;
use windlass::clock::Clock as _;
use windlass::domain::job::Job;
use windlass::domain::run::Run;

use super::world::Served;
use crate::world::TEN;

const SECRET: &[u8] = b"hunter2";

/// What a sender does: signs, sends; answers status and body.
async fn send(served: &Served, job: &str, id: &str, secret: &[u8], body: &[u8]) -> (u16, Value) {
    let seconds = served.app.now().0 / 1_000;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(format!("{id}.{seconds}.").as_bytes());
    mac.update(body);
    let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    let (url, id, body) = (format!("{}/hooks/alpha/{job}", served.url()), id.to_owned(), body.to_vec());
    tokio::task::spawn_blocking(move || {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let request = agent.post(url).header("webhook-id", id).header("webhook-timestamp", seconds.to_string());
        let mut answer = request.header("webhook-signature", signature).send(&body[..]).unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap())
    })
    .await
    .unwrap()
}

async fn hooked(served: &Served, name: &str, spec: Value) -> Job {
    served.app.set_secret("alpha", "hook-key", SECRET, &Who::server()).await.unwrap();
    served.world.job(name, spec).await
}

async fn runs(served: &Served, job: &Job) -> Vec<(Run, Value)> {
    let mut tx = served.world.store.read().await.unwrap();
    let query = windlass::store::run::RunQuery { job: Some(job.id), limit: 50, ..Default::default() };
    let mut found = Vec::new();
    for run in tx.runs(job.tenant, &query).await.unwrap() {
        let input = tx.payload(job.tenant, run.id).await.unwrap().input.unwrap();
        found.push((run, serde_json::from_str(&input).unwrap()));
    }
    found.reverse();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn c14_five_notifications_in_the_window_make_one_run_with_five_payloads() {
    let served = Served::new().await;
    let job = hooked(&served, "notify", json!({"triggers": [{"webhook": {"secret": "hook-key", "debounce": "30s"}}]})).await;
    let runner = served.world.start().await;
    for n in 0..5 {
        let (status, told) = send(&served, "notify", &format!("msg-{n}"), SECRET, json!({"n": n}).to_string().as_bytes()).await;
        assert_eq!((status, told["repeated"].as_bool()), (202, Some(false)), "{told}");
        served.world.clock.advance(Duration::from_secs(5));
    }
    let (status, told) = send(&served, "notify", "msg-2", SECRET, br#"{"n": 2}"#).await;
    assert_eq!((status, told["repeated"].as_bool()), (202, Some(true)), "delivered again, taken in once: {told}");
    assert_eq!(runs(&served, &job).await, [], "the window is open");
    let made = served
        .world
        .until("the run is made", Duration::from_secs(1), async || runs(&served, &job).await.into_iter().next())
        .await;
    assert_eq!(made.1, json!({"payloads": [{"n": 0}, {"n": 1}, {"n": 2}, {"n": 3}, {"n": 4}]}));
    assert!(made.0.created_at >= TEN.plus(Duration::from_secs(30)), "{:?}", made.0.created_at);
    served.world.ended(made.0.id, Duration::from_secs(1)).await;
    served.world.clock.advance(Duration::from_secs(120));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(runs(&served, &job).await.len(), 1);
    runner.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_in_stays_when_its_trigger_is_changed() {
    let served = Served::new().await;
    let job = hooked(&served, "notify", json!({"triggers": [{"webhook": {"secret": "hook-key", "debounce": "30s"}}]})).await;
    assert_eq!(send(&served, "notify", "a", SECRET, b"1").await.0, 202);
    let changed: windlass::domain::job::JobSpec = serde_json::from_value(
        json!({"name": "notify", "plugin": "noop", "triggers": [{"webhook": {"secret": "hook-key", "debounce": "5s"}}]}),
    )
    .unwrap();
    let mut tx = served.world.store.begin().await.unwrap();
    let before = tx.triggers_of(job.id).await.unwrap();
    tx.put_triggers(job.tenant, job.id, &changed.triggers, served.world.clock.now(), |_| None).await.unwrap();
    let after = tx.triggers_of(job.id).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!((after[0].id, &after[0].spec), (before[0].id, &changed.triggers[0]));
    let runner = served.world.start().await;
    let second = Duration::from_secs(1);
    let made = served.world.until("the run is made", second, async || runs(&served, &job).await.into_iter().next()).await;
    assert_eq!(made.1, json!({"payloads": [1]}));
    runner.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_the_job_works_waits_and_is_not_lost() {
    let served = Served::new().await;
    let job = hooked(&served, "notify", json!({"triggers": [{"webhook": {"secret": "hook-key"}}]})).await;
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let held = gate.clone();
    served.world.guests.script("notify", move |_| {
        let gate = held.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            crate::world::well(None)
        }
    });
    let runner = served.world.start().await;
    send(&served, "notify", "a", SECRET, b"not json").await;
    let second = Duration::from_secs(1);
    served.world.until("it runs", second, async || (served.world.guests.attempts("notify") == 1).then_some(())).await;
    send(&served, "notify", "b", SECRET, b"2").await;
    send(&served, "notify", "c", SECRET, b"3").await;
    served.world.clock.advance(60 * second);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(runs(&served, &job).await.len(), 1, "the job may have one run");
    gate.add_permits(2);
    let both =
        served.world.until("another run", second, async || Some(runs(&served, &job).await).filter(|all| all.len() == 2)).await;
    assert_eq!((&both[0].1, &both[1].1), (&json!({"payloads": [{"text": "not json"}]}), &json!({"payloads": [2, 3]})));
    runner.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_no_signature_is_needed_and_windows_hold_too() {
    let served = Served::new().await;
    let job = served.world.job("notify", json!({"triggers": [{"webhook": {"debounce": "30s"}}]})).await;
    served.world.job("plain", json!({})).await;
    let path = "tenants/alpha/jobs/notify/notices";
    let keyed = async || served.ask("POST", path, Some(&served.admin), &[("idempotency-key", "a")], br#"{"n": 1}"#).await;
    let (first, again) = (keyed().await, keyed().await);
    assert_eq!((first.status, again.status), (202, 202));
    assert_eq!(
        (&first.body["repeated"], &again.body["repeated"], &first.body["id"]),
        (&json!(false), &json!(true), &again.body["id"])
    );
    served.post(path, &json!([2])).await;
    assert_eq!(served.post("tenants/alpha/jobs/plain/notices", &json!({})).await.status, 409);
    let large = json!("x".repeat(windlass::domain::hook::BODY_LIMIT));
    assert_eq!(served.post(path, &large).await.status, 422);
    assert_eq!(send(&served, "notify", "b", b"", b"{}").await.0, 401, "it has no secret");
    let runner = served.world.start().await;
    let second = Duration::from_secs(1);
    let made = served.world.until("the run is made", second, async || runs(&served, &job).await.into_iter().next()).await;
    assert_eq!(made.1, json!({"payloads": [{"n": 1}, [2]]}));
    runner.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_not_the_secret_learns_nothing_and_starts_nothing() {
    let served = Served::new().await;
    hooked(&served, "notify", json!({"triggers": [{"webhook": {"secret": "hook-key"}}]})).await;
    served.world.job("plain", json!({})).await;
    served.world.job("unset", json!({"triggers": [{"webhook": {"secret": "other-key"}}]})).await;
    let wrong = send(&served, "notify", "a", b"hunter3", b"{}").await;
    assert_eq!((wrong.0, &wrong.1["title"]), (401, &json!("Log in first")));
    for job in ["plain", "unset", "nobody"] {
        let told = send(&served, job, "a", SECRET, b"{}").await;
        assert_eq!((told.0, &told.1["detail"]), (401, &wrong.1["detail"]), "{job}");
    }
    let large = vec![b'1'; windlass::domain::hook::BODY_LIMIT + 1];
    let told = send(&served, "notify", "a", SECRET, &large).await;
    assert_eq!((told.0, told.1["detail"].as_str().unwrap().contains("64.0 KiB")), (413, true), "{}", told.1);
    assert!(!served.world.store.read().await.unwrap().has_notices().await.unwrap());
    assert_eq!(send(&served, "notify", "a", SECRET, b"{}").await.0, 202);
    let largest = vec![b'"'; windlass::domain::hook::BODY_LIMIT];
    assert_eq!(send(&served, "notify", "b", SECRET, &largest).await.0, 202, "as it came, not as it is written down");
}
