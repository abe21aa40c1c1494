//! Calls that the runner answers from the store.

use tokio::sync::oneshot;

use crate::plugin::tape::{Refused, Talk, Tape};
use crate::plugin::{Call, Port, Refusal};

/// Hands the call over and waits for its answer, which may come from the tape.
pub async fn asked<A: Talk + Clone>(
    tape: std::sync::Arc<Tape>,
    port: Option<Port<A, A::Answer>>,
    ask: A,
) -> Result<A::Answer, Refused> {
    let live = of_the_runner(port, ask.clone());
    tape.asked(ask, async { live.await.map_err(|wrong| Refused { code: wrong.code.to_owned(), message: wrong.message }) }).await
}

/// Something else was answered than was asked: a mistake of ours, or a recording of it, told like a refusal.
pub fn mixed_up() -> Refused {
    Refused { code: "unavailable".into(), message: "the answer does not fit the question".into() }
}

/// Hands the call over, whatever the tape.
pub async fn of_the_runner<A, T>(port: Option<Port<A, T>>, ask: A) -> Result<T, Refusal> {
    let denied = || Refusal { code: "denied", message: "this is there for runs only".into() };
    let away = || Refusal { code: "unavailable", message: "the store does not answer; the run is about to end".into() };
    let (answer, answered) = oneshot::channel();
    port.ok_or_else(denied)?.send(Call { ask, answer }).await.map_err(|_| away())?;
    answered.await.map_err(|_| away())?
}
