//! The JSON API over real HTTP: who may, what comes back, key by key.

use std::time::Duration;

use serde_json::{Value, json};
use windlass::domain::log::{Level, Line};
use windlass::domain::member::Role;
use windlass::store::log::LogChunk;

use crate::world::{TEN, transient};

mod artifacts;
mod audit;
mod backfill;
mod hooks;
mod items;
pub mod metrics;
mod openapi;
pub mod pushes;
mod versions;
mod waits;
pub mod world;
use world::Served;

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_that_holds_nobody_is_told_anything() {
    let served = Served::new().await;
    for token in [None, Some("wl_wrong"), Some("")] {
        let told = served.ask("GET", "tenants", token, &[], b"").await;
        assert_eq!(told.status, 401, "{token:?}");
        assert_eq!(told.header("www-authenticate"), "Bearer realm=\"windlass\"");
        assert_eq!(told.header("content-type"), "application/problem+json");
    }
    let told = served.ask("GET", "tenants", Some(&served.admin), &[], b"").await;
    let names: Vec<_> = told.body["items"].as_array().unwrap().iter().map(|tenant| tenant["name"].as_str()).collect();
    assert_eq!((told.status, names), (200, vec![Some("alpha"), Some("beta")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_token_sees_its_tenant_and_no_sign_of_another() {
    let served = Served::new().await;
    let job = served.world.job("drain", json!({})).await;
    let run = served.world.enqueue(&job).await;
    let beta = served.token(Role::Admin, Some("beta")).await;
    let as_beta = async |method: &str, path: &str| served.ask(method, path, Some(&beta), &[], b"").await;
    assert_eq!(as_beta("GET", "tenants").await.body["items"].as_array().unwrap().len(), 1);
    for (method, path) in [
        ("GET", "tenants/?"),
        ("GET", "tenants/?/jobs"),
        ("GET", "tenants/?/jobs/drain"),
        ("GET", "tenants/?/runs"),
        ("GET", &format!("tenants/?/runs/{run}")),
        ("GET", &format!("tenants/?/runs/{run}/logs")),
        ("GET", &format!("tenants/?/runs/{run}/items")),
        ("GET", "tenants/?/backlogs"),
        ("GET", "tenants/?/secrets"),
        ("PUT", "tenants/?/secrets/key"),
        ("POST", "tenants/?/secrets/key/rotate"),
        ("POST", "tenants/?/jobs/drain/runs"),
        ("POST", "tenants/?/jobs/drain/pause"),
        ("POST", &format!("tenants/?/runs/{run}/cancel")),
        ("POST", &format!("tenants/?/runs/{run}/rerun")),
        ("POST", &format!("tenants/?/runs/{run}/discard")),
        ("POST", &format!("tenants/?/runs/{run}/undo")),
        ("GET", "tenants/?/dead"),
        ("GET", "tenants/?/dead/causes"),
    ] {
        let alpha = as_beta(method, &path.replace('?', "alpha")).await;
        let nobody = as_beta(method, &path.replace('?', "nobody")).await;
        assert_eq!((alpha.status, nobody.status), (404, 404), "{method} {path}");
        assert_eq!(alpha.body["detail"], nobody.body["detail"].as_str().unwrap().replace("nobody", "alpha"), "{method} {path}");
    }
    // A run is addressed with its tenant: under another it is not there.
    assert_eq!(served.get(&format!("tenants/beta/runs/{run}")).await.status, 404);
    assert_eq!(as_beta("POST", "plugins").await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_in_memory_is_forgotten_with_the_change() {
    let served = Served::new().await;
    served.world.job("drain", json!({ "max_live": 0 })).await;
    let (narrow, secret) =
        served.app.issue_token("short", Role::Operator, Some("alpha"), None, &windlass::app::Who::server()).await.unwrap();
    let start = async || served.ask("POST", "tenants/alpha/jobs/drain/runs", Some(&secret), &[], b"").await;
    assert_eq!((start().await.status, start().await.status), (201, 201));
    // A new revision counts at once, and so does a pause.
    served.world.job("drain", json!({ "max_live": 0, "retry": { "attempts": 2 } })).await;
    assert_eq!(start().await.body["max_attempts"], 2);
    served.post("tenants/alpha/jobs/drain/pause", &json!({})).await;
    assert_eq!(start().await.body["why"], "the job is paused by test");
    let used = served.app.store.take_used_tokens();
    assert_eq!(used.get(&narrow.id), Some(&TEN));
    let mut tx = served.app.store.begin().await.unwrap();
    tx.tokens_used(&used).await.unwrap();
    tx.commit().await.unwrap();
    let listed = served.get("tokens").await.body;
    let item = listed["items"].as_array().unwrap().iter().find(|token| token["name"] == "short").unwrap();
    assert_eq!(item["used_at"], "2026-11-22T10:00:00.000Z");
    let told = served.ask("DELETE", &format!("tokens/{}", narrow.id), Some(&served.admin), &[], b"").await;
    assert_eq!((told.status, start().await.status), (204, 401), "revoking acts at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_kept() {
    let served = Served::new().await;
    served.world.job("drain", json!({})).await;
    let (viewer, operator) = (served.token(Role::Viewer, Some("alpha")).await, served.token(Role::Operator, Some("alpha")).await);
    for (token, path, body, status) in [
        (&viewer, "tenants/alpha/jobs/drain/runs", "", 403),
        (&viewer, "tenants/alpha/jobs/drain/pause", "", 403),
        (&operator, "tenants/alpha/jobs/drain/runs", "", 201),
        (&operator, "tenants/alpha/jobs/drain/resume", "", 200),
        (&operator, "apply", r#"{"files": []}"#, 403),
    ] {
        let told = served.ask("POST", path, Some(token), &[], body.as_bytes()).await;
        assert_eq!(told.status, status, "{path}: {}", told.body);
    }
    assert_eq!(served.ask("PUT", "tenants/alpha/secrets/key", Some(&operator), &[], b"x").await.status, 403);
    assert_eq!(served.ask("GET", "tenants/alpha/jobs", Some(&viewer), &[], b"").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_json_of_a_run_is_as_documented() {
    let served = Served::new().await;
    served.world.job("drain", json!({ "plugin": "noop@1", "retry": { "attempts": 3, "jitter": 0.0 } })).await;
    let told = served.post("tenants/alpha/jobs/drain/runs", &json!({ "input": { "maxjobs": 7 } })).await;
    assert_eq!(told.status, 201);
    let id = told.body["id"].as_str().unwrap().to_owned();
    assert_eq!(told.header("location"), format!("/api/v1/tenants/alpha/runs/{id}"));
    let expected = json!({
        "id": id, "tenant": "alpha", "job": "drain", "state": "waiting", "page_state": "waiting", "why": "waits for a free worker",
        "trigger": { "kind": "api" }, "input": { "maxjobs": 7 }, "attempt": 0, "failed": 0, "lost": 0, "snoozed": 0, "max_attempts": 3,
        "created_at": "2026-11-22T10:00:00.000Z", "due_at": "2026-11-22T10:00:00.000Z", "started_at": null, "ended_at": null,
        "plugin": { "name": "noop", "version": null, "digest": "sha256:none" }, "progress": null,
        "items": { "pending": 0, "running": 0, "done": 0, "failed": 0, "skipped": 0 }, "output": null, "cause": null, "rerun_of": null,
        "summary": null, "error": null, "counts": null, "settled": null, "group": null, "attempts": [], "merged": false, "repeated": false,
    });
    assert_eq!(told.body, expected);
    assert_eq!(keys(&told.body), keys(&expected), "in the documented order");

    served.world.guests.script("drain", |_| std::future::ready(transient("the wiki is down")));
    let runner = served.world.start().await;
    let address = format!("tenants/alpha/runs/{id}");
    let first = async || Some(served.get(&address).await.body).filter(|run| run["page_state"] == "retrying");
    let run = served.world.until("it failed once", Duration::from_millis(50), first).await;
    assert_eq!((&run["state"], &run["failed"], &run["attempt"]), (&json!("waiting"), &json!(1), &json!(1)));
    assert!(run["why"].as_str().unwrap().starts_with("next attempt after"), "{run}");
    assert_eq!(run["error"], "the wiki is down");
    served.world.ended(id.parse().unwrap(), Duration::from_secs(1)).await;
    let dead = served.get(&address).await.body;
    assert_eq!(
        (&dead["state"], &dead["cause"], &dead["error"]),
        (&json!("dead"), &json!("attempts_spent"), &json!("the wiki is down"))
    );
    assert_eq!((&dead["failed"], dead["attempts"].as_array().unwrap().len(), &dead["due_at"]), (&json!(3), 3, &Value::Null));

    let again = served.post(&format!("{address}/rerun"), &json!({})).await;
    assert_eq!((again.status, &again.body["rerun_of"], &again.body["input"]), (201, &json!(id), &json!({ "maxjobs": 7 })));
    assert_eq!(again.body["trigger"], json!({ "kind": "rerun", "by": "test" }));
    assert_eq!(served.get(&address).await.body["settled"]["rerun"], again.body["id"]);
    assert_eq!(served.post(&format!("{address}/rerun"), &json!({})).await.status, 409);
    runner.drain().await;
}

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_makes_one_run_and_a_live_one_is_joined() {
    let served = Served::new().await;
    served.world.job("many", json!({ "max_live": 0 })).await;
    served.world.job("one", json!({})).await;
    let start = async |job: &str, key: Option<&str>, body: Value| {
        let headers: Vec<(&str, &str)> = key.iter().map(|key| ("idempotency-key", *key)).collect();
        let told = served
            .ask("POST", &format!("tenants/alpha/jobs/{job}/runs"), Some(&served.admin), &headers, body.to_string().as_bytes())
            .await;
        (told.status, told.body["id"].clone(), told.body["merged"] == true, told.body["repeated"] == true)
    };
    let (status, first, ..) = start("many", Some("k"), json!({ "input": 1 })).await;
    assert_eq!(status, 201);
    assert_eq!(start("many", Some("k"), json!({ "input": 1 })).await, (200, first.clone(), false, true));
    assert_eq!(start("many", Some("k"), json!({ "input": 2 })).await.0, 409);
    assert_eq!(start("many", Some(&"k".repeat(256)), json!({})).await.0, 422);
    assert_ne!(start("many", None, json!({})).await.1, first);
    let (_, live, ..) = start("one", None, json!({})).await;
    assert_eq!(start("one", None, json!({})).await, (200, live, true, false));

    let headers = [("prefer", "return=minimal")];
    let told = served.ask("POST", "tenants/alpha/jobs/many/runs", Some(&served.admin), &headers, b"").await;
    assert_eq!((told.status, keys(&told.body)), (201, vec!["id", "merged", "repeated"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_go_on_where_they_ended() {
    let served = Served::new().await;
    let many = served.world.job("many", json!({ "max_live": 0 })).await;
    let other = served.world.job("other", json!({})).await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.insert(0, json!(served.world.enqueue(&many).await.to_string()));
    }
    served.world.enqueue(&other).await;
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = served.get(&format!("tenants/alpha/runs?job=many&state=waiting&limit=2{after}")).await.body;
        assert_eq!(page["count"], json!({ "value": 5, "capped": false }));
        seen.extend(page["items"].as_array().unwrap().iter().map(|run| run["id"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, made);
    assert_eq!(served.get("tenants/alpha/runs").await.body["count"]["value"], 6);
    assert_eq!(served.get("tenants/alpha/runs?state=dead").await.body["items"], json!([]));
    for wrong in ["state=sleeping", "limit=0", "limit=201", "after=xyz", "colour=red"] {
        assert_eq!(served.get(&format!("tenants/alpha/runs?{wrong}")).await.status, 422, "{wrong}");
    }
    assert_eq!(served.get("tenants/alpha/runs?job=none").await.status, 404);
    let first = served.get("tenants?limit=1").await.body;
    assert_eq!((&first["items"][0]["name"], &first["next"]), (&json!("alpha"), &json!("alpha")));
    let second = served.get("tenants?limit=1&after=alpha").await.body;
    assert_eq!((&second["items"][0]["name"], &second["next"]), (&json!("beta"), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_a_problem_with_its_field() {
    let served = Served::new().await;
    served.world.job("drain", json!({})).await;
    let told = served.ask("POST", "tenants/alpha/jobs/drain/runs", Some(&served.admin), &[], br#"{"inptu": 1}"#).await;
    assert_eq!((told.status, told.header("content-type")), (422, "application/problem+json"));
    assert_eq!((&told.body["status"], &told.body["errors"][0]["field"]), (&json!(422), &json!("inptu")));
    assert!(told.body["errors"][0]["message"].as_str().unwrap().contains("inptu"), "{}", told.body);
    assert!(told.body["type"].is_string() && told.body["title"].is_string() && told.body["detail"].is_string());
    let large = vec![b'x'; (1 << 20) + 1];
    for (method, path, body, status) in [
        ("GET", "nowhere", &b""[..], 404),
        ("GET", "tenants/alpha/runs/short", b"", 404),
        ("DELETE", "tenants/alpha", b"", 405),
        ("POST", "tenants/alpha/jobs/drain/runs", &large, 413),
        ("POST", "plugins", b"not wasm", 422),
    ] {
        let told = served.ask(method, path, Some(&served.admin), &[], body).await;
        assert_eq!(
            (told.status, told.header("content-type")),
            (status, "application/problem+json"),
            "{method} {path}: {}",
            told.body
        );
    }
    let files = json!({ "files": [{ "path": "alpha.toml", "text": "tenant = \"alpha\"\ncolour = 1\n" }] });
    let told = served.post("apply", &files).await;
    let error = &told.body["errors"][0];
    assert_eq!((told.status, &error["file"], &error["line"]), (422, &json!("alpha.toml"), &json!(2)), "{}", told.body);
    let files = json!({ "files": [{ "path": "gamma.toml", "text": "tenant = \"gamma\"\n" }], "dry_run": true });
    let told = served.post("apply", &files).await;
    assert_eq!(told.body["changes"][0], json!({ "object": "tenant gamma", "result": "created", "what": [], "diff": [] }));
    assert_eq!(served.get("tenants/gamma").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_run_is_cancelled_and_a_paused_job_says_so() {
    let served = Served::new().await;
    let job = served.world.job("drain", json!({ "triggers": [{ "schedule": "30 2 * * *" }] })).await;
    let run = served.world.enqueue(&job).await;
    let paused = served.post("tenants/alpha/jobs/drain/pause", &json!({})).await.body;
    assert_eq!((&paused["health"], &paused["paused_by"]), (&json!("paused"), &json!("test")));
    assert_eq!(paused["triggers"][0]["next"].as_array().unwrap().len(), 5);
    assert_eq!(paused["next_due_at"], "2026-11-23T02:30:00.000Z");
    let address = format!("tenants/alpha/runs/{run}");
    assert_eq!(served.get(&address).await.body["why"], "the job is paused by test");
    assert_eq!(served.post("tenants/alpha/jobs/drain/resume", &json!({})).await.body["paused_at"], Value::Null);
    let told = served.post(&format!("{address}/cancel"), &json!({})).await;
    assert_eq!((told.status, &told.body["state"]), (200, &json!("cancelled")));
    assert_eq!(served.post(&format!("{address}/cancel"), &json!({})).await.status, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_read_on_from_the_last_line() {
    let served = Served::new().await;
    let job = served.world.job("drain", json!({})).await;
    let run = served.world.enqueue(&job).await;
    let line = |n: u64| Line {
        at: TEN,
        level: Level::Info,
        message: format!("line {n}"),
        fields: vec![("wiki".into(), "alpha".into())],
    };
    let chunk = |attempt, seq, lines: std::ops::Range<u64>| LogChunk {
        tenant: job.tenant,
        run,
        attempt,
        seq,
        first_line: lines.start,
        lines: lines.map(line).collect(),
        dropped: 0,
        calls: Vec::new(),
    };
    let mut tx = served.world.store.begin().await.unwrap();
    tx.append_logs(&[chunk(1, 0, 1..4), chunk(1, 1, 4..6), chunk(2, 0, 1..3)]).await.unwrap();
    tx.commit().await.unwrap();
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = served.get(&format!("tenants/alpha/runs/{run}/logs?limit=3{after}")).await.body;
        assert_eq!(page["state"], "waiting");
        seen.extend(page["items"].as_array().unwrap().iter().map(|line| format!("{}.{}", line["attempt"], line["number"])));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, ["1.1", "1.2", "1.3", "1.4", "1.5", "2.1", "2.2"]);
    let second = served.get(&format!("tenants/alpha/runs/{run}/logs?attempt=2")).await.body;
    assert_eq!((second["items"].as_array().unwrap().len(), &second["items"][0]["fields"]), (2, &json!({ "wiki": "alpha" })));
    assert_eq!(served.get(&format!("tenants/alpha/runs/{run}/logs?attempt=1")).await.body["count"]["value"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_has_rates_and_its_run_says_which_size_asked() {
    let served = Served::new().await;
    let backlog = json!({ "probe": "plugin", "every": "15s", "per_run": 500, "lag_limit": "180s" });
    served.world.job("drain", json!({ "triggers": [{ "backlog": backlog }] })).await;
    let never = served.get("tenants/alpha/backlogs").await.body["items"][0].clone();
    assert_eq!(
        (&never["size"], &never["lag_limit_ms"], &never["rate_out_per_min"]),
        (&Value::Null, &json!(180_000), &Value::Null)
    );
    served.world.guests.backlog.lock().unwrap().insert("drain".into(), Ok(305));
    let runner = served.world.start().await;
    let found = async || served.get("tenants/alpha/runs").await.body["items"].get(0).cloned();
    let run = served.world.until("the backlog makes a run", Duration::from_secs(1), found).await;
    assert_eq!(run["trigger"], json!({ "kind": "backlog", "size": 305 }));
    let rated =
        async || Some(served.get("backlogs").await.body["items"][0].clone()).filter(|of| !of["rate_in_per_min"].is_null());
    let backlog = served.world.until("two sizes are measured", Duration::from_secs(1), rated).await;
    let documented = [
        "tenant",
        "job",
        "size",
        "age_ms",
        "lag_ms",
        "lag_limit_ms",
        "rate_in_per_min",
        "rate_out_per_min",
        "empty_in_ms",
        "health",
        "sampled_at",
        "error",
    ];
    assert_eq!(keys(&backlog)[..documented.len()], documented);
    assert_eq!((&backlog["size"], &backlog["error"]), (&json!(305), &Value::Null));
    runner.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_set_and_never_told() {
    let served = Served::new().await;
    let put = served.ask("PUT", "tenants/alpha/secrets/wiki-key", Some(&served.admin), &[], b"hunter2\n").await;
    assert_eq!((put.status, &put.body["version"]), (200, &json!(1)));
    let list = served.get("tenants/alpha/secrets").await.body;
    assert_eq!(list["items"][0]["name"], "wiki-key");
    assert!(!list.to_string().contains("hunter2") && !put.body.to_string().contains("hunter2"));
    assert_eq!(served.get("tenants/alpha/secrets/other").await.status, 404);
    assert_eq!(served.ask("PUT", "tenants/alpha/secrets/Wiki_Key", Some(&served.admin), &[], b"x").await.status, 422);
    let rotate = async |name: &str, value: &[u8]| {
        served.ask("POST", &format!("tenants/alpha/secrets/{name}/rotate"), Some(&served.admin), &[], value).await
    };
    assert_eq!(rotate("other", b"hunter3").await.status, 404);
    let same = rotate("wiki-key", b"hunter2\n").await;
    assert!(same.status == 422 && same.body.to_string().contains("the value that stands"), "{}", same.body);
    assert_eq!(rotate("wiki-key", b"hunter3").await.body["version"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_works_until_it_is_revoked() {
    let served = Served::new().await;
    let issued = served.post("tokens", &json!({ "name": "ci", "role": "viewer", "tenant": "beta", "lasts_ms": 60_000 })).await;
    assert_eq!(
        (issued.status, &issued.body["tenant"], &issued.body["expires_at"]),
        (201, &json!("beta"), &json!("2026-11-22T10:01:00.000Z"))
    );
    let token = issued.body["token"].as_str().unwrap().to_owned();
    let sees = async || served.ask("GET", "tenants/beta", Some(&token), &[], b"").await.status;
    assert_eq!(sees().await, 200);
    let list = served.get("tokens").await.body;
    assert!(!list.to_string().contains(&token), "shown once");
    let id = issued.body["id"].as_str().unwrap();
    let revoke = async || served.ask("DELETE", &format!("tokens/{id}"), Some(&served.admin), &[], b"").await.status;
    assert_eq!((revoke().await, sees().await, revoke().await), (204, 401, 404));
    assert_eq!(served.post("tokens", &json!({ "name": "x", "role": "king" })).await.status, 422);

    // A tenant's admin sees and ends the tenant's tokens, and no sign of others.
    let of_beta = served.token(Role::Admin, Some("beta")).await;
    let other = served.post("tokens", &json!({ "name": "y", "role": "viewer", "tenant": "alpha" })).await.body;
    let list = served.ask("GET", "tokens", Some(&of_beta), &[], b"").await.body;
    let tenants: Vec<_> = list["items"].as_array().unwrap().iter().map(|token| token["tenant"].clone()).collect();
    assert_eq!(tenants, ["beta", "beta"]);
    let end = async |id: &str| served.ask("DELETE", &format!("tokens/{id}"), Some(&of_beta), &[], b"").await.status;
    assert_eq!(end(other["id"].as_str().unwrap()).await, 404);
    assert_eq!(end(list["items"][1]["id"].as_str().unwrap()).await, 204);
    assert_eq!(end(list["items"][1]["id"].as_str().unwrap()).await, 401, "it was its own");
}
