//! What runs left behind, for those who may see the run.

use bytes::Bytes;
use futures_util::Stream;

use super::App;
use crate::domain::artifact::Artifact;
use crate::error::{Error, Result};
use crate::id::Id;

impl App {
    /// An artifact and its bytes, as they come. Whoever asks has been let to the tenant.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable` when the object store does not answer.
    pub async fn artifact(
        &self,
        tenant: Id,
        run: Id,
        name: &str,
    ) -> Result<(Artifact, impl Stream<Item = Result<Bytes>> + Send + use<>)> {
        let found = self.store.read().await?.artifact(tenant, run, name).await?;
        let artifact = found.ok_or_else(|| Error::not_found(format!("the artifact {name:?} of run {run}")))?;
        let bytes = self.objects.read(&artifact.place).await?;
        Ok((artifact, bytes))
    }
}
