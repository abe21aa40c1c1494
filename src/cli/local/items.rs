//! A run's items without a store.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::domain::item::{Answer, Ask, Ending, ItemState, NewItem};
use crate::plugin::{ItemsCall, Refusal};

/// In the order they were declared.
#[derive(Default)]
pub struct Desk(Vec<Entry>);

struct Entry {
    item: NewItem,
    state: ItemState,
    message: String,
    /// JSON.
    output: Option<String>,
}

/// An item, as it is told afterwards.
#[derive(Debug, Serialize)]
pub struct Told {
    pub name: String,
    pub state: ItemState,
    pub message: String,
    pub output: Value,
}

impl Desk {
    /// With items that a run before has declared.
    pub fn with(items: Vec<NewItem>) -> Self {
        let mut desk = Self::default();
        desk.declare(items);
        desk
    }

    pub async fn serve(&mut self, mut calls: mpsc::Receiver<ItemsCall>) -> std::convert::Infallible {
        while let Some(ItemsCall { ask, answer }) = calls.recv().await {
            // A guest that was stopped meanwhile does not mind.
            let _ = answer.send(self.answered(ask));
        }
        std::future::pending().await
    }

    pub fn states(&self) -> BTreeMap<String, ItemState> {
        self.0.iter().map(|entry| (entry.item.name.clone(), entry.state)).collect()
    }

    pub fn told(self) -> Vec<Told> {
        // The host let no output pass that is no JSON.
        let output = |text: Option<String>| text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let told = |Entry { item, state, message, output: text }| Told { name: item.name, state, message, output: output(text) };
        self.0.into_iter().map(told).collect()
    }

    fn declare(&mut self, items: Vec<NewItem>) {
        let mut known: HashSet<String> = self.0.iter().map(|entry| entry.item.name.clone()).collect();
        for item in items {
            if known.insert(item.name.clone()) {
                self.0.push(Entry { item, state: ItemState::Pending, message: String::new(), output: None });
            }
        }
    }

    fn answered(&mut self, ask: Ask) -> Result<Answer, Refusal> {
        match ask {
            Ask::Declare(items) => {
                self.declare(items);
                Ok(Answer::Count(self.0.iter().filter(|entry| entry.state.is_open()).count() as u64))
            }
            Ask::Next(max) => {
                let open = self.0.iter_mut().filter(|entry| entry.state == ItemState::Pending).take(max as usize);
                Ok(Answer::Items(
                    open.map(|entry| {
                        entry.state = ItemState::Running;
                        entry.item.clone()
                    })
                    .collect(),
                ))
            }
            Ask::Finish(endings) => self.finish(endings),
        }
    }

    fn finish(&mut self, endings: Vec<Ending>) -> Result<Answer, Refusal> {
        let known = |name: &str| self.0.iter().any(|entry| entry.item.name == name);
        if let Some(ending) = endings.iter().find(|ending| !known(&ending.name)) {
            return Err(Refusal { code: "not-declared", message: format!("{:?} was not declared", ending.name) });
        }
        let mut ended = 0;
        for Ending { name, state, message, output } in endings {
            if let Some(entry) = self.0.iter_mut().find(|entry| entry.item.name == name && entry.state.is_open()) {
                (entry.state, entry.message, entry.output) = (state, message, output);
                ended += 1;
            }
        }
        Ok(Answer::Count(ended))
    }
}

/// Items as a person writes them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(default)]
    input: Value,
}

/// `["a", {"name": "b", "input": {"page": 7}}]`
///
/// # Errors
/// What is wrong, where, and what would be right.
pub fn parse(text: &str) -> Result<Vec<NewItem>, String> {
    let right = r#"write a JSON array, as in ["a", {"name": "b", "input": {"page": 7}}]"#;
    let list: Vec<Value> = serde_json::from_str(text).map_err(|wrong| format!("these are no items: {wrong}; {right}"))?;
    let (mut items, mut names) = (Vec::with_capacity(list.len()), HashSet::new());
    for (n, value) in list.into_iter().enumerate() {
        let written = match value {
            Value::String(name) => Written { name, input: Value::Null },
            Value::Object(_) => serde_json::from_value(value).map_err(|wrong| format!("[{n}] is no item: {wrong}; {right}"))?,
            other => return Err(format!("[{n}] is no item: {other}; {right}")),
        };
        let input = if written.input.is_null() { String::new() } else { written.input.to_string() };
        let item = NewItem { name: written.name, input };
        item.check().map_err(|wrong| format!("[{n}]: {wrong}"))?;
        if !names.insert(item.name.clone()) {
            return Err(format!("[{n}]: {:?} is there twice; an item has its own name", item.name));
        }
        items.push(item);
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_handed_out_once_and_ends_once() {
        let item = |name: &str| NewItem { name: name.into(), input: String::new() };
        let mut desk = Desk::with(vec![item("a")]);
        assert_eq!(desk.answered(Ask::Declare(vec![item("a"), item("b"), item("a")])).unwrap(), Answer::Count(2));
        assert_eq!(desk.answered(Ask::Next(1)).unwrap(), Answer::Items(vec![item("a")]));
        assert_eq!(desk.answered(Ask::Next(9)).unwrap(), Answer::Items(vec![item("b")]));
        let end = |name: &str, message: &str| Ending {
            name: name.into(),
            state: ItemState::Done,
            message: message.into(),
            output: Some("7".into()),
        };
        assert_eq!(desk.answered(Ask::Finish(vec![end("a", "first"), end("a", "again")])).unwrap(), Answer::Count(1));
        assert_eq!(desk.answered(Ask::Finish(vec![end("c", "")])).unwrap_err().code, "not-declared");
        assert_eq!(desk.states().values().map(|state| state.word()).collect::<Vec<_>>(), ["done", "running"]);
        let told = desk.told();
        assert_eq!((told[0].message.as_str(), &told[0].output, &told[1].output), ("first", &Value::from(7), &Value::Null));
    }

    #[test]
    fn items_are_written_as_names_or_with_their_input() {
        let items = parse(r#"["a", {"name": "b", "input": {"page": 7}}]"#).unwrap();
        assert_eq!(items[0], NewItem { name: "a".into(), input: String::new() });
        assert_eq!(items[1], NewItem { name: "b".into(), input: r#"{"page":7}"#.into() });
        for (text, says) in [
            ("{}", "write a JSON array"),
            ("[1]", "[0] is no item"),
            (r#"[{"nam": "a"}]"#, "unknown field `nam`"),
            (r#"["a", ""]"#, "[1]: \"\" is no name"),
            (r#"["a", "a"]"#, "[1]: \"a\" is there twice"),
        ] {
            let wrong = parse(text).unwrap_err();
            assert!(wrong.contains(says), "{text}: {wrong}");
        }
    }
}
