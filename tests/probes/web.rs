//! A number in a JSON answer, and the queue of another job.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::scene::Scene;

/// Answers by path; answers 401 without the token where there is one to show.
fn target() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, asked) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            count.fetch_add(1, Relaxed);
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let has_token = head.iter().any(|line| line.eq_ignore_ascii_case("x-token: tok-3-secret"));
            let (status, body) = match first.split(' ').nth(1).unwrap_or_default() {
                "/queue" => (200, r#"{"queue":{"length":305,"oldest_s":12.5},"state":"ok"}"#.to_owned()),
                "/guarded" if has_token => (200, r#"{"n":4}"#.to_owned()),
                "/guarded" => (401, format!("no such token: {}", head.join(" "))),
                "/page" => (200, "<!DOCTYPE html><title>Sign in</title>".to_owned()),
                "/large" => (200, format!("[{}1]", "1,".repeat(1_000_000))),
                _ => (503, "try later".to_owned()),
            };
            let length = body.len();
            let _ = write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
        }
    });
    (port, asked)
}

#[test]
fn a_number_in_a_json_answer_is_measured() {
    let (port, asked) = target();
    let base = format!("http://127.0.0.1:{port}");
    let mut scene = Scene::start("http", &[base.clone(), "http://127.0.0.1:1".into()]);
    scene.secret("token", "tok-3-secret");
    scene.secret("wrong", "tok-4-secret");
    let of = |path: &str, rest: &str| format!("probe = \"http\", url = \"{base}/{path}\", path = {rest}");
    let outside = scene.refused(&[("elsewhere", of("queue", "\"$.queue\"").replace("127.0.0.1", "localhost"))]);
    assert!(outside.contains("is not within the tenant's ceiling"), "{outside}");
    assert_eq!(asked.load(Relaxed), 0, "not a byte was sent");

    scene.apply(&[
        ("queue", of("queue", "\"$.queue.length\", age = \"$.queue.oldest_s\"")),
        ("guarded", of("guarded", "\"$.n\", header = \"X-Token\", secret = \"token\"")),
        ("denied", of("guarded", "\"$.n\", header = \"X-Token\", secret = \"wrong\"")),
        ("text", of("queue", "\"$.state\"")),
        ("missing", of("queue", "\"$.queue.size\"")),
        ("page", of("page", "\"$.n\"")),
        ("large", of("large", "\"$[0]\"")),
        ("down", of("queue", "\"$.n\"").replace(&port.to_string(), "1")),
    ]);
    let backlog = scene.measures("queue", 305);
    assert_eq!(backlog["age_ms"], 12_500, "{backlog}");
    scene.measures("guarded", 4);
    scene.fails("denied", "answered 401: no such token");
    let echoed = scene.backlog("denied")["error"].to_string();
    assert!(!echoed.contains("tok-4") && echoed.contains("(secret)"), "{echoed}");
    scene.fails("text", "is no number but \"ok\"");
    scene.fails("missing", "nothing is at $.queue.size");
    scene.fails("page", "no JSON");
    scene.fails("large", "more than 1048576 bytes");
    scene.fails("down", "cannot be reached");
    assert!(!scene.server.log().contains("tok-4-secret"));
}

#[test]
fn windlass_itself_is_never_a_target_and_the_queue_of_a_job_is_measured() {
    let mut scene = Scene::start("queue", &[]);
    let queue = |job: &str| format!("probe = \"queue\", job = \"{job}\"");
    let itself = scene.refused(&[("again", queue("again"))]);
    assert!(itself.contains("backlog.job: is this job itself"), "{itself}");
    let nobody = scene.refused(&[("after", queue("nobody"))]);
    assert!(nobody.contains("backlog.job: there is no job \"nobody\" in this file"), "{nobody}");
    // Two that wait for each other's runs have none.
    scene.apply(&[("one", queue("two")), ("two", queue("one"))]);
    let backlog = scene.backlog_is("one", |backlog| backlog["size"] == 0);
    assert!(backlog["error"].is_null(), "{backlog}");
    scene.server.json(&["job", "pause", "probes/two"]);
    for _ in 0..2 {
        scene.server.json(&["job", "run", "probes/two"]);
    }
    // One is live, the other was merged with it; it waits as long as its job is paused.
    scene.measures("one", 1);
}
