//! `windlass run recording` and `run replay`, from a server and from a file.

use serde_json::{Value, json};

use crate::harness::Server;
use crate::plugin::guests;

#[test]
fn a_failed_attempt_is_fetched_and_played_again_without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut server = Server::start(&data);
    std::fs::write(data.join("hostile.wasm"), guests::hostile()).unwrap();
    std::fs::write(data.join("acme.toml"), "tenant = \"acme\"\n[[job]]\nname = \"haul\"\nplugin = \"hostile\"\n").unwrap();
    assert_eq!(server.cli(&["plugin", "push", "hostile.wasm"]).code, 0);
    assert_eq!(server.cli(&["apply", "acme.toml"]).code, 0);
    let input = json!({ "attack": "learn", "name": "broken" }).to_string();
    let ended = server.cli(&["job", "run", "acme/haul", "--input", &input, "--wait", "--json"]);
    let run: Value = serde_json::from_str(&ended.stdout).unwrap();
    let address = format!("acme/{}", run["id"].as_str().unwrap());

    let fetch = || server.cli(&["run", "recording", &address, "-o", "it.recording"]);
    let fetched = crate::harness::wait("the recording is stored", std::time::Duration::from_secs(20), || {
        let fetched = fetch();
        (fetched.code == 0).then_some(fetched)
    });
    assert!(fetched.stdout.contains("attempt 1 of acme/"), "{fetched:?}");
    let page = server.page(&format!("/t/acme/runs/{}", run["id"].as_str().unwrap()));
    assert!(page.text.contains("/recording/1\" download>Recording</a>"), "{}", page.text);
    let replayed = server.cli(&["run", "replay", &address, "--json"]);
    assert_eq!(replayed.code, 0, "{replayed:?}");
    let replayed: Value = serde_json::from_str(&replayed.stdout).unwrap();
    assert_eq!((&replayed["same"], &replayed["now"]["message"]), (&json!(true), &run["error"]), "{replayed:#}");

    assert!(server.terminate().success());
    let refused = server.cli(&["run", "replay", "it.recording"]);
    assert!(refused.code == 2 && refused.stderr.contains("--plugin FILE"), "{refused:?}");
    let again = server.cli(&["run", "replay", "it.recording", "--plugin", "hostile.wasm"]);
    assert!(again.code == 0 && again.stdout.contains("the same again"), "{again:?}");
    std::fs::write(data.join("command.wasm"), guests::command()).unwrap();
    let other = server.cli(&["run", "replay", "it.recording", "--plugin", "command.wasm"]);
    let says = "it leaves the recording at call 1\n  recorded  state.get \"learned\"\n  now       nothing: it ended\n";
    assert!(other.code == 1 && other.stdout.contains(says), "{other:?}");
    let damaged = server.cli(&["run", "replay", "acme.toml"]);
    assert!(damaged.code == 2 && damaged.stderr.contains("no recording"), "{damaged:?}");
}

#[test]
fn a_run_and_its_finish_are_played_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = Server::start(&data);
    std::fs::write(data.join("gather.wasm"), guests::gather()).unwrap();
    let file = "tenant = \"acme\"\n[[job]]\nname = \"haul\"\nplugin = \"gather\"\nrecord = \"always\"\n";
    std::fs::write(data.join("acme.toml"), file).unwrap();
    assert_eq!(server.cli(&["plugin", "push", "gather.wasm"]).code, 0);
    assert_eq!(server.cli(&["apply", "acme.toml"]).code, 0);
    let input = json!({ "names": ["a", "bb", "ccc"], "broken": "bb" }).to_string();
    let ended = server.cli(&["job", "run", "acme/haul", "--input", &input, "--wait", "--json"]);
    let run: Value = serde_json::from_str(&ended.stdout).unwrap();
    let address = format!("acme/{}", run["id"].as_str().unwrap());
    let replayed = crate::harness::wait("the recording is stored", std::time::Duration::from_secs(20), || {
        let replayed = server.cli(&["run", "replay", &address, "--json"]);
        (replayed.code == 0).then_some(replayed)
    });
    let replayed: Value = serde_json::from_str(&replayed.stdout).unwrap();
    let told = "2 done, 1 failed, 0 skipped in all";
    assert_eq!((&replayed["same"], &replayed["now"]["message"]), (&json!(true), &json!(told)), "{replayed:#}");
    assert_eq!(
        (&replayed["then"]["message"], &replayed["now"]["output"]),
        (&json!(told), &json!("{\"done\":2}")),
        "{replayed:#}"
    );
}
