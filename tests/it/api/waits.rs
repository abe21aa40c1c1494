//! What a waiting run says it waits for, and what a full tenant answers.

use std::time::Duration;

use serde_json::json;
use windlass::config::{Class, Settings};
use windlass::span::Size;

use super::world::Served;
use crate::database;
use crate::runner::fairness;

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_run_says_what_it_lacks_and_a_full_tenant_takes_no_more() {
    let mut settings = Settings::default();
    settings.classes.insert("heavy".into(), Class { running: Some(2), priority: 0 });
    settings.worker.memory_budget = Some(Size::mib(200));
    let served = Served::with(settings).await;
    let world = &served.world;
    let heavy = world.job("heavy", json!({"max_live": 0, "class": "heavy"})).await;
    let light = world.job("light", json!({"max_live": 0})).await;
    let start = async |job: &str| served.post(&format!("tenants/alpha/jobs/{job}/runs"), &json!({})).await;
    assert_eq!(start("heavy").await.body["why"], "waits for a free worker", "so far nobody looked");
    for _ in 0..3 {
        start("heavy").await;
        start("light").await;
    }
    world.clock.advance(Duration::from_secs(2));
    let newest = async |job: &str| {
        served.get(&format!("tenants/alpha/runs?state=waiting&job={job}")).await.body["items"][0]["why"].clone()
    };
    assert_eq!(newest("heavy").await, "waits for a free worker");
    assert_eq!(world.claim(heavy.id, 2).await.len(), 2);
    assert_eq!(newest("heavy").await, "limit of the class: 2 of 2 runs of the class heavy at a time");
    assert_eq!(world.claim(light.id, 1).await.len(), 1);
    if !database::is_postgres() {
        assert_eq!(newest("light").await, "memory: a run may take 64 MiB; 8 MiB of this node's budget are free");
    }
    fairness::limit(world, |limits| (limits.running, limits.waiting) = (3, Some(5))).await;
    assert_eq!(newest("light").await, "limit of the tenant: 3 of 3 runs at a time");
    assert_eq!(start("light").await.status, 201);
    let refused = start("light").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "5"));
    assert!(refused.body["detail"].as_str().unwrap().contains("limits.waiting = 5"), "{}", refused.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_ends_within_a_year_and_what_is_wrong_with_it_names_its_field() {
    let served = Served::new().await;
    served.world.job("drain", json!({})).await;
    let told = served.post("tenants/alpha/jobs/drain/resume", &json!({ "at": 1 })).await;
    assert_eq!((told.status, &told.body["errors"][0]["field"]), (422, &json!("at")), "unknown keys are refused");
    for (until, says) in [("x", "is no time; write it as in"), ("9999-12-31T23:59:59Z", "a year is the longest")] {
        let told = served.post("tenants/alpha/jobs/drain/pause", &json!({ "until": until })).await;
        assert!(told.status == 422 && told.body["errors"][0]["message"].as_str().unwrap().contains(says), "{}", told.body);
        assert_eq!(told.body["errors"][0]["field"], "until");
    }
}
