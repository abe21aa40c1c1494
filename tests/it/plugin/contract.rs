//! The contract stands: what was in it stays as it was, and a component that was built against it runs (docs/adr/0015).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::any;
use serde_json::json;
use windlass::domain::attempt::Outcome;
use windlass::domain::grant::{Ceiling, Grant};
use windlass::domain::item::{Answer, Ask, ItemCounts, NewItem};
use windlass::plugin::{ArtifactAnswer, ArtifactAsk, Executor, Secret, StateAnswer, StateAsk};

use super::{house, work};

const GOLDEN: &str = include_str!("../../data/windlass-1.0.0.wit");
/// What was added since, an interface at a time.
const ADDED: &str = include_str!("../../data/windlass-1.0.0-fetch.wit");
const TODAY: &str = include_str!("../../../plugins/wit/windlass.wit");
/// Built of tests/guests/contract on the day the contract was frozen. It is never built again.
const FIXTURE: &[u8] = include_bytes!("../../data/contract-1.0.0.wasm");
/// Of tests/guests/contract-fetch, when `secrets`, `artifacts` and `fetch` were offered. The same holds for it.
const LATER: &[u8] = include_bytes!("../../data/contract-1.0.0-fetch.wasm");

/// Interfaces by name, without comments and in one spacing.
fn interfaces(wit: &str) -> BTreeMap<String, String> {
    let code: Vec<&str> = wit.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
    let mut found = BTreeMap::new();
    for (at, _) in code.match_indices("interface ") {
        let rest = &code[at..];
        let mut depth = 0;
        let end = rest.char_indices().find_map(|(at, letter)| {
            depth += i32::from(letter == '{') - i32::from(letter == '}');
            (letter == '}' && depth == 0).then_some(at)
        });
        let name = rest.split_whitespace().nth(1).unwrap().to_owned();
        found.insert(name, rest[..=end.unwrap()].to_owned());
    }
    found
}

#[test]
fn what_stands_in_the_contract_stays_as_it_is() {
    let (golden, today) = (interfaces(GOLDEN), interfaces(TODAY));
    assert_eq!(golden.len(), 16, "{:?}", golden.keys());
    let added = interfaces(ADDED);
    assert_eq!(added.len(), 1, "{:?}", added.keys());
    for (name, text) in golden.into_iter().chain(added) {
        assert_eq!(today.get(&name), Some(&text), "the interface {name} was changed: the contract grows by new interfaces only");
    }
    assert!(TODAY.contains("package windlass:plugin@1.0.0;"));
}

#[tokio::test]
async fn a_component_of_the_first_day_runs_with_all_it_has() {
    let house = house().await;
    let found = house.sandbox.catalog().add(FIXTURE.to_vec()).await.unwrap();
    assert_eq!(found.summary, "Has the whole contract 1.0.0");
    let (state, mut state_calls) = tokio::sync::mpsc::channel(1);
    let (items, mut item_calls) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(windlass::plugin::Call { ask, answer }) = state_calls.recv().await {
            let told = match ask {
                StateAsk::Get(_) => StateAnswer::Entry(Some((b"value".to_vec(), 1))),
                StateAsk::Set { .. } => StateAnswer::Version(1),
                StateAsk::Delete { .. } => StateAnswer::Done,
                StateAsk::Keys { .. } => StateAnswer::Keys(vec!["key".into()]),
            };
            answer.send(Ok(told)).unwrap();
        }
    });
    tokio::spawn(async move {
        while let Some(windlass::plugin::Call { ask, answer }) = item_calls.recv().await {
            let told = match ask {
                Ask::Declare(items) => Answer::Count(items.len() as u64),
                Ask::Next(_) => Answer::Items(vec![NewItem { name: "one".into(), input: "1".into() }]),
                Ask::Finish(endings) => Answer::Count(endings.len() as u64),
            };
            answer.send(Ok(told)).unwrap();
        }
    });
    let asked = || {
        let mut work = work(&found.digest, &json!({}));
        (work.state, work.items) = (state.clone(), Some(items.clone()));
        work
    };
    let first = asked();
    let journal = Arc::clone(&first.journal);
    let ran = house.sandbox.execute(first).await;
    let Outcome::Succeeded { summary, data, counts } = &ran else { panic!("{ran:?}") };
    assert_eq!(summary, "value 5, 1 keys, 1 open, 1 ended, not-granted, stop false");
    assert!(data.as_deref() == Some("{\"whole\":true}") && counts.is_some_and(|counts| counts.left == Some(0)));
    let taken = journal.take();
    assert_eq!((taken.lines[0].message.as_str(), taken.progress.map(|last| last.done)), ("begun", Some(1)));
    let totals = ItemCounts { done: 2, failed: 1, ..ItemCounts::default() };
    let finished = house.sandbox.finish(asked(), totals).await;
    assert_eq!(finished.message(), "2 done, 1 failed, 0 skipped");
    let measured = house.sandbox.measure(asked()).await.unwrap();
    assert_eq!((measured.size, measured.age_ms), (2, Some(7)));
    let problems = house.sandbox.check(&found.digest, "{\"bad\":1}".into()).await.unwrap_err();
    assert_eq!((problems[0].field.as_str(), problems.len()), ("bad", 1));
}

