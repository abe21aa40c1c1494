//! The contract stands: what was in it stays as it was, and a component that was built against it runs (docs/adr/0015).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use windlass::domain::attempt::Outcome;
use windlass::domain::item::{Answer, Ask, ItemCounts, NewItem};
use windlass::plugin::{Executor, StateAnswer, StateAsk};

use super::{house, work};

const GOLDEN: &str = include_str!("../../data/windlass-1.0.0.wit");
const TODAY: &str = include_str!("../../../plugins/wit/windlass.wit");
/// Built of tests/guests/contract on the day the contract was frozen. It is never built again.
const FIXTURE: &[u8] = include_bytes!("../../data/contract-1.0.0.wasm");

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
    for (name, text) in golden {
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
