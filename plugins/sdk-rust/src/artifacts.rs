//! Files a run leaves behind, and those that other runs of the tenant have left, where the job's grant names their job:
//! `artifacts = { read = ["films"] }`.

use crate::Refusal;
use crate::bindings::job::windlass::plugin::{artifact_source, artifacts};

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

/// A file that another run has left.
#[derive(Debug)]
pub struct Source(artifact_source::Source);

/// What the run with this id has left under this name. What is not there, or not any more, is refused with `not-found`.
pub fn open(run: &str, name: &str) -> Result<Source, Refusal> {
    artifact_source::open(run, name).map(Source).map_err(Into::into)
}

impl Source {
    /// In bytes.
    pub fn length(&self) -> u64 {
        self.0.length()
    }

    pub fn media_type(&self) -> String {
        self.0.media_type()
    }

    /// So many bytes from there on: fewer only at the end, and never more than 1 MiB.
    pub fn read_at(&self, offset: u64, length: u32) -> Result<Vec<u8>, Refusal> {
        self.0.read_at(offset, length).map_err(Into::into)
    }
}
