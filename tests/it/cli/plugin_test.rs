//! `windlass plugin test` and `plugin check`: cases pass, fail with what differs, and are the same each time.

use std::path::Path;

use serde_json::{Value, json};
use windlass::plugin::EMBEDDED;

use super::windlass;
use crate::plugin::guests;

const CASES: &str = r#"
[[case]]
name = "learns"
input = { attack = "learn", url = "http://target.test/", ms = 3_600_000 }
now = "2026-02-03T04:05:06Z"
state = { learned = "before" }
http = [{ url = "http://target.test/", text = "hello" }]
[case.expect]
outcome = "succeeded"
message = "learned"

[[case]]
name = "works on items"
input = { attack = "items", n = 3, fail = 1 }
[case.expect]
items = { item-0000 = "failed", item-0001 = "done", item-0002 = "done" }

[[case]]
name = "is refused"
input = { attack = "http", url = "http://other.test/" }
[case.expect]
outcome = "failed"
"#;

fn tested(dir: &Path, more: &[&str]) -> (i32, Value) {
    let file = dir.join("hostile.wasm");
    let ended = windlass(&[&["plugin", "test", file.to_str().unwrap(), "--json"], more].concat(), None, "");
    (ended.code, serde_json::from_str(&ended.out).unwrap_or_else(|wrong| panic!("{wrong}: {} {}", ended.out, ended.err)))
}

#[test]
fn a_case_passes_or_says_what_differs_and_costs_the_same_each_time() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("hostile.wasm"), guests::hostile()).unwrap();
    std::fs::write(dir.path().join("cases.toml"), CASES).unwrap();
    let (code, report) = tested(dir.path(), &[]);
    assert_eq!((code, &report["passed"], &report["failed"]), (1, &json!(2), &json!(1)), "{report:#}");
    let cases = report["cases"].as_array().unwrap();
    let differences: Vec<&str> = cases[2]["differences"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(differences[0].starts_with("outcome: expected failed, got succeeded: GET http://other.test/: "), "{report:#}");
    assert_eq!(differences[1..], ["http: nothing was written for GET http://other.test/"], "{report:#}");
    assert!(cases.iter().all(|case| case["fuel"].as_u64().unwrap() > 1_000 && case["peak_memory"].as_u64().unwrap() > 65_536));
    let (_, again) = tested(dir.path(), &[]);
    let fuel = |report: &Value| report["cases"].as_array().unwrap().iter().map(|case| case["fuel"].clone()).collect::<Vec<_>>();
    assert_eq!(fuel(&report), fuel(&again));
    std::fs::write(
        dir.path().join("wrong.toml"),
        "[[case]]\nname = \"x\"\nhttp = [{ url = \"u\", error = \"Conection\" }]\n[case.expect]\noutcom = \"x\"\n",
    )
    .unwrap();
    let wrong = dir.path().join("wrong.toml");
    let file = dir.path().join("hostile.wasm");
    let ended = windlass(&["plugin", "test", file.to_str().unwrap(), "--cases", wrong.to_str().unwrap()], None, "");
    assert!(ended.code == 2 && ended.err.contains("wrong.toml:5: case[0].expect.outcom: there is no such key"), "{}", ended.err);
}

/// Everything but `run`: what is right passes, what is wrong says how.
const CALLS: &str = r#"
[[case]]
name = "a good configuration"
call = "check"
config = { good = 1 }
[case.expect]
outcome = "succeeded"
problems = {}

[[case]]
name = "a bad one"
call = "check"
config = { bad = 7 }
[case.expect]
outcome = "failed"
problems = { bad = "7 is not good" }

[[case]]
name = "a bad one that is taken for good"
call = "check"
config = { bad = 7 }
[case.expect]
outcome = "succeeded"
problems = {}

[[case]]
name = "how much waits"
call = "measure"
config = { backlog = 41 }
[case.expect]
outcome = "succeeded"
output = { size = 41 }

[[case]]
name = "nobody knows how much waits"
call = "measure"
config = { backlog = "the target is away" }
[case.expect]
outcome = "failed"
message = "the target is away"

[[case]]
name = "what it is"
call = "describe"
[case.expect]
output_has = { wants = [] }

[[case]]
name = "what it is, in another time"
call = "describe"
[case.expect]
output_has = { version = "0.0.7" }
"#;

