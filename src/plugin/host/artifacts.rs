//! Files a run leaves behind: handed piece by piece to the runner, which keeps them.

use wasmtime::component::Resource;

use super::port;
use crate::plugin::ArtifactAsk;
use crate::plugin::bindings::windlass::plugin::artifacts::{Artifact, Host, HostArtifact, Refusal};
use crate::plugin::instance::Guest;

/// A file that is being written, as the guest holds it.
pub struct Open {
    handle: u64,
    /// What follows is refused; nothing is left to discard.
    finished: bool,
}

impl Guest {
    /// Not an `async fn`: its future must not hold the store, which is not shared between threads.
    fn ask_artifacts(&self, ask: ArtifactAsk) -> impl Future<Output = Result<u64, Refusal>> + Send + use<> {
        let asked = port::asked(self.context.artifacts.clone(), ask);
        async move { asked.await.map_err(|wrong| Refusal { code: wrong.code.to_owned(), message: wrong.message }) }
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
