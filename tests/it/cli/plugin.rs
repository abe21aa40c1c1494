//! `windlass plugin run` and `inspect`: every hostile guest has its outcome, and no server is there.

use std::process::Command;

use serde_json::{Value, json};

use super::windlass;
use crate::plugin::guests;

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("hostile.wasm"), guests::hostile()).unwrap();
        std::fs::write(dir.path().join("command.wasm"), guests::command()).unwrap();
        std::fs::write(dir.path().join("text.wasm"), "no component").unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// The exit code, and what was printed.
    fn run(&self, guest: &str, input: &Value, more: &[&str]) -> (i32, Value) {
        let (file, input) = (self.path(guest), input.to_string());
        let args = ["plugin", "run", &file, "--input", &input, "--json"];
        let ended = windlass(&[&args, more].concat(), None, "");
        (ended.code, serde_json::from_str(&ended.out).unwrap_or_else(|wrong| panic!("{wrong}: {} {}", ended.out, ended.err)))
    }
}

#[test]
fn every_outcome_has_its_word_and_its_code() {
    let files = Files::new();
    for (attack, outcome, says) in [
        ("echo", "succeeded", "echo"),
        ("loop", "timed_out", "time limit"),
        ("sleep", "timed_out", "waiting in a call of the host"),
        ("memory_bomb", "out_of_memory", "the limit is 16.0 MiB"),
        ("panic", "trapped", "a hostile guest panics"),
        ("recursion", "trapped", "stack"),
        ("exit", "trapped", "exit code"),
        ("fail_transient", "failed", "as asked"),
        ("fail_permanent", "failed", "as asked"),
        ("state_count", "succeeded", "1"),
        ("no such thing", "failed", "no attack is called"),
    ] {
        let (code, ran) = files.run("hostile.wasm", &json!({ "attack": attack }), &["--timeout", "2s", "--memory", "16MiB"]);
        assert_eq!((code, &ran["outcome"]), (i32::from(outcome != "succeeded"), &json!(outcome)), "{attack}: {ran}");
        assert!(ran["message"].as_str().unwrap().contains(says), "{attack}: {ran}");
        let peak = ran["peak_memory"].as_u64().unwrap();
        assert!(peak > 1024 * 1024 && peak <= 16 * 1024 * 1024, "{attack}: {ran}");
        assert!(ran["ms"].is_u64() && ran["log"].is_array(), "{attack}: {ran}");
    }
    let (_, ran) = files.run("hostile.wasm", &json!({ "attack": "fail_permanent" }), &[]);
    assert_eq!(ran["class"], "permanent");
    let (_, ran) = files.run("hostile.wasm", &json!({ "attack": "echo" }), &["--job-config", r#"{"a":1}"#]);
    assert_eq!((&ran["output"]["config"], &ran["output"]["attempt"]), (&json!(r#"{"a":1}"#), &json!(1)));
}

#[test]
fn a_program_is_run_and_a_flood_is_cut() {
    let files = Files::new();
    let (code, ran) = files.run("command.wasm", &json!({ "env": "MAX_ROWS" }), &["--job-config", r#"{"max-rows": 5}"#]);
    assert_eq!((code, &ran["message"]), (0, &json!("MAX_ROWS=5")), "{ran}");
    assert_eq!(ran["log"][0]["message"], "arguments: --max-rows 5");
    let (code, ran) = files.run("command.wasm", &json!({ "exit": 3, "stderr": "no such table" }), &[]);
    assert_eq!((code, &ran["outcome"], &ran["message"]), (1, &json!("failed"), &json!("exit code 1: no such table")));
    let (_, ran) = files.run("hostile.wasm", &json!({ "attack": "log_flood" }), &[]);
    assert!(ran["dropped"].as_u64().unwrap() > 90_000, "{}", ran["dropped"]);
}

#[test]
fn nothing_is_asked_but_what_is_allowed() {
    let files = Files::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answering = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello").unwrap();
        listener
    });
    let input = json!({ "attack": "http", "url": url });
    let (_, denied) = files.run("hostile.wasm", &input, &[]);
    assert_eq!(denied["output"]["code"], "HttpRequestDenied", "{denied}");
    assert!(denied["calls"][0]["error"].as_str().unwrap().contains("not granted"), "{denied}");
    let (code, allowed) = files.run("hostile.wasm", &input, &["--allow", &url]);
    assert_eq!((code, &allowed["output"]["body"]), (0, &json!("hello")), "{allowed}");
    answering.join().unwrap();
}

#[test]
fn items_scratch_space_and_files_are_there_when_they_are_given() {
    let files = Files::new();
    let (code, ran) = files.run("hostile.wasm", &json!({ "attack": "items", "n": 3, "fail": 1, "leave": 1 }), &[]);
    let states = |ran: &Value| {
        let items = ran["items"].as_array().unwrap();
        items.iter().map(|item| item["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((code, states(&ran)), (0, vec!["failed".to_owned(), "done".into(), "pending".into()]), "{ran}");
    assert_eq!((&ran["items"][0]["message"], &ran["items"][1]["output"]), (&json!("as asked"), &json!(2)), "{ran}");
    // What the run has already is not declared again: the guest takes it as it stands.
    let before = files.path("items.json");
    std::fs::write(&before, r#"[{"name": "item-0000", "input": 5}, "item-0007"]"#).unwrap();
    let args = ["--items", &before];
    let (_, ran) = files.run("hostile.wasm", &json!({ "attack": "items", "n": 1, "leave": 1 }), &args);
    assert_eq!((&ran["items"][0]["output"], states(&ran)), (&json!(10), vec!["done".to_owned(), "pending".into()]), "{ran}");

    let fill = json!({ "attack": "scratch", "text": "big" });
    assert_eq!(files.run("hostile.wasm", &fill, &[]).1["output"]["steps"], 0, "nothing is granted by itself");
    let (_, ran) = files.run("hostile.wasm", &fill, &["--scratch", "1MiB"]);
    let steps = ran["output"]["steps"].as_u64().unwrap();
    assert!((10..=16).contains(&steps), "{ran}");
    let place = files.path("place");
    files.run("hostile.wasm", &fill, &["--scratch", "1MiB", "--scratch-dir", &place]);
    assert!(std::fs::metadata(format!("{place}/one")).unwrap().len() >= steps * 64 * 1024, "it stays where it was asked for");

    let leave = json!({ "attack": "artifact", "name": "März.csv", "text": "text/csv", "n": 2, "leave": 1, "bytes": 70_000 });
    let (code, ran) = files.run("hostile.wasm", &leave, &[]);
    assert!(code == 1 && ran["message"].as_str().unwrap().contains("--artifacts DIR"), "{ran}");
    let out = files.path("out");
    let (code, ran) = files.run("hostile.wasm", &leave, &["--artifacts", &out]);
    assert_eq!((code, ran["artifacts"].as_array().unwrap().len()), (0, 1), "{ran}");
    let told = &ran["artifacts"][0];
    assert_eq!((&told["name"], &told["media_type"], &told["bytes"]), (&json!("0-März.csv"), &json!("text/csv"), &json!(70_000)));
    assert!(told["digest"].as_str().unwrap().starts_with("sha256:"), "{ran}");
    let there: Vec<_> = std::fs::read_dir(&out).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(there, ["0-März.csv"], "what was not finished is not there");
    assert_eq!(std::fs::read(told["file"].as_str().unwrap()).unwrap(), vec![b'a'; 70_000]);
    // What a run left is what another reads, under the run's id.
    let read = json!({ "attack": "read_artifact", "text": "RUN1", "name": "0-März.csv", "bytes": 40_000 });
    std::fs::create_dir(files.path("left")).unwrap();
    std::fs::rename(&out, files.path("left/RUN1")).unwrap();
    let (code, ran) = files.run("hostile.wasm", &read, &["--artifact-source", &files.path("left")]);
    let says = "70000 bytes in 2 pieces, sum 6790000, application/octet-stream";
    assert_eq!((code, &ran["message"]), (0, &json!(says)), "{ran}");
    let (code, ran) = files.run("hostile.wasm", &read, &[]);
    assert!(code == 1 && ran["message"].as_str().unwrap().contains("--artifact-source DIR"), "{ran}");
    std::fs::rename(files.path("left/RUN1"), &out).unwrap();
    let again = windlass(&["plugin", "run", &files.path("hostile.wasm"), "--artifacts", &out], None, "");
    assert!(again.code == 2 && again.err.contains("has something in it"), "{}", again.err);
}

#[test]
fn a_component_is_told_without_running_it() {
    let files = Files::new();
    let inspect = |name: &str, more: &[&str]| windlass(&[&["plugin", "inspect", &files.path(name)], more].concat(), None, "");
    let told: Value = serde_json::from_str(&inspect("hostile.wasm", &["--json"]).out).unwrap();
    assert_eq!((&told["kind"], &told["bytes"]), (&json!("job"), &json!(guests::hostile().len())));
    assert!(told["exports"].as_array().unwrap().contains(&json!("windlass:plugin/job@1.0.0")), "{told}");
    assert!(told["digest"].as_str().unwrap().starts_with("sha256:") && told["imports"].is_array());
    assert!(inspect("command.wasm", &[]).out.starts_with("WASI program"));
    let wrong = inspect("text.wasm", &[]);
    assert!(wrong.code == 2 && wrong.err.contains("no WebAssembly file"), "{}", wrong.err);
    let wrong = windlass(&["plugin", "run", &files.path("command.wasm"), "--memory", "much"], None, "");
    assert_eq!(wrong.code, 2, "{}", wrong.err);
}

#[test]
fn a_project_is_made_once_and_says_what_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let name = "hello-there";
    let windlass = |args: &[&str], path: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_windlass"));
        let done = command.args(args).current_dir(dir.path()).env("PATH", path).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
    };
    for (lang, mark, tool) in [
        ("rust", "src/lib.rs", "rustup.rs"),
        ("c", "plugin.c", "pip install ziglang"),
        ("js", "plugin.js", "npm install"),
        ("python", "plugin.py", "pip install componentize-py"),
        ("go", "main.go", "go.dev/dl"),
    ] {
        let (code, out, err) = windlass(&["plugin", "new", name, "--lang", lang], "");
        assert_eq!((code, out.contains("windlass plugin build")), (0, true), "{lang}: {out}{err}");
        assert!(dir.path().join(name).join(mark).exists() && dir.path().join(name).join("job.toml").exists(), "{lang}");
        // Whoever has no tool of the language is told, in one line, what to install.
        let (code, _, err) = windlass(&["plugin", "build", name], "/nowhere");
        assert_eq!((code, err.lines().count(), err.contains(tool)), (2, 1, true), "{lang}: {err}");
        let (code, _, err) = windlass(&["plugin", "new", name], "");
        assert!(code == 2 && err.contains("is there already"), "{lang}: {err}");
        std::fs::remove_dir_all(dir.path().join(name)).unwrap();
    }
    for wrong in ["Hello", "../up", "1st", "", "std", "windlass"] {
        let (code, _, err) = windlass(&["plugin", "new", wrong], "");
        assert_eq!((code, err.lines().count(), std::fs::read_dir(dir.path()).unwrap().count()), (2, 1, 0), "{wrong:?}: {err}");
    }
    let (code, _, err) = windlass(&["plugin", "build"], "");
    assert!(code == 2 && err.contains("windlass plugin new NAME"), "{err}");
    let (code, out, _) = windlass(&["plugin", "wit"], "");
    assert!(code == 0 && out.contains("package windlass:plugin@1.0.0;"), "{out}");
}

/// A pool of guests reserves hundreds of GiB of address space, which a container may not give.
#[test]
fn where_there_is_little_address_space_a_guest_runs_without_a_pool_and_the_log_says_so() {
    let files = Files::new();
    // In KiB: the reservation of a few guests, not that of a pool.
    let within = |command: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -v {} && exec \"$0\" {command}", 16 << 20), env!("CARGO_BIN_EXE_windlass")]);
        shell.current_dir(files.0.path()).env("WINDLASS_LOG", "warn");
        let output = shell.env("XDG_CACHE_HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache")).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    };
    let (out, err) = within("plugin run hostile.wasm --json --input '{\"attack\":\"spin_then_ok\",\"ms\":1}'");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["outcome"], "succeeded", "{out} {err}");
    assert!(err.contains("no pool for guests") && err.contains("raise the limit on virtual memory"), "{err}");
    // And its limits hold there, too.
    let (out, err) = within("plugin run hostile.wasm --json --memory 16MiB --input '{\"attack\":\"memory_bomb\"}'");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["outcome"], "out_of_memory", "{out} {err}");
}
