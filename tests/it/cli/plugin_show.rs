//! `windlass plugin show`: what a plugin's page says, to programs and in a terminal.

use serde_json::{Value, json};
use windlass::domain::member::Role;
use windlass::domain::rollout::Tally;

use super::as_holder;
use crate::api::pushes::push_with;
use crate::api::world::Served;
use crate::plugin::modules;
use crate::world::{TEN, rollout};

#[tokio::test(flavor = "multi_thread")]
async fn plugin_show_says_its_versions_and_who_uses_which() {
    let served = Served::new().await;
    let push = async |version: &str, says: &str| {
        let query = format!("name=greeter&version={version}");
        let pushed = push_with(&served, &query, &served.admin, &[], &modules::program(says, None)).await;
        pushed["digest"].as_str().unwrap().to_owned()
    };
    let (old, new) = (push("1.0.0", "hello").await, push("1.10.0", "good day").await);
    let world = &served.world;
    let spec = json!({ "name": "greets", "plugin": "greeter", "grant": { "memory": "32 MiB" } });
    let mut tx = world.store.begin().await.unwrap();
    let job = tx.put_job(world.tenant.id, &serde_json::from_value(spec).unwrap(), &new, "ann", TEN).await.unwrap();
    tx.put_rollout(&rollout(&job, &old, &new, 250_000, Tally::default())).await.unwrap();
    tx.commit().await.unwrap();
    let show = async |token: &str, args: &[&str]| as_holder(&served, token, &[&["plugin", "show"], args].concat(), "").await;
    let shown = show(&served.admin, &["greeter", "--json"]).await;
    let shown: Value = serde_json::from_str(&shown.out).unwrap();
    let versions: Vec<_> = shown["versions"].as_array().unwrap().iter().map(|one| (&one["version"], &one["digest"])).collect();
    assert_eq!(versions, [(&json!("1.10.0"), &json!(new)), (&json!("1.0.0"), &json!(old))], "the newest first");
    let used: Vec<_> = shown["used_by"].as_array().unwrap().iter().map(|one| (&one["version"], &one["runs"])).collect();
    let right = [(&json!("1.10.0"), &json!("25 % of new runs, on trial")), (&json!("1.0.0"), &json!("the other runs"))];
    assert_eq!(used, right);
    assert_eq!(shown["used_by"][0]["grant"]["memory"], "32 MiB");
    let text = show(&served.admin, &["greeter"]).await.out;
    let line = |begins: &str| text.lines().find(|line| line.starts_with(begins)).unwrap_or_else(|| panic!("{begins}: {text}"));
    assert!(line("1.10.0").ends_with(&new) && line("offers").contains("run"), "{text}");
    assert!(line("alpha/greets").ends_with("25 % of new runs, on trial"), "{text}");
    // Who may not see the job sees the plugin, which is everybody's, and nobody that uses it.
    let stranger = served.token(Role::Viewer, Some("beta")).await;
    let shown = show(&stranger, &["greeter"]).await.out;
    assert!(shown.contains(&old) && shown.ends_with("no job uses it\n") && !shown.contains("alpha"), "{shown}");
    let none = show(&served.admin, &["greter"]).await;
    assert!(none.code != 0 && none.err.contains("the plugin greter"), "{}", none.err);
    assert_eq!(show(&served.admin, &["../tokens"]).await.code, 2);
}
