//! The key-value store of a job, for its guests. Writes compare and set.

use super::sql::{Row, Sql, args};
use super::tx::Tx;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::Id;

static GET: Sql = Sql::new("SELECT value, version FROM job_state WHERE job = $1 AND key = $2");
static PUT: Sql = Sql::new(
    "INSERT INTO job_state (job, key, value, version, updated_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (job, key) DO UPDATE SET \
     value = excluded.value, version = excluded.version, updated_at = excluded.updated_at",
);
static DELETE: Sql = Sql::new("DELETE FROM job_state WHERE job = $1 AND key = $2");
static KEYS: Sql = Sql::new("SELECT key FROM job_state WHERE job = $1 AND key >= $2 ORDER BY key LIMIT 1000");
static FIRST: Sql = Sql::new(
    "SELECT key, CAST(length(value) AS BIGINT) AS bytes, version, updated_at FROM job_state WHERE job = $1 ORDER BY key LIMIT $2",
);
static AFTER: Sql = Sql::new(
    "SELECT key, CAST(length(value) AS BIGINT) AS bytes, version, updated_at FROM job_state WHERE job = $1 AND key > $2 \
     ORDER BY key LIMIT $3",
);
static COUNT: Sql = Sql::new("SELECT count(*) AS n FROM job_state WHERE job = $1");
static USED: Sql = Sql::new(
    "SELECT count(*) AS n, CAST(coalesce(sum(length(key) + length(value)), 0) AS BIGINT) AS bytes FROM job_state WHERE job = $1",
);

/// A key that a job keeps, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub key: String,
    /// Of the value.
    pub bytes: u64,
    pub version: u64,
    pub updated_at: Timestamp,
}

impl Tx {
    /// What a job keeps, by key: at most `limit` of them, those behind a key or the first.
    pub async fn state_list(&mut self, job: Id, after: Option<&str>, limit: u32) -> Result<Vec<Kept>> {
        let rows = match after {
            Some(after) => self.rows(&AFTER, args![job, after, limit]).await?,
            None => self.rows(&FIRST, args![job, limit]).await?,
        };
        let kept = |row: &Row| {
            Ok(Kept {
                key: row.text("key")?,
                bytes: row.count("bytes")?,
                version: row.count("version")?,
                updated_at: row.time("updated_at")?,
            })
        };
        rows.iter().map(kept).collect()
    }

    /// How many keys a job keeps.
    pub async fn state_count(&mut self, job: Id) -> Result<u64> {
        self.row(&COUNT, args![job]).await?.map_or(Ok(0), |row| row.count("n"))
    }

    /// The value under a key, and its version.
    pub async fn state_get(&mut self, job: Id, key: &str) -> Result<Option<(Vec<u8>, u64)>> {
        self.row(&GET, args![job, key]).await?.map(|row| Ok((row.bytes("value")?, row.count("version")?))).transpose()
    }

    pub async fn state_put(&mut self, job: Id, key: &str, value: Vec<u8>, version: u64, now: Timestamp) -> Result<()> {
        self.exec(&PUT, args![job, key, value, version, now]).await?;
        Ok(())
    }

    pub async fn state_delete(&mut self, job: Id, key: &str) -> Result<()> {
        self.exec(&DELETE, args![job, key]).await?;
        Ok(())
    }

    /// Keys with this prefix, in order, at most 1,000.
    pub async fn state_keys(&mut self, job: Id, prefix: &str) -> Result<Vec<String>> {
        let rows = self.rows(&KEYS, args![job, prefix]).await?;
        let keys = rows.iter().map(|row| row.text("key")).collect::<Result<Vec<_>>>()?;
        Ok(keys.into_iter().take_while(|key| key.starts_with(prefix)).collect())
    }

    /// Keys, and bytes of values, that a job keeps.
    pub async fn state_used(&mut self, job: Id) -> Result<(u64, u64)> {
        self.row(&USED, args![job]).await?.map_or(Ok((0, 0)), |row| Ok((row.count("n")?, row.count("bytes")?)))
    }
}