/// Answers as the store would; what was left behind whole is its answer at the end.
async fn shelf(mut calls: tokio::sync::mpsc::Receiver<windlass::plugin::ArtifactsCall>) -> Vec<(String, Vec<u8>)> {
    let (mut open, mut whole) = (Vec::new(), Vec::new());
    while let Some(windlass::plugin::Call { ask, answer }) = calls.recv().await {
        let at = |handle: u64| usize::try_from(handle).unwrap();
        let told = match ask {
            ArtifactAsk::Create { name, media_type } => {
                open.push((format!("{name} ({media_type})"), Vec::new()));
                open.len() as u64 - 1
            }
            ArtifactAsk::Write { handle, bytes } => {
                open[at(handle)].1.extend(bytes);
                0
            }
            ArtifactAsk::Finish { handle } => {
                whole.push(open[at(handle)].clone());
                open[at(handle)].1.len() as u64
            }
            ArtifactAsk::Discard { .. } | ArtifactAsk::Open { .. } | ArtifactAsk::Read { .. } => 0,
        };
        answer.send(Ok(ArtifactAnswer::Number(told))).unwrap();
    }
    whole
}

#[tokio::test]
async fn a_component_of_the_day_of_fetch_runs_with_all_it_has() {
    let house = house().await;
    let found = house.sandbox.catalog().add(LATER.to_vec()).await.unwrap();
    assert_eq!(found.summary, "Has what came to the contract 1.0.0 later");
    let came = async |headers: HeaderMap, body: String| {
        format!("{body} with {}", headers["authorization"].to_str().unwrap().replace("the-v4lue", "its value"))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(any(came))).await });
    let mut work = work(&found.digest, &json!(format!("{host}/in")));
    let grant = json!({
        "http": [{ "host": host, "methods": ["POST"] }],
        "secrets": [{ "name": "key", "use": "header", "header": "Authorization", "hosts": [host] }],
    });
    work.grant = Arc::new(serde_json::from_value::<Grant>(grant).unwrap());
    work.ceiling = Arc::new(Ceiling { hosts: vec![host], networks: vec!["127.0.0.0/8".into()], ..Ceiling::default() });
    work.secrets = Arc::new([("key".to_owned(), Secret(b"the-v4lue"[..].into()))].into());
    let (artifacts, calls) = tokio::sync::mpsc::channel(1);
    work.artifacts = Some(artifacts);
    let kept = tokio::spawn(shelf(calls));
    let ran = house.sandbox.execute(work).await;
    let says = "200 text/plain; charset=utf-8, 27 bytes kept, not-granted, HttpRequestDenied, finished";
    assert!(matches!(&ran, Outcome::Succeeded { summary, .. } if summary == says), "{ran:?}");
    let answer = b"hello with Bearer its value".to_vec();
    assert_eq!(kept.await.unwrap(), [("answer.txt (text/plain)".to_owned(), answer)], "and nothing of what was half");
}
