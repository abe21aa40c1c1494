//! A run's items without a store.

use std::collections::BTreeMap;

use tokio::sync::mpsc;

use crate::domain::item::{Answer, Ask, Ending, ItemState, NewItem};
use crate::plugin::{ItemsCall, Refusal};

/// In the order they were declared.
#[derive(Default)]
pub struct Desk(Vec<(NewItem, ItemState)>);

impl Desk {
    pub async fn serve(&mut self, mut calls: mpsc::Receiver<ItemsCall>) -> std::convert::Infallible {
        while let Some(ItemsCall { ask, answer }) = calls.recv().await {
            // A guest that was stopped meanwhile does not mind.
            let _ = answer.send(self.answered(ask));
        }
        std::future::pending().await
    }

    pub fn states(&self) -> BTreeMap<String, ItemState> {
        self.0.iter().map(|(item, state)| (item.name.clone(), *state)).collect()
    }

    fn answered(&mut self, ask: Ask) -> Result<Answer, Refusal> {
        match ask {
            Ask::Declare(items) => {
                for item in items {
                    if !self.0.iter().any(|(known, _)| known.name == item.name) {
                        self.0.push((item, ItemState::Pending));
                    }
                }
                Ok(Answer::Count(self.0.iter().filter(|(_, state)| state.is_open()).count() as u64))
            }
            Ask::Next(max) => {
                let open = self.0.iter_mut().filter(|(_, state)| *state == ItemState::Pending).take(max as usize);
                Ok(Answer::Items(
                    open.map(|(item, state)| {
                        *state = ItemState::Running;
                        item.clone()
                    })
                    .collect(),
                ))
            }
            Ask::Finish(endings) => self.finish(&endings),
        }
    }

    fn finish(&mut self, endings: &[Ending]) -> Result<Answer, Refusal> {
        let known = |name: &str| self.0.iter().any(|(item, _)| item.name == name);
        if let Some(ending) = endings.iter().find(|ending| !known(&ending.name)) {
            return Err(Refusal { code: "not-declared", message: format!("{:?} was not declared", ending.name) });
        }
        let mut ended = 0;
        for ending in endings {
            for (_, state) in self.0.iter_mut().filter(|(item, state)| item.name == ending.name && state.is_open()) {
                *state = ending.state;
                ended += 1;
            }
        }
        Ok(Answer::Count(ended))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_handed_out_once_and_ends_once() {
        let item = |name: &str| NewItem { name: name.into(), input: String::new() };
        let mut desk = Desk::default();
        assert_eq!(desk.answered(Ask::Declare(vec![item("a"), item("b"), item("a")])).unwrap(), Answer::Count(2));
        assert_eq!(desk.answered(Ask::Next(1)).unwrap(), Answer::Items(vec![item("a")]));
        assert_eq!(desk.answered(Ask::Next(9)).unwrap(), Answer::Items(vec![item("b")]));
        let end = |name: &str| Ending { name: name.into(), state: ItemState::Done, message: String::new(), output: None };
        assert_eq!(desk.answered(Ask::Finish(vec![end("a"), end("a")])).unwrap(), Answer::Count(1));
        assert_eq!(desk.answered(Ask::Finish(vec![end("c")])).unwrap_err().code, "not-declared");
        assert_eq!(desk.states().values().map(|state| state.word()).collect::<Vec<_>>(), ["done", "running"]);
    }
}
