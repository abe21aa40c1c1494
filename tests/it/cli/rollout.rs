//! `windlass job rollout` and `job show`, after a new version was taken back.

use serde_json::{Value, json};
use windlass::domain::rollout::{ALL, Tally};

use super::as_holder;
use crate::api::world::Served;
use crate::world;

#[tokio::test(flavor = "multi_thread")]
async fn what_new_runs_take_is_named_also_after_a_rollback() {
    let served = Served::new().await;
    // As a file leaves it that only names another version of the plugin: the job's digest is the new one.
    let job = served.world.job("j", json!({})).await;
    let mut tx = served.world.store.begin().await.unwrap();
    tx.put_rollout(&world::rollout(&job, "sha256:old", &job.digest, ALL, Tally::default())).await.unwrap();
    tx.commit().await.unwrap();
    let admin = async |args: &[&str]| as_holder(&served, &served.admin, args, "").await;
    let rollout = async |step: &[&str]| admin(&[&["job", "rollout", "alpha/j"], step].concat()).await;
    let digest = async || {
        let shown: Value = serde_json::from_str(&admin(&["job", "show", "alpha/j", "--json"]).await.out).unwrap();
        let list: Value = serde_json::from_str(&admin(&["job", "list", "--json"]).await.out).unwrap();
        assert_eq!(list["items"][0]["plugin"]["digest"], shown["plugin"]["digest"]);
        shown["plugin"]["digest"].as_str().unwrap().to_owned()
    };
    assert_eq!(digest().await, job.digest);
    assert!(rollout(&[]).await.out.contains("100 %"));
    let paused = rollout(&["pause"]).await;
    assert!(paused.code == 0 && paused.out.starts_with("paused since ") && paused.out.contains(" 0 %"), "{}", paused.out);
    assert_eq!(digest().await, "sha256:old");
    let again = rollout(&["pause"]).await;
    assert!(again.code == 1 && again.err.contains("the new version of alpha/j is paused already"), "{}", again.err);
    assert_eq!(rollout(&["rollback"]).await.code, 0);
    let stands = rollout(&[]).await.out;
    assert!(stands.starts_with("rolled back since ") && stands.contains(" 0 %") && !stands.contains("100 %"), "{stands}");
    let shown = admin(&["job", "show", "alpha/j"]).await.out;
    assert!(shown.contains("(sha256:old)") && shown.contains(&format!("rollout   {} rolled back since ", job.digest)), "{shown}");
    let refused = rollout(&["resume"]).await;
    let says = "the new version of alpha/j is rolled back, and stays so until its file names another version, or none";
    assert!(refused.code == 1 && refused.err.contains(says), "{}", refused.err);
}
