//! A new version seen and moved over the API, and plugins that have to be signed.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use windlass::app::push::Called;
use windlass::app::{App, Who};
use windlass::config::{Plugins, Settings};
use windlass::domain::member::Role;
use windlass::domain::rollout::{Rollout, Stage, Tally};

use super::world::Served;
use crate::plugin::guests;
use crate::world::TEN;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_is_seen_with_its_job_and_moved_by_an_operator() {
    let served = Served::new().await;
    let job = served.world.job("j", json!({})).await;
    let path = "tenants/alpha/jobs/j";
    assert!(served.get(path).await.body.get("rollout").is_none());
    assert_eq!(served.post(&format!("{path}/rollout/pause"), &json!(null)).await.status, 404);
    let mut tx = served.world.store.begin().await.unwrap();
    tx.put_rollout(&Rollout {
        job: job.id,
        tenant: job.tenant,
        old: job.digest.clone(),
        new: "sha256:new".into(),
        share: 100_000,
        stage: Stage::Running,
        moved: false,
        why: None,
        began_at: TEN,
        changed_at: TEN,
        changed_by: "ann".into(),
        tally: Tally { old_done: 9, new_done: 1, ..Tally::default() },
    })
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let seen = served.get(path).await.body["rollout"].clone();
    assert_eq!((&seen["share"], &seen["stage"], &seen["new"]["done"]), (&json!(0.1), &json!("running"), &json!(1)), "{seen}");
    let viewer = served.token(Role::Viewer, Some("alpha")).await;
    let stranger = served.token(Role::Admin, Some("beta")).await;
    for (token, step, status, stage) in [
        (&viewer, "pause", 403, "running"),
        (&stranger, "pause", 404, "running"),
        (&served.admin, "leap", 404, "running"),
        (&served.admin, "pause", 200, "paused"),
        (&served.admin, "pause", 409, "paused"),
        (&served.admin, "resume", 200, "running"),
        (&served.admin, "promote", 200, "promoted"),
        (&served.admin, "rollback?retries=old", 200, "rolled_back"),
        (&served.admin, "promote", 409, "rolled_back"),
    ] {
        let told = served.ask("POST", &format!("{path}/rollout/{step}"), Some(token), &[], b"").await;
        assert_eq!(told.status, status, "{step}: {}", told.body);
        assert_eq!(served.get(path).await.body["rollout"]["stage"], stage, "{step}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_wants_signatures_takes_what_a_trusted_key_has_signed() {
    let served = Served::new().await;
    let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let plugins = Plugins { require_signature: true, trusted_keys: vec![pair.pk.to_base64()] };
    let app = App { settings: Arc::new(Settings { plugins, ..Settings::default() }), ..served.app.clone() };
    let bytes = guests::command().to_vec();
    let push = async |signature: Option<&str>| {
        let called = Called { name: Some("program"), version: Some("1.0.0"), signature, ..Called::default() };
        app.push(called, bytes.clone(), None, &Who::server()).await
    };
    let wrong = push(None).await.unwrap_err().to_string();
    assert!(
        wrong.starts_with("signature: this node takes only plugins that are signed") && wrong.contains("--signature"),
        "{wrong}"
    );
    let other = minisign::sign(None, &pair.sk, &b"other bytes"[..], None, None).unwrap().to_string();
    assert!(push(Some(&other)).await.unwrap_err().to_string().contains("not of these bytes"));
    let good = minisign::sign(None, &pair.sk, &bytes[..], None, None).unwrap().to_string();
    let (plugin, new) = push(Some(&good)).await.unwrap();
    assert!(new && plugin.signature.as_deref() == Some(good.as_str()));
    // A signature that is given must be good also where nobody asks for one.
    let header = STANDARD.encode(&good);
    let headers = [("content-type", "application/wasm"), ("x-windlass-signature", header.as_str())];
    let told = served.ask("POST", "plugins?name=again&version=1.0.0", Some(&served.admin), &headers, &bytes).await;
    assert_eq!(told.status, 422, "its keys are nobody's here: {}", told.body);
    let list = served.get("plugins").await.body;
    let program = list["items"].as_array().unwrap().iter().find(|one| one["name"] == "program").unwrap();
    assert_eq!(program["signed"], true);
}
