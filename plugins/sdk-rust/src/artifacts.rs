//! Files a run leaves behind.

use crate::Refusal;
use crate::bindings::job::windlass::plugin::artifacts;

/// A file being written; dropped before [`finish`](Artifact::finish) it is discarded.
#[derive(Debug)]
pub struct Artifact(artifacts::Artifact);

pub fn create(name: &str, media_type: &str) -> Result<Artifact, Refusal> {
    artifacts::create(name, media_type).map(Artifact).map_err(Into::into)
}

impl Artifact {
    pub fn write(&self, bytes: &[u8]) -> Result<(), Refusal> {
        self.0.write(bytes).map_err(Into::into)
    }

    /// Makes it visible; answers its size in bytes.
    pub fn finish(self) -> Result<u64, Refusal> {
        self.0.finish().map_err(Into::into)
    }
}
