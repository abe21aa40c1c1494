//! Recordings of attempts; what they are, the room of plugins knows.

use super::sql::{Sql, args};
use super::tx::Tx;
use crate::error::Result;
use crate::id::Id;

/// The recording of one attempt, packed.
#[derive(Debug, Clone)]
pub struct NewRecording {
    pub tenant: Id,
    pub run: Id,
    pub attempt: u32,
    /// It was over its limit: the end is missing.
    pub cut: bool,
    pub packed: Vec<u8>,
}

/// A recording that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    pub attempt: u32,
    pub cut: bool,
    /// Bytes, packed.
    pub size: u64,
}

static PUT: Sql = Sql::new(
    "INSERT INTO recording (tenant, run, attempt, cut, size, packed) VALUES {6} ON CONFLICT (tenant, run, attempt) DO UPDATE SET \
     cut = excluded.cut, size = excluded.size, packed = excluded.packed",
);
static OF_RUN: Sql =
    Sql::new("SELECT attempt, cut, size FROM recording WHERE tenant = $1 AND run = $2 ORDER BY attempt DESC LIMIT 200");
static PACKED: Sql = Sql::new("SELECT packed FROM recording WHERE tenant = $1 AND run = $2 AND attempt = $3");

impl Tx {
    /// An attempt that a node thought lost may be there already: the later one stands.
    pub async fn put_recordings(&mut self, recordings: Vec<NewRecording>) -> Result<()> {
        let row = |new: NewRecording| args![new.tenant, new.run, new.attempt, i64::from(new.cut), new.packed.len(), new.packed];
        self.exec_rows(&PUT, recordings.into_iter().map(row).collect()).await?;
        Ok(())
    }

    /// Newest attempt first.
    pub async fn recordings_of(&mut self, tenant: Id, run: Id) -> Result<Vec<Kept>> {
        let rows = self.rows(&OF_RUN, args![tenant, run]).await?;
        rows.iter()
            .map(|row| Ok(Kept { attempt: row.small("attempt")?, cut: row.int("cut")? != 0, size: row.count("size")? }))
            .collect()
    }

    /// The attempt's, or the newest that there is.
    pub async fn recording(&mut self, tenant: Id, run: Id, attempt: Option<u32>) -> Result<Option<(u32, Vec<u8>)>> {
        let newest = self.recordings_of(tenant, run).await?.first().map(|kept| kept.attempt);
        let Some(attempt) = attempt.or(newest) else { return Ok(None) };
        let row = self.row(&PACKED, args![tenant, run, attempt]).await?;
        row.map(|row| Ok((attempt, row.bytes("packed")?))).transpose()
    }
}