#[test]
fn a_case_may_call_any_export() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("hostile.wasm"), guests::hostile()).unwrap();
    std::fs::write(dir.path().join("cases.toml"), CALLS).unwrap();
    let (code, report) = tested(dir.path(), &[]);
    assert_eq!((code, &report["passed"], &report["failed"]), (1, &json!(5), &json!(2)), "{report:#}");
    let cases = report["cases"].as_array().unwrap();
    let of = |n: usize| cases[n]["differences"].as_array().unwrap().iter().filter_map(Value::as_str).collect::<Vec<_>>();
    assert_eq!(of(2)[1], "problems.bad: expected nothing, got \"7 is not good; leave it out\"", "{report:#}");
    assert!(of(2)[0].starts_with("outcome: expected succeeded, got failed: "), "{report:#}");
    assert!(of(6)[0].starts_with("output.version: expected \"0.0.7\", got "), "{report:#}");
    // A probe costs something that can be told; a check and a description are asked aside.
    assert!(cases[3]["fuel"].as_u64().unwrap() > 1_000 && cases[0]["fuel"].is_null(), "{report:#}");
    // What a plugin cannot do is no success.
    std::fs::write(dir.path().join("hostile.wasm"), guests::gather()).unwrap();
    let (_, report) = tested(dir.path(), &[]);
    assert_eq!(report["cases"][0]["message"], "the plugin has no config export", "{report:#}");
    let wrong = dir.path().join("wrong.toml");
    let case = "[[case]]\nname = \"x\"\ncall = \"describe\"\ninput = { a = 1 }\n[case.expect]\nclass = \"permanent\"\n";
    std::fs::write(&wrong, case).unwrap();
    let file = dir.path().join("hostile.wasm");
    let ended = windlass(&["plugin", "test", file.to_str().unwrap(), "--cases", wrong.to_str().unwrap()], None, "");
    assert_eq!((ended.code, ended.err.lines().count()), (2, 2), "{}", ended.err);
    let says = "case[0].expect.class: belongs to call = \"run\", and this case has call = \"describe\"";
    assert!(ended.err.contains(says), "{}", ended.err);
}

#[test]
fn real_answers_are_recorded_once_and_serve_the_next_tests() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("hostile.wasm"), guests::hostile()).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let cases = format!(
        "[[case]]\nname = \"asks\"\ninput = {{ attack = \"http\", url = \"{url}/\" }}\nrecording = \"asks.recording\"\nallow = [\"{url}\"]\n\
         [case.expect]\noutput = {{ status = 200, body = \"hello\" }}\n"
    );
    std::fs::write(dir.path().join("cases.toml"), cases).unwrap();
    let missing = windlass(&["plugin", "test", dir.path().to_str().unwrap()], None, "");
    assert!(missing.code == 2 && missing.err.contains("--record writes it"), "{}", missing.err);
    let answering = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello").unwrap();
    });
    let (code, report) = tested(dir.path(), &["--record"]);
    assert_eq!(code, 0, "{report:#}");
    answering.join().unwrap();
    for _ in 0..2 {
        let (code, report) = tested(dir.path(), &[]);
        assert_eq!(code, 0, "nobody listens any more: {report:#}");
    }
}

#[test]
fn the_cases_of_the_plugins_that_come_along_pass() {
    let dir = tempfile::tempdir().unwrap();
    for embedded in EMBEDDED {
        let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins").join(embedded.name).join("cases.toml");
        if !cases.exists() {
            continue;
        }
        let file = dir.path().join(format!("{}.wasm", embedded.name));
        std::fs::write(&file, embedded.bytes).unwrap();
        let ended = windlass(&["plugin", "test", file.to_str().unwrap(), "--cases", cases.to_str().unwrap()], None, "");
        assert_eq!(ended.code, 0, "{}: {} {}", embedded.name, ended.out, ended.err);
    }
}

#[test]
fn a_check_names_what_is_asked_and_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("hostile.wasm"), guests::hostile()).unwrap();
    std::fs::write(path("no-job.wasm"), guests::no_job()).unwrap();
    let good = windlass(&["plugin", "check", &path("hostile.wasm")], None, "");
    assert_eq!(good.code, 0, "{} {}", good.out, good.err);
    assert!(good.out.contains("asks  http: sends HTTP requests: grant.http\n"), "{}", good.out);
    let bad = windlass(&["plugin", "check", &path("no-job.wasm")], None, "");
    assert!(bad.code == 1 && bad.out.contains("bad   contract: it exports neither"), "{}", bad.out);
    let job = "tenant = \"acme\"\n[ceiling]\nhosts = [\"http://a.test\"]\n[[job]]\nname = \"haul\"\nplugin = \"hostile\"\nconfig = { bad = 1 }\n";
    std::fs::write(path("acme.toml"), job).unwrap();
    let bad = windlass(&["plugin", "check", &path("hostile.wasm"), "--tenant-file", &path("acme.toml")], None, "");
    assert_eq!(bad.code, 1);
    for says in ["no secret is granted for it", "config.bad: 1 is not good"] {
        assert!(bad.out.contains("bad   job haul: ") && bad.out.contains(says), "{says}: {}", bad.out);
    }
    assert!(!bad.out.contains("grant.http ="), "it imports HTTP, and says that it does not want it: {}", bad.out);
    let sends = windlass::plugin::EMBEDDED.iter().find(|plugin| plugin.name == "http-request").unwrap();
    std::fs::write(path("http-request.wasm"), sends.bytes).unwrap();
    std::fs::write(path("acme.toml"), job.replace("hostile", "http-request")).unwrap();
    let bad = windlass(&["plugin", "check", &path("http-request.wasm"), "--tenant-file", &path("acme.toml")], None, "");
    assert!(bad.code == 1 && bad.out.contains("none is granted: grant.http"), "{}", bad.out);
}
