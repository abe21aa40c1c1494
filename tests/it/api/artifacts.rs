//! Artifacts and state over HTTP: who may see a run may have its files, and nothing of them runs in a browser.

use std::time::Duration;

use serde_json::json;
use windlass::domain::member::Role;

use super::world::Served;
use crate::runner::artifacts::Artifacts;
use crate::world::{TEN, well};

const PAGE: &str = "<script>alert(document.cookie)</script>";

#[tokio::test(flavor = "multi_thread")]
async fn a_run_s_files_are_listed_and_saved_and_are_another_tenant_s_secret() {
    let served = Served::new().await;
    let job = served.world.job("j", json!({})).await;
    served.world.guests.script("j", |work| {
        let artifacts = Artifacts::of(work);
        async move {
            artifacts.put("März \"1\".html", "text/html", PAGE.as_bytes()).await.unwrap();
            well(None)
        }
    });
    let runner = served.world.start().await;
    let id = served.world.enqueue(&job).await;
    served.world.ended(id, Duration::ZERO).await;
    let list = served.get(&format!("tenants/alpha/runs/{id}/artifacts")).await;
    let one = &list.body["items"][0];
    assert_eq!((list.status, &one["name"], &one["bytes"]), (200, &json!("März \"1\".html"), &json!(PAGE.len())), "{}", list.body);
    assert_eq!(one["digest"].as_str().unwrap().len(), 71);

    let path = format!("tenants/alpha/runs/{id}/artifacts/M%C3%A4rz%20%221%22.html");
    let got = served.ask("GET", &path, Some(&served.admin), &[("accept-encoding", "gzip")], b"").await;
    assert_eq!((got.status, got.body), (200, json!(PAGE)));
    let header = |name: &str| got.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    assert_eq!(header("content-type"), "text/html");
    assert_eq!(
        header("content-disposition"),
        "attachment; filename=\"M_rz _1_.html\"; filename*=UTF-8''M%C3%A4rz%20%221%22.html"
    );
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert!(header("content-security-policy").starts_with("sandbox"), "{:?}", got.headers);
    assert_eq!((header("content-length"), header("content-encoding")), (PAGE.len().to_string().as_str(), ""));

    let stranger = served.token(Role::Admin, Some("beta")).await;
    for path in [path.as_str(), &format!("tenants/alpha/runs/{id}/artifacts"), &path.replace("html", "txt")] {
        assert_eq!(served.ask("GET", path, Some(&stranger), &[], b"").await.status, 404, "{path}");
    }
    assert_eq!(served.get(&path.replace("html", "txt")).await.status, 404);
    runner.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_s_state_is_listed_shown_and_deleted_by_an_operator() {
    let served = Served::new().await;
    let job = served.world.job("j", json!({})).await;
    let mut tx = served.world.store.begin().await.unwrap();
    tx.state_put(job.id, "a/b", b"text".to_vec(), 3, TEN).await.unwrap();
    tx.state_put(job.id, "raw", vec![0xff, 0], 1, TEN).await.unwrap();
    tx.commit().await.unwrap();
    let list = served.get("tenants/alpha/jobs/j/state").await.body;
    assert_eq!(list["items"][0], json!({"key": "a/b", "bytes": 4, "version": 3, "updated_at": "2026-11-22T10:00:00.000Z"}));
    let text = served.get("tenants/alpha/jobs/j/state/a%2Fb").await.body;
    assert_eq!((&text["text"], &text["base64"]), (&json!("text"), &json!("dGV4dA==")));
    let raw = served.get("tenants/alpha/jobs/j/state/raw").await.body;
    assert_eq!((&raw["text"], &raw["base64"]), (&json!(null), &json!("/wA=")));
    let (viewer, stranger) = (served.token(Role::Viewer, Some("alpha")).await, served.token(Role::Admin, Some("beta")).await);
    for (token, status) in [(&viewer, 403), (&stranger, 404), (&served.admin, 204), (&served.admin, 404)] {
        let told = served.ask("DELETE", "tenants/alpha/jobs/j/state/a%2Fb", Some(token), &[], b"").await;
        assert_eq!(told.status, status, "{}", told.body);
    }
    assert_eq!(served.get("tenants/alpha/jobs/j/state").await.body["count"]["value"], 1);

    let mut tx = served.world.store.begin().await.unwrap();
    for n in 0..5 {
        tx.state_put(job.id, &format!("page & {n}"), b"x".to_vec(), 1, TEN).await.unwrap();
    }
    tx.commit().await.unwrap();
    let (mut keys, mut after) = (Vec::new(), String::new());
    loop {
        let page = served.get(&format!("tenants/alpha/jobs/j/state?limit=4{after}")).await.body;
        assert_eq!(page["count"], json!({ "value": 6, "capped": false }));
        keys.extend(page["items"].as_array().unwrap().iter().map(|one| one["key"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={}", windlass::web::address::encoded(next));
    }
    assert_eq!(keys, ["page & 0", "page & 1", "page & 2", "page & 3", "page & 4", "raw"]);
}
