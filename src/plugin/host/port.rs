//! Calls that the runner answers from the store.

use tokio::sync::oneshot;

use crate::plugin::{Call, Port, Refusal};

/// Hands the call over and waits for its answer.
pub async fn asked<A, T>(port: Option<Port<A, T>>, ask: A) -> Result<T, Refusal> {
    let denied = || Refusal { code: "denied", message: "this is there for runs only".into() };
    let away = || Refusal { code: "unavailable", message: "the store does not answer; the run is about to end".into() };
    let (answer, answered) = oneshot::channel();
    port.ok_or_else(denied)?.send(Call { ask, answer }).await.map_err(|_| away())?;
    answered.await.map_err(|_| away())?
}
