//! `windlass dead list` of one job, and what a tenant that is full answers.

use std::time::Duration;

use serde_json::{Value, json};

use super::as_holder;
use crate::api::world::Served;
use crate::runner::fairness;
use crate::world::transient;

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_looked_for_in_all_tenants_and_only_its_runs_are_listed() {
    let served = Served::new().await;
    for name in ["ill", "worse"] {
        let job = served.world.job(name, json!({ "retry": { "attempts": 1 } })).await;
        served.world.guests.script(name, |_| std::future::ready(transient("503 from the wiki")));
        served.world.enqueue(&job).await;
    }
    let runner = served.world.start().await;
    let admin = async |args: &[&str]| as_holder(&served, &served.admin, &[&["--json"], args].concat(), "").await;
    let jobs = async |args: &[&str]| {
        let ended = admin(args).await;
        assert_eq!(ended.code, 0, "{args:?}: {}", ended.err);
        let list: Value = serde_json::from_str(&ended.out).unwrap();
        let of = |one: &Value| one["job"].as_str().unwrap().to_owned();
        list["items"].as_array().unwrap().iter().map(of).collect::<Vec<_>>()
    };
    let both = async || Some(jobs(&["dead", "list"]).await).filter(|jobs| jobs.len() == 2);
    served.world.until("both are dead", Duration::ZERO, both).await;
    // The tenant beta has no such job.
    assert_eq!(jobs(&["dead", "list", "--job", "ill"]).await, ["ill"]);
    assert_eq!(jobs(&["dead", "list", "--causes", "--job", "worse"]).await, ["worse"]);
    assert_eq!(jobs(&["dead", "list", "--job", "alpha/ill"]).await, ["ill"]);
    for args in [&["dead", "list", "--job", "nosuch"][..], &["dead", "list", "--causes", "--job", "nosuch"]] {
        let ended = admin(args).await;
        assert!(ended.code == 2 && ended.err.contains("job nosuch is not here"), "{args:?}: {} {}", ended.code, ended.err);
    }
    runner.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_is_full_is_no_wrong_use() {
    let served = Served::new().await;
    served.world.job("many", json!({ "max_live": 0 })).await;
    fairness::limit(&served.world, |limits| limits.waiting = Some(1)).await;
    let start = async || as_holder(&served, &served.admin, &["job", "run", "alpha/many"], "").await;
    assert_eq!(start().await.code, 0);
    let full = start().await;
    assert!(full.code == 1 && full.err.contains("limits.waiting = 1"), "{} {}", full.code, full.err);
}
