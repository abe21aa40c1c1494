//! Ambient things: there are none. And plain programs, which get theirs as arguments, environment and input.

use serde_json::json;
use windlass::domain::attempt::{Class, Outcome};
use windlass::plugin::Executor;
use windlass::plugin::journal::Level;

use super::{attack, data, house, work};

#[tokio::test]
async fn there_are_no_files_no_environment_and_no_arguments() {
    let (outcome, _) = attack(json!({ "attack": "files" })).await;
    let found = data(&outcome);
    for what in ["passwd", "root", "here", "up", "proc", "write"] {
        assert!(found[what]["error"].is_string(), "{what}: {}", found[what]);
    }
    assert_eq!((&found["environment"], &found["arguments"]), (&json!([]), &json!([])));
}

#[tokio::test]
async fn there_are_no_raw_sockets_and_no_names() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let (outcome, _) = attack(json!({ "attack": "socket", "addr": addr, "name": "localhost" })).await;
    let found = data(&outcome);
    for what in ["tcp", "udp", "dns"] {
        assert!(found[what]["error"].is_string(), "{what}: {}", found[what]);
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "somebody came through");
}

#[tokio::test]
async fn a_plain_program_is_a_job() {
    let house = house().await;
    let mut work = work(&house.command, &json!({ "env": "MAX_ROWS" }));
    work.config = r#"{"max-rows": 5, "name": "two words"}"#.into();
    let journal = work.journal.clone();
    let outcome = house.sandbox.execute(work).await;
    assert!(matches!(&outcome, Outcome::Succeeded { summary, .. } if summary == "MAX_ROWS=5"), "{outcome:?}");
    let lines: Vec<_> = journal.take().lines.into_iter().map(|line| (line.level, line.message)).collect();
    assert_eq!(lines[0], (Level::Info, "arguments: --max-rows 5 --name two words".into()));
    assert_eq!(lines[1], (Level::Info, r#"input: {"env":"MAX_ROWS"}"#.into()));
}

#[tokio::test]
async fn a_plain_program_fails_by_its_exit_code() {
    let house = house().await;
    for (input, expected) in [
        (json!({ "exit": 0 }), None),
        (json!({ "exit": 3 }), Some("exit code 1")),
        (json!({ "exit": 3, "stderr": "no such table" }), Some("exit code 1: no such table")),
    ] {
        let outcome = house.sandbox.execute(work(&house.command, &input)).await;
        match expected {
            None => assert_eq!(outcome.word(), "succeeded", "{outcome:?}"),
            Some(message) => assert_eq!(outcome, Outcome::failed(Class::Transient, message)),
        }
    }
    let mut work = work(&house.command, &json!({}));
    work.config = "[]".into();
    assert!(matches!(house.sandbox.execute(work).await, Outcome::Undecodable { .. }));
}
