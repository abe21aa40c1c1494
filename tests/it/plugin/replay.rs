//! Recordings: with what was noted a guest does the same without the world, and where it does not, that place is named.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use windlass::clock::Timestamp;
use windlass::domain::attempt::Outcome;
use windlass::domain::grant::{Ceiling, Grant, HttpGrant, SecretGrant, SecretUse};
use windlass::plugin::tape::{Header, Recording, Recordings, Script};
use windlass::plugin::{
    ArtifactAnswer, ArtifactAsk, ArtifactsCall, Executor, Secret, StateAnswer, StateAsk, StateCall, Stop, Tape, Work,
};

use super::http::server;
use super::{data, house, work};

/// A run of the hostile guest that may ask `host`, with a state that holds one value.
async fn live(input: Value, host: &str, change: impl FnOnce(&mut Work)) -> (Outcome, Recording) {
    let house = house().await;
    let mut work = work(&house.hostile, &input);
    let http = vec![HttpGrant { host: host.to_owned(), methods: vec!["GET".into()] }];
    work.grant = Arc::new(Grant { http, ..Grant::default() });
    let networks = vec!["127.0.0.0/8".into()];
    work.ceiling = Arc::new(Ceiling { hosts: vec![host.to_owned()], networks, ..Ceiling::default() });
    let (state, mut calls) = tokio::sync::mpsc::channel::<StateCall>(1);
    work.state = state;
    tokio::spawn(async move {
        while let Some(call) = calls.recv().await {
            let answer = match call.ask {
                StateAsk::Get(_) => StateAnswer::Entry(Some((b"\xfe".to_vec(), 4))),
                _ => StateAnswer::Version(5),
            };
            let _ = call.answer.send(Ok(answer));
        }
    });
    change(&mut work);
    work.tape = Arc::new(Tape::record(Timestamp(0)));
    let head = Header::new(&work, None, Timestamp(0), [0; 32]);
    let (tape, secrets) = (work.tape.clone(), work.secrets.clone());
    let outcome = house.sandbox.execute(work).await;
    // As a file has it.
    let written = Recordings(vec![tape.recording(&outcome, |_, seed| Header { seed, ..head }).unwrap()]).write(&secrets).unwrap();
    (outcome, Recordings::read(&written).unwrap().0.remove(0))
}

/// The same again: no state, no grant, no network; with another input if one is given.
async fn again(recording: &Recording, input: Option<Value>) -> (Outcome, Arc<Tape>) {
    let (house, stop) = (house().await, Arc::new(Stop::default()));
    let tape = Arc::new(Tape::replay(recording.clone(), stop.clone()));
    let mut work = work(&house.hostile, &json!({}));
    work.input = input.map_or_else(|| recording.header.input.clone(), |input| input.to_string());
    work.time_limit = recording.header.time_limit();
    (work.tape, work.stop) = (tape.clone(), stop);
    (house.sandbox.execute(work).await, tape)
}

#[tokio::test]
async fn a_guest_that_is_played_again_learns_the_same_without_the_world() {
    let (address, came) = server().await;
    let host = format!("http://{address}");
    let input = json!({ "attack": "learn", "ms": 20, "url": format!("{host}/ok") });
    let (outcome, recording) = live(input, &host, |_| {}).await;
    let told = data(&outcome);
    assert_eq!((&told["answer"], &told["state"]), (&json!({"status": 200, "bytes": 4}), &json!({"before": true, "version": 5})));
    assert_eq!(told["first"], json!([1]), "{told}");
    let asked = came.load(std::sync::atomic::Ordering::Relaxed);
    for _ in 0..2 {
        let (outcome, tape) = again(&recording, None).await;
        assert_eq!((data(&outcome), tape.divergence()), (told.clone(), None));
    }
    assert_eq!(came.load(std::sync::atomic::Ordering::Relaxed), asked, "a replay asks nobody");
}

#[tokio::test]
async fn a_failure_comes_again_with_the_errors_of_the_network() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let host = format!("http://{gone}");
    let input = json!({ "attack": "learn", "url": format!("{host}/"), "name": "broken" });
    let (outcome, recording) = live(input, &host, |_| {}).await;
    assert!(outcome.message().contains(r#"{"error":"ConnectionRefused"}"#), "{outcome:?}");
    let (replayed, tape) = again(&recording, None).await;
    assert_eq!((replayed, tape.divergence()), (outcome, None));
}

#[tokio::test]
async fn the_call_that_differs_is_named_and_nothing_goes_out() {
    let (address, came) = server().await;
    let host = format!("http://{address}");
    let (_, recording) = live(json!({ "attack": "learn", "url": format!("{host}/ok") }), &host, |_| {}).await;
    let other = json!({ "attack": "learn", "url": format!("{host}/ok?x") });
    let (outcome, tape) = again(&recording, Some(other)).await;
    let found = tape.divergence().unwrap();
    assert_eq!((found.call, found.recorded, found.now), (3, format!("GET {host}/ok"), format!("GET {host}/ok?x")));
    assert_eq!((outcome, came.load(std::sync::atomic::Ordering::Relaxed)), (Outcome::Cancelled, 1));
    let (_, tape) = again(&recording, Some(json!({ "attack": "learn" }))).await;
    assert_eq!(tape.divergence().unwrap().now, "nothing: it ended");
}

#[tokio::test]
async fn who_waited_to_the_end_waits_again_and_not_so_long() {
    let (silent, _nobody_answers) = tokio::sync::mpsc::channel(1);
    let (outcome, recording) = live(json!({ "attack": "state_count" }), "http://127.0.0.1:9", |work| {
        (work.state, work.time_limit) = (silent, Duration::from_secs(2));
    })
    .await;
    assert_eq!((outcome.word(), recording.end.outcome.outcome.as_str()), ("timed_out", "timed_out"));
    let (_, tape) = again(&recording, None).await;
    assert!(tape.waited_to_the_end() && tape.divergence().is_none(), "{:?}", tape.divergence());
}

#[tokio::test]
async fn a_recording_over_its_limit_is_cut_and_a_replay_stops_there() {
    let large = axum::Router::new().route("/", axum::routing::get(async || "x".repeat(3 << 20)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, large).await });
    let (outcome, recording) = live(json!({ "attack": "learn", "url": format!("{host}/") }), &host, |_| {}).await;
    assert_eq!((&data(&outcome)["answer"]["bytes"], recording.end.cut), (&json!(3 << 20), true));
    let (_, tape) = again(&recording, None).await;
    assert!(tape.divergence().unwrap().recorded.contains("the recording was cut at 2.0 MiB"), "{:?}", tape.divergence());
}

