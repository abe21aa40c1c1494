//! What came of a case against what was expected, in lines that a person can follow.

use std::collections::BTreeMap;

use serde_json::Value;

use super::cases::Expected;
use crate::domain::item::ItemState;
use crate::domain::log::Line;

/// What came of it.
#[derive(Default)]
pub struct Came {
    pub outcome: &'static str,
    pub class: Option<&'static str>,
    pub message: String,
    pub output: Value,
    pub log: Vec<Line>,
    pub items: BTreeMap<String, ItemState>,
    pub state: BTreeMap<String, String>,
    /// By field.
    pub problems: BTreeMap<String, String>,
    /// Requests that nothing was written for.
    pub unexpected: Vec<String>,
    /// Answers that nobody came for.
    pub left: Vec<String>,
}

/// One line for each thing that is not as expected; none when all is.
pub fn differences(expected: &Expected, came: &Came) -> Vec<String> {
    let mut lines = Vec::new();
    let mut differ = |what: &str, wanted: &str, got: &str| lines.push(format!("{what}: expected {wanted}, got {got}"));
    if let Some(outcome) = expected.outcome.as_ref().filter(|outcome| *outcome != came.outcome) {
        differ("outcome", outcome, &format!("{}: {}", came.outcome, came.message));
    }
    if let Some(class) = expected.class.as_ref().filter(|class| came.class != Some(class.as_str())) {
        differ("class", class, came.class.unwrap_or("none"));
    }
    if let Some(part) = expected.message.as_ref().filter(|part| !came.message.contains(part.as_str())) {
        differ("message", &format!("{part:?} in it"), &format!("{:?}", came.message));
    }
    if let Some(state) = &expected.state {
        texts("state", state, &came.state, |text| format!("{text:?}"), &mut differ);
    }
    if let Some(items) = &expected.items {
        texts("items", items, &came.items, |state| state.word().to_owned(), &mut differ);
    }
    if let Some(problems) = &expected.problems {
        // Of what is wrong a part is written: the words are for people.
        let fits = |field: &String, said: &String| problems.get(field).filter(|part| said.contains(part.as_str())).cloned();
        let said = came.problems.iter().map(|(field, said)| (field.clone(), fits(field, said).unwrap_or_else(|| said.clone())));
        texts("problems", problems, &said.collect(), |text| format!("{text:?}"), &mut differ);
    }
    let mut rest = came.log.iter();
    for part in &expected.log {
        if !rest.any(|line| line.message.contains(part.as_str())) {
            let there = came.log.iter().any(|line| line.message.contains(part.as_str()));
            differ("log", &format!("a line with {part:?}"), if there { "it before another" } else { "none" });
            break;
        }
    }
    if let Some(output) = &expected.output {
        json("output", output, &came.output, false, &mut lines);
    }
    if let Some(output) = &expected.output_has {
        json("output", output, &came.output, true, &mut lines);
    }
    lines.extend(came.unexpected.iter().map(|request| format!("http: nothing was written for {request}")));
    lines.extend(came.left.iter().map(|request| format!("http: nobody asked for {request}")));
    lines
}

/// Exactly these keys with these values.
fn texts<T: PartialEq>(
    what: &str,
    expected: &BTreeMap<String, T>,
    came: &BTreeMap<String, T>,
    words: impl Fn(&T) -> String,
    differ: &mut impl FnMut(&str, &str, &str),
) {
    let shown = |value: Option<&T>| value.map_or("nothing".to_owned(), &words);
    let keys: std::collections::BTreeSet<&String> = expected.keys().chain(came.keys()).collect();
    for key in keys {
        if expected.get(key) != came.get(key) {
            differ(&format!("{what}.{key}"), &shown(expected.get(key)), &shown(came.get(key)));
        }
    }
}

/// Place by place, so that one number in a large object is found. `open`: objects may have more keys than are expected.
fn json(path: &str, expected: &Value, came: &Value, open: bool, lines: &mut Vec<String>) {
    match (expected, came) {
        (Value::Object(wanted), Value::Object(got)) => {
            let more = got.keys().filter(|key| !open && !wanted.contains_key(*key));
            for key in wanted.keys().chain(more) {
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned();
                match (of(wanted), of(got)) {
                    (Some(wanted), Some(got)) => json(&format!("{path}.{key}"), &wanted, &got, open, lines),
                    (Some(wanted), None) => lines.push(format!("{path}.{key}: expected {wanted}, got nothing")),
                    (None, Some(got)) => lines.push(format!("{path}.{key}: expected nothing, got {got}")),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(wanted), Value::Array(got)) if wanted.len() == got.len() => {
            for (n, (wanted, got)) in wanted.iter().zip(got).enumerate() {
                json(&format!("{path}[{n}]"), wanted, got, open, lines);
            }
        }
        (wanted, got) if wanted != got => lines.push(format!("{path}: expected {wanted}, got {got}")),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::Timestamp;
    use crate::domain::log::Level;

    #[test]
    fn every_difference_is_a_line_with_its_place() {
        let line = |message: &str| Line { at: Timestamp(0), level: Level::Info, message: message.into(), fields: Vec::new() };
        let came = Came {
            outcome: "failed",
            class: Some("transient"),
            message: "503".into(),
            output: json!({"a": {"b": [1, 3]}, "more": 1}),
            log: vec![line("second"), line("first")],
            items: BTreeMap::from([("x".into(), ItemState::Failed)]),
            state: BTreeMap::new(),
            problems: BTreeMap::from([("api".into(), "\"x\" is no URL".into()), ("rate".into(), "is too high".into())]),
            unexpected: vec!["GET http://a/".into()],
            left: vec!["GET http://b/".into()],
        };
        let expected = Expected {
            outcome: Some("succeeded".into()),
            class: Some("transient".into()),
            message: Some("5".into()),
            output: Some(json!({"a": {"b": [1, 2]}})),
            output_has: Some(json!({"a": {"b": [1, 4]}})),
            problems: Some(BTreeMap::from([("api".into(), "is no URL".into()), ("rate".into(), "too low".into())])),
            items: Some(BTreeMap::from([("x".into(), ItemState::Done)])),
            log: vec!["first".into(), "second".into()],
            state: Some(BTreeMap::from([("k".into(), "v".into())])),
        };
        assert_eq!(
            differences(&expected, &came),
            [
                "outcome: expected succeeded, got failed: 503",
                "state.k: expected \"v\", got nothing",
                "items.x: expected done, got failed",
                "problems.rate: expected \"too low\", got \"is too high\"",
                "log: expected a line with \"second\", got it before another",
                "output.a.b[1]: expected 2, got 3",
                "output.more: expected nothing, got 1",
                "output.a.b[1]: expected 4, got 3",
                "http: nothing was written for GET http://a/",
                "http: nobody asked for GET http://b/",
            ]
        );
        assert!(differences(&Expected::default(), &Came { unexpected: Vec::new(), left: Vec::new(), ..came }).is_empty());
    }
}
