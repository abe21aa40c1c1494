//! Who did what: in the audit, and in the log of the real program.

use std::time::Duration;

use serde_json::{Value, json};

use super::as_holder;
use crate::api::world::Served;
use crate::harness::{Server, wait};
use crate::plugin::guests;

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_is_listed_newest_first_in_pages() {
    let served = Served::new().await;
    served.world.job("j", json!({})).await;
    let admin = async |args: &[&str]| as_holder(&served, &served.admin, args, "").await;
    for verb in ["pause", "resume"] {
        assert_eq!(admin(&["job", verb, "alpha/j"]).await.code, 0);
    }
    let listed = admin(&["audit", "list", "--tenant", "alpha"]).await;
    let lines: Vec<&str> = listed.out.lines().collect();
    assert!(listed.code == 0 && lines.len() == 3, "{}{}", listed.out, listed.err);
    assert!(lines[1].contains("job.resume") && lines[2].contains("job.pause") && lines[2].contains("alpha"), "{}", listed.out);
    let first: Value = serde_json::from_str(&admin(&["audit", "list", "-n", "1", "--what", "job", "--json"]).await.out).unwrap();
    assert_eq!((&first["items"][0]["what"], &first["items"][0]["who"]), (&json!("job.resume"), &json!("test")));
    let next = first["next"].as_str().unwrap();
    let second = admin(&["audit", "list", "-n", "1", "--what", "job", "--after", next]).await.out;
    assert!(second.contains("job.pause") && !second.contains("--after"), "{second}");
    assert_eq!(admin(&["audit", "list", "--tenant", "nobody"]).await.code, 2);
}

#[test]
fn the_log_says_who_did_what_and_which_job_an_alert_is_of() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    std::fs::write(dir.path().join("hostile.wasm"), guests::hostile()).unwrap();
    let file = "tenant = \"acme\"\n[[job]]\nname = \"ill\"\nplugin = \"hostile\"\nretry = { attempts = 1 }\n";
    std::fs::write(dir.path().join("acme.toml"), file).unwrap();
    assert_eq!(server.cli(&["plugin", "push", "hostile.wasm"]).code, 0);
    assert_eq!(server.cli(&["apply", "acme.toml"]).code, 0);
    assert_eq!(server.cli(&["job", "pause", "acme/ill"]).code, 0);
    assert_eq!(server.cli(&["job", "resume", "acme/ill"]).code, 0);
    let input = json!({ "attack": "learn", "name": "broken" }).to_string();
    assert_eq!(server.cli(&["job", "run", "acme/ill", "--input", &input, "--wait"]).code, 1);
    let line = |says: &str| server.log().lines().find(|line| line.contains(says)).map(str::to_owned);
    for says in ["audit: apply", "audit: job.pause", "audit: job.resume", "audit: token.issue"] {
        let found = line(says).unwrap_or_else(|| panic!("{says}: {}", server.log()));
        assert!(found.contains("INFO") && found.contains("who="), "{found}");
    }
    let paused = line("audit: job.pause").unwrap();
    assert!(
        paused.contains("command line on this machine") && paused.contains("\"acme\"") && paused.contains("\"ill\""),
        "{paused}"
    );
    let alert = wait("the alert is logged", Duration::from_secs(30), || line("alert: 1 dead run needs a person"));
    assert!(alert.contains("\"acme\"") && alert.contains("\"ill\"") && !alert.contains("node.id"), "{alert}");
    assert!(line("an attempt ended").is_none(), "what goes its way is for developers");
}
