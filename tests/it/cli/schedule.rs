//! What came of a job's schedules, and making up for it, from the command line.

use serde_json::json;

use windlass::clock::{Clock, SystemClock, Timestamp};

use crate::harness::Server;

const TENANT: &str = "tenant = \"acme\"\n[[job]]\nname = \"haul\"\nplugin = \"noop\"\ntriggers = [{ schedule = \"0 * * * *\" }]\n\
                      [[job]]\nname = \"tidy\"\nplugin = \"noop\"\ntriggers = [{ after = { job = \"haul\" } }]\n";

#[test]
fn a_window_is_made_up_for_once_and_the_ledger_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = Server::start(&data);
    std::fs::write(data.join("acme.toml"), TENANT).unwrap();
    assert_eq!(server.cli(&["apply", "acme.toml"]).code, 0);
    // The three hours before the last full one.
    let hour = SystemClock.now().minute() / 60 * 3_600_000;
    let [from, last, to] = [3, 1, 0].map(|hours| Timestamp(hour - hours * 3_600_000).rfc3339());
    let window = ["job", "backfill", "acme/haul", "--from", &from, "--to", &to];
    let preview = server.json(&[&window[..], &["--dry-run"]].concat());
    assert_eq!((&preview["total"], &preview["had"], &preview["schedule"]), (&json!(3), &json!(0), &json!("0 * * * *")));
    let done = server.cli(&window);
    assert!(done.code == 0 && done.stdout.contains("done: 3 of 3 made a run, 0 left as they were"), "{done:?}");
    let again = server.cli(&window);
    assert!(again.code == 0 && again.stdout.contains("0 runs; 3 times had theirs; nothing was done"), "{again:?}");
    let ledger = server.json(&["job", "occurrences", "acme/haul"]);
    let lines = ledger["items"].as_array().unwrap();
    let past: Vec<_> = lines.iter().filter(|line| line["due_at"].as_str().unwrap() < to.as_str()).collect();
    assert_eq!(
        (past.len(), &past[0]["result"], &past[0]["note"]),
        (3, &json!("backfilled"), &json!("by command line on this machine"))
    );
    let shown = server.cli(&["job", "occurrences", "acme/haul"]);
    assert!(shown.stdout.contains(&last), "{shown:?}");
    let early = ["job", "backfill", "acme/haul", "--from", "2020-01-01T00:00:00Z", "--to", "2020-01-01T03:00:00Z", "--dry-run"];
    let told = server.cli(&early);
    assert!(told.code == 0 && told.stdout.contains("3 runs; 0 times"), "a young job had none that are forgotten: {told:?}");
    let wrong = server.cli(&["job", "backfill", "acme/tidy", "--from", "2020-01-01T00:00:00Z", "--to", "2020-01-02T00:00:00Z"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("has no schedule"), "{wrong:?}");
    let roles = server.json(&["doctor"]);
    assert!(roles["checks"].as_array().unwrap().iter().any(|check| check["detail"] == "web, scheduler, worker"), "{roles}");
    let memory = roles["checks"].as_array().unwrap().iter().find(|check| check["name"] == "memory").unwrap();
    assert!(memory["detail"].as_str().unwrap().contains("three quarters of the"), "{memory}");
}
