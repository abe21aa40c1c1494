//! The job's key-value store: handed to the runner, which asks the store.

use super::port;
use crate::plugin::bindings::windlass::plugin::state::{Entry, Host, Refusal};
use crate::plugin::instance::Guest;
use crate::plugin::{StateAnswer, StateAsk};

impl Guest {
    /// Not an `async fn`: its future must not hold the store, which is not shared between threads.
    fn ask(&self, ask: StateAsk) -> impl Future<Output = Result<StateAnswer, Refusal>> + Send + use<> {
        self.context.journal.asked(|asks| asks.state += 1);
        let asked = port::asked(self.context.tape.clone(), self.context.state.clone(), ask);
        async move { asked.await.map_err(|wrong| refusal(&wrong.code, &wrong.message)) }
    }
}

fn refusal(code: &str, message: &str) -> Refusal {
    Refusal { code: code.to_owned(), message: message.to_owned() }
}

/// The runner answered something else than was asked: its mistake, told like a refusal.
fn mixed_up() -> Refusal {
    refusal("unavailable", "the store's answer does not fit the question")
}

impl Host for Guest {
    async fn get(&mut self, key: String) -> Result<Option<Entry>, Refusal> {
        match self.ask(StateAsk::Get(key)).await? {
            StateAnswer::Entry(entry) => Ok(entry.map(|(value, version)| Entry { value, version })),
            _ => Err(mixed_up()),
        }
    }

    async fn set(&mut self, key: String, value: Vec<u8>, expected: Option<u64>) -> Result<u64, Refusal> {
        match self.ask(StateAsk::Set { key, value, expected }).await? {
            StateAnswer::Version(version) => Ok(version),
            _ => Err(mixed_up()),
        }
    }

    async fn delete(&mut self, key: String, expected: Option<u64>) -> Result<(), Refusal> {
        match self.ask(StateAsk::Delete { key, expected }).await? {
            StateAnswer::Done => Ok(()),
            _ => Err(mixed_up()),
        }
    }

    async fn keys(&mut self, prefix: String) -> Result<Vec<String>, Refusal> {
        match self.ask(StateAsk::Keys { prefix }).await? {
            StateAnswer::Keys(keys) => Ok(keys),
            _ => Err(mixed_up()),
        }
    }
}
