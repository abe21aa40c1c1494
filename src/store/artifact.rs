//! Artifacts of runs, and the objects that no artifact names: being written, or to be removed.
//!
//! An object is entered as a stray before its first byte is written, and again in the transaction that takes its artifact
//! away: whoever dies in between, nothing lies in the object store that this list does not know.

use super::sql::{Row, Sql, args};
use super::tx::Tx;
use crate::clock::Timestamp;
use crate::domain::artifact::Artifact;
use crate::domain::run::Run;
use crate::error::{Error, Result};
use crate::id::Id;

static OF_RUN: Sql = Sql::new(
    "SELECT name, media_type, bytes, digest, place, created_at FROM artifact WHERE tenant = $1 AND run = $2 ORDER BY name",
);
static ONE: Sql = Sql::new(
    "SELECT name, media_type, bytes, digest, place, created_at FROM artifact WHERE tenant = $1 AND run = $2 AND name = $3",
);
static WRITING: Sql = Sql::new("INSERT INTO stray_object (place, run, fence, made_at) VALUES ($1, $2, $3, $4)");
// Written, not only read: who would take the lease away waits for this transaction, and this one for who is taking it.
static LEASED: Sql = Sql::new("UPDATE lease SET fence = fence WHERE id = $1 AND fence = $2");
static REPLACED: Sql = Sql::new(
    "INSERT INTO stray_object (place, run, fence, made_at) SELECT place, 0, 0, created_at FROM artifact WHERE tenant = $1 AND run = $2 AND name = $3",
);
static PUT: Sql = Sql::new(
    "INSERT INTO artifact (tenant, run, name, media_type, bytes, digest, place, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
     ON CONFLICT (tenant, run, name) DO UPDATE SET media_type = excluded.media_type, bytes = excluded.bytes, digest = excluded.digest, \
     place = excluded.place, created_at = excluded.created_at",
);
static ABANDON: Sql = Sql::new(
    "INSERT INTO stray_object (place, run, fence, made_at) VALUES ($1, 0, 0, $2) ON CONFLICT (place) DO UPDATE SET run = 0, fence = 0",
);
static TAKEN: Sql = Sql::new("DELETE FROM stray_object WHERE (place) IN (VALUES {1})");
static OF_PRUNED: Sql = Sql::new(
    "INSERT INTO stray_object (place, run, fence, made_at) SELECT place, 0, 0, created_at FROM artifact WHERE (tenant, run) IN (VALUES {2})",
);
static CUT: Sql = Sql::new("DELETE FROM artifact WHERE (tenant, run) IN (VALUES {2})");
static STRAYS: Sql = Sql::new(
    "SELECT s.place FROM stray_object s WHERE NOT EXISTS (SELECT 1 FROM lease l WHERE l.id = s.run AND l.fence = s.fence) ORDER BY s.place LIMIT $1",
);

impl Tx {
    /// What a run has left behind, by name.
    pub async fn artifacts_of(&mut self, tenant: Id, run: Id) -> Result<Vec<Artifact>> {
        self.rows(&OF_RUN, args![tenant, run]).await?.iter().map(artifact).collect()
    }

    pub async fn artifact(&mut self, tenant: Id, run: Id, name: &str) -> Result<Option<Artifact>> {
        self.row(&ONE, args![tenant, run, name]).await?.as_ref().map(artifact).transpose()
    }

    /// An object is about to be written by the attempt that has this lease.
    pub async fn object_begins(&mut self, run: &Run, place: &str, now: Timestamp) -> Result<()> {
        self.exec(&WRITING, args![place, run.id, run.fence, now]).await?;
        Ok(())
    }

    /// The object is whole: the run has the artifact. One of the same name that an earlier attempt left goes.
    ///
    /// # Errors
    /// `Conflict` when the attempt has lost its lease: its object may have been swept away.
    pub async fn put_artifact(&mut self, run: &Run, artifact: &Artifact) -> Result<()> {
        if self.exec(&LEASED, args![run.id, run.fence]).await? == 0 {
            return Err(Error::Conflict("the run has passed to another node".into()));
        }
        self.exec(&REPLACED, args![run.tenant, run.id, &artifact.name]).await?;
        let Artifact { name, media_type, bytes, digest, place, created_at } = artifact;
        self.exec(&PUT, args![run.tenant, run.id, name, media_type, *bytes, digest, place, *created_at]).await?;
        self.swept(std::slice::from_ref(place)).await
    }

    /// An object will not be finished, or is not wanted any more; also one that was swept away too early, while it was written.
    pub async fn object_abandoned(&mut self, place: &str, now: Timestamp) -> Result<()> {
        self.exec(&ABANDON, args![place, now]).await?;
        Ok(())
    }

    /// Objects that may be removed, at most `limit`: no artifact names them, and nobody is writing them.
    pub async fn stray_objects(&mut self, limit: u32) -> Result<Vec<String>> {
        self.rows(&STRAYS, args![limit]).await?.iter().map(|row| row.text("place")).collect()
    }

    /// They are removed, or have become artifacts.
    pub async fn swept(&mut self, places: &[String]) -> Result<()> {
        self.exec_keys(&TAKEN, &places.iter().map(|place| args![place]).collect::<Vec<_>>()).await?;
        Ok(())
    }

    /// Runs are cut: what they left behind is to be removed.
    pub(super) async fn prune_artifacts(&mut self, runs: &[Vec<super::sql::Arg>]) -> Result<()> {
        self.exec_keys(&OF_PRUNED, runs).await?;
        self.exec_keys(&CUT, runs).await?;
        Ok(())
    }
}

fn artifact(row: &Row) -> Result<Artifact> {
    Ok(Artifact {
        name: row.text("name")?,
        media_type: row.text("media_type")?,
        bytes: row.count("bytes")?,
        digest: row.text("digest")?,
        place: row.text("place")?,
        created_at: row.time("created_at")?,
    })
}
