//! Files a run leaves behind: handed piece by piece to the runner, which keeps them.

use wasmtime::component::Resource;

use super::port;
use crate::plugin::bindings::windlass::plugin::artifacts::{Artifact, Host, HostArtifact, Refusal};
use crate::plugin::instance::Guest;
use crate::plugin::tape::Refused;
use crate::plugin::{ArtifactAnswer, ArtifactAsk};

/// A file that is being written, as the guest holds it.
pub struct Open {
    handle: u64,
    /// What follows is refused; nothing is left to discard.
    finished: bool,
}

impl Guest {
    /// Not an `async fn`: its future must not hold the store, which is not shared between threads.
    fn ask_artifacts(&self, ask: ArtifactAsk) -> impl Future<Output = Result<u64, Refusal>> + Send + use<> {
        self.context.journal.asked(|asks| asks.artifacts += 1);
        let tape = self.context.tape.clone();
        let (what, with) = noted(&ask);
        let live = port::of_the_runner(self.context.artifacts.clone(), ask);
        async move {
            let live = async {
                match live.await {
                    Ok(ArtifactAnswer::Number(number)) => Ok(number.to_string().into_bytes()),
                    Ok(_) => Err(port::mixed_up()),
                    Err(wrong) => Err(Refused { code: wrong.code.to_owned(), message: wrong.message }),
                }
            };
            let answer = tape.called_out(what, with, live).await;
            let answer = answer.map_err(|Refused { code, message }| Refusal { code, message })?;
            let number = String::from_utf8(answer).ok().and_then(|text| text.parse().ok());
            number.ok_or_else(|| Refusal { code: "unavailable".into(), message: "the recording has no number here".into() })
        }
    }

    fn open(&mut self, artifact: &Resource<Open>) -> wasmtime::Result<Result<u64, Refusal>> {
        let open = self.table().get(artifact)?;
        Ok(if open.finished {
            Err(Refusal { code: "finished".into(), message: "this artifact is finished; create another".into() })
        } else {
            Ok(open.handle)
        })
    }
}

/// What a recording keeps of a call: of the bytes no more than it takes to know them again.
pub(super) fn noted(ask: &ArtifactAsk) -> (&'static str, Vec<Vec<u8>>) {
    let handle = |handle: &u64| handle.to_string().into_bytes();
    match ask {
        ArtifactAsk::Create { name, media_type } => {
            ("artifacts.create", vec![name.clone().into_bytes(), media_type.clone().into_bytes()])
        }
        ArtifactAsk::Write { handle: to, bytes } => {
            let digest = crate::plugin::catalog::digest(bytes);
            ("artifacts.write", vec![handle(to), format!("{} bytes, {digest}", bytes.len()).into_bytes()])
        }
        ArtifactAsk::Finish { handle: of } => ("artifacts.finish", vec![handle(of)]),
        ArtifactAsk::Discard { handle: of } => ("artifacts.discard", vec![handle(of)]),
        ArtifactAsk::Open { run, name } => ("artifact-source.open", vec![run.clone().into_bytes(), name.clone().into_bytes()]),
        ArtifactAsk::Read { name, bytes, .. } => {
            ("artifact-source.read-at", vec![name.clone().into_bytes(), format!("{bytes:?}").into_bytes()])
        }
    }
}

impl Host for Guest {
    async fn create(&mut self, name: String, media_type: String) -> wasmtime::Result<Result<Resource<Artifact>, Refusal>> {
        match self.ask_artifacts(ArtifactAsk::Create { name, media_type }).await {
            Ok(handle) => Ok(Ok(self.table().push(Open { handle, finished: false })?)),
            Err(refusal) => Ok(Err(refusal)),
        }
    }
}

impl HostArtifact for Guest {
    async fn write(&mut self, artifact: Resource<Artifact>, bytes: Vec<u8>) -> wasmtime::Result<Result<(), Refusal>> {
        match self.open(&artifact)? {
            Ok(handle) => Ok(self.ask_artifacts(ArtifactAsk::Write { handle, bytes }).await.map(drop)),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    async fn finish(&mut self, artifact: Resource<Artifact>) -> wasmtime::Result<Result<u64, Refusal>> {
        let handle = match self.open(&artifact)? {
            Ok(handle) => handle,
            Err(refusal) => return Ok(Err(refusal)),
        };
        self.table().get_mut(&artifact)?.finished = true;
        Ok(self.ask_artifacts(ArtifactAsk::Finish { handle }).await)
    }

    async fn drop(&mut self, artifact: Resource<Artifact>) -> wasmtime::Result<()> {
        let open = self.table().delete(artifact)?;
        if !open.finished {
            // Whatever is wrong: a later attempt may write it again, and what is left of this one is swept away.
            let _ = self.ask_artifacts(ArtifactAsk::Discard { handle: open.handle }).await;
        }
        Ok(())
    }
}
