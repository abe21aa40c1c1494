//! A new version seen and moved over the API, and plugins that have to be signed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use windlass::app::Who;
use windlass::app::apply::Source;
use windlass::config::{Plugins, Settings};
use windlass::domain::member::Role;
use windlass::domain::rollout::Tally;

use super::pushes::push_with;
use super::world::Served;
use crate::plugin::modules;
use crate::world::rollout;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_is_seen_with_its_job_and_moved_by_an_operator() {
    let served = Served::new().await;
    let job = served.world.job("j", json!({})).await;
    let path = "tenants/alpha/jobs/j";
    assert!(served.get(path).await.body.get("rollout").is_none());
    assert_eq!(served.post(&format!("{path}/rollout/pause"), &json!(null)).await.status, 404);
    let mut tx = served.world.store.begin().await.unwrap();
    tx.put_rollout(&rollout(&job, &job.digest, "sha256:new", 100_000, Tally { old_done: 9, new_done: 1, ..Tally::default() }))
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
        let body = served.get(path).await.body;
        let (share, digest) = match stage {
            "running" => (0.1, &*job.digest),
            "promoted" => (1.0, "sha256:new"),
            _ => (0.0, &*job.digest),
        };
        assert_eq!((&body["rollout"]["stage"], &body["rollout"]["share"]), (&json!(stage), &json!(share)), "{step}");
        assert_eq!(body["plugin"]["digest"], digest, "what new runs take, after {step}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v13_a_release_goes_to_one_tenant_and_stays_there_until_others_are_applied() {
    let served = Served::new().await;
    let world = &served.world;
    let release = async |version: &str| {
        let query = format!("name=rel&version={version}");
        let ready = push_with(&served, &query, &served.admin, &[], &modules::program(version, None)).await;
        assert_eq!(ready["state"], "ready", "{ready}");
    };
    let apply = async |tenant: &str| {
        let text = format!("tenant = \"{tenant}\"\n[[job]]\nname = \"j\"\nplugin = \"rel@1\"\nmax_live = 0\n");
        let source = Source { path: format!("{tenant}.toml"), text };
        served.app.apply(vec![source], false, &Who::server()).await.unwrap();
    };
    let version = async |tenant: &str| served.get(&format!("tenants/{tenant}/jobs/j")).await.body["plugin"]["version"].clone();
    release("1.0.0").await;
    apply("alpha").await;
    apply("beta").await;
    release("1.1.0").await;
    assert_eq!((version("alpha").await, version("beta").await), (json!("1.0.0"), json!("1.0.0")), "a push is nobody's release");
    // One tenant first, until it has proven itself there.
    apply("alpha").await;
    let runner = world.start().await;
    for _ in 0..25 {
        let told = served.post("tenants/alpha/jobs/j/runs", &json!({})).await;
        assert_eq!(told.status, 201, "{}", told.body);
    }
    let well = async || {
        let count = served.get("tenants/alpha/runs?state=succeeded").await.body["count"]["value"].as_u64();
        (count == Some(25)).then_some(())
    };
    world.until("its runs have ended", std::time::Duration::from_millis(100), well).await;
    let proven = async || {
        served.get("tenants/alpha/jobs/j").await.body.get("rollout").is_none_or(|it| it["stage"] != "running").then_some(())
    };
    world.until("it is proven", std::time::Duration::from_secs(1), proven).await;
    assert_eq!((version("alpha").await, version("beta").await), (json!("1.1.0"), json!("1.0.0")));
    apply("beta").await;
    assert_eq!(version("beta").await, json!("1.1.0"), "then the rest");
    runner.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_wants_signatures_takes_what_a_trusted_key_has_signed() {
    let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let plugins = Plugins { require_signature: true, trusted_keys: vec![pair.pk.to_base64()] };
    let served = Served::with(Settings { plugins, ..Settings::default() }).await;
    let bytes = modules::program("hello", None);
    let sign = |bytes: &[u8]| minisign::sign(None, &pair.sk, bytes, None, None).unwrap().to_string();
    let push = async |served: &Served, signature: Option<&str>| {
        let header = signature.map(|text| STANDARD.encode(text));
        let headers: Vec<_> = header.iter().map(|text| ("x-windlass-signature", text.as_str())).collect();
        push_with(served, "name=program&version=1.0.0", &served.admin, &headers, &bytes).await
    };
    let unsigned = push(&served, None).await;
    let why = unsigned["message"].as_str().unwrap();
    assert!(why.starts_with("signature: this node takes only plugins that are signed") && why.contains("--signature"), "{why}");
    let other = push(&served, Some(&sign(b"other bytes"))).await;
    assert!(other["state"] == "refused" && other["message"].as_str().unwrap().contains("not of these bytes"), "{other}");
    let compiled = std::fs::read_dir(served.world.dir.path().join("compiled")).map_or(0, Iterator::count);
    assert_eq!(compiled, 0, "nobody compiles what is not signed");
    let garbled = [("x-windlass-signature", "no base 64")];
    let told = served.ask("POST", "plugins?name=program", Some(&served.admin), &garbled, &bytes).await;
    assert_eq!((told.status, told.body["detail"].as_str().unwrap().contains("base 64")), (422, true), "{}", told.body);

    let good = sign(&bytes);
    let ready = push(&served, Some(&good)).await;
    assert!(ready["state"] == "ready" && ready["new"] == true, "{ready}");
    let list = served.get("plugins").await.body;
    let program = list["items"].as_array().unwrap().iter().find(|one| one["name"] == "program").unwrap();
    assert_eq!(program["signed"], true);
    // A signature that is given must be good also where nobody asks for one.
    let refused = push(&Served::new().await, Some(&good)).await;
    assert!(refused["message"].as_str().unwrap().contains("a key that this node trusts"), "{refused}");
}