#[tokio::test]
async fn a_signature_is_kept_and_the_secret_is_not() {
    let text = "begin-and-go-on";
    let input = json!({ "attack": "sign", "secret": "key", "text": text, "url": "a-secret-value" });
    let (outcome, recording) = live(input, "http://127.0.0.1:9", |work| {
        let (algorithm, begins_with) = (Some("hmac-sha256".into()), Some("begin".into()));
        let key = SecretGrant {
            name: "key".into(),
            usage: SecretUse::Sign,
            algorithm,
            begins_with,
            header: None,
            parameter: None,
            hosts: Vec::new(),
        };
        work.grant = Arc::new(Grant { secrets: vec![key], ..Grant::default() });
        work.secrets = Arc::new(HashMap::from([("key".to_owned(), Secret(Arc::from(&b"a-secret-value"[..])))]));
    })
    .await;
    assert!(data(&outcome)["signature"].is_string());
    assert!(!format!("{recording:?}").contains("a-secret-value"));
    assert!(recording.header.input.contains("{{secret key}}"), "{}", recording.header.input);
    let (replayed, tape) = again(&recording, None).await;
    assert_eq!((data(&replayed), tape.divergence()), (data(&outcome), None));
}

#[tokio::test]
async fn where_the_clock_is_made_up_sleeping_takes_no_time() {
    let house = house().await;
    let mut work = work(&house.hostile, &json!({ "attack": "learn", "ms": 3_600_000 }));
    let (state, mut calls) = tokio::sync::mpsc::channel::<StateCall>(1);
    work.state = state;
    tokio::spawn(async move {
        while let Some(call) = calls.recv().await {
            let none = matches!(call.ask, StateAsk::Get(_));
            let _ = call.answer.send(Ok(if none { StateAnswer::Entry(None) } else { StateAnswer::Version(1) }));
        }
    });
    work.tape = Arc::new(Tape::Scripted(Script::new(Timestamp(1_767_225_600_000), [1; 32], Vec::new())));
    let told = data(&house.sandbox.execute(work).await);
    let slept: u64 = told["slept_ns"].as_str().unwrap().parse().unwrap();
    assert!(Duration::from_nanos(slept) > Duration::from_secs(3600), "{told}");
    assert!(told["wall_ns"].as_str().unwrap().starts_with("1767225600"), "{told}");
    assert_eq!((&told["remaining_ms"], &told["first"]), (&json!(0), &json!([1])), "an hour is over: {told}");
}

#[tokio::test]
async fn what_was_read_of_an_artifact_is_read_again_without_it() {
    let (port, mut calls) = tokio::sync::mpsc::channel::<ArtifactsCall>(1);
    tokio::spawn(async move {
        while let Some(call) = calls.recv().await {
            let answer = match call.ask {
                ArtifactAsk::Open { run, name } => {
                    assert_eq!((run.as_str(), name.as_str()), ("R", "film.mp4"));
                    ArtifactAnswer::Opened { place: "secret/place".into(), bytes: 300_000, media_type: "video/mp4".into() }
                }
                ArtifactAsk::Read { bytes, .. } => {
                    ArtifactAnswer::Read(vec![1; usize::try_from(bytes.end - bytes.start).unwrap()])
                }
                other => panic!("{other:?}"),
            };
            let _ = call.answer.send(Ok(answer));
        }
    });
    let input = json!({ "attack": "read_artifact", "text": "R", "name": "film.mp4", "bytes": 100_001 });
    let (outcome, recording) = live(input, "http://127.0.0.1:9", |work| work.artifacts = Some(port)).await;
    assert_eq!(outcome.message(), "300000 bytes in 3 pieces, sum 300000, video/mp4");
    let (replayed, tape) = again(&recording, None).await;
    assert_eq!((replayed, tape.divergence()), (outcome, None));
    let other = json!({ "attack": "read_artifact", "text": "R", "name": "film.mp4", "bytes": 99_999 });
    let (_, tape) = again(&recording, Some(other)).await;
    assert_eq!(tape.divergence().unwrap().now, r#"artifact-source.read-at "film.mp4" "0..99999""#);
}
