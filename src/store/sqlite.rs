//! What SQLite needs beside the shared statements: one file, one process, its settings.

use std::path::Path;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Row, SqliteConnection, SqlitePool};

use super::backup::fits;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::Id;

const READERS: u32 = 4;

/// What a look at a database found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspected {
    pub bytes: u64,
    pub wal_bytes: u64,
    /// When the newest id was made, to the minute.
    pub newest: Timestamp,
    /// The last migration that it has seen.
    pub schema: i64,
    pub secrets: u64,
}

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// A connection that writes; the file is made if it is not there.
pub(super) async fn writer(path: &Path) -> Result<SqliteConnection> {
    options(path).connect().await.map_err(|wrong| cannot_open(path, &wrong))
}

/// The same, to a file whose schema is brought up to date.
pub(super) async fn open(path: &Path) -> Result<SqliteConnection> {
    let mut conn = writer(path).await?;
    if let Some(schema) = schema(&mut conn).await.map_err(|wrong| cannot_open(path, &wrong))? {
        fits(&path.display().to_string(), schema)?;
    }
    MIGRATIONS
        .run(&mut conn)
        .await
        .map_err(|wrong| Error::Internal(anyhow::Error::new(wrong).context(format!("migrating {}", path.display()))))?;
    Ok(conn)
}

pub(super) async fn readers(path: &Path) -> Result<SqlitePool> {
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(Duration::from_secs(5))
        // A file does not hang up: a ping would cost as much as the statement.
        .test_before_acquire(false)
        // The system keeps the file's pages too: what each reader keeps beside that is memory four times.
        .connect_with(options(path).read_only(true).pragma("cache_size", "-16384"))
        .await
        .map_err(|wrong| cannot_open(path, &wrong))
}

/// Where ids of this process begin: past the highest that was ever given.
pub(super) async fn high_water(conn: &mut SqliteConnection, now: Timestamp) -> Result<Id> {
    let internal = |wrong: sqlx::Error| Error::Internal(wrong.into());
    let high = "SELECT max(id) AS id FROM (SELECT max(id) AS id FROM lease UNION ALL SELECT max(run) FROM live \
                UNION ALL SELECT max((SELECT max(d.id) FROM done d WHERE d.tenant = t.id)) FROM tenant t \
                UNION ALL SELECT max((SELECT max(l.id) FROM later l WHERE l.tenant = t.id)) FROM tenant t \
                UNION ALL SELECT max((SELECT max(r.id) FROM ready r WHERE r.job = j.id)) FROM job j \
                UNION ALL SELECT max(id) FROM job_revision UNION ALL SELECT max(id) FROM audit UNION ALL SELECT CAST(value AS BIGINT) FROM setting WHERE key = 'high_water') x";
    let high: Option<i64> = sqlx::query(high).fetch_one(&mut *conn).await.map_err(internal)?.try_get("id").map_err(internal)?;
    let high = Id(high.unwrap_or(0));
    // Of what is in none of these tables the high water is noted once a minute: a clock that went back leaves room for what
    // came after it. Only then: ids that ran ahead with every start would soon say nothing of time.
    let room = if now <= high.created_at() { (2 * 60_000) << 21 } else { 0 };
    Ok(Id(high.0 + room))
}

/// Looks at a file without entering it: a server may be running on it.
///
/// # Errors
/// When it cannot be read, or SQLite finds it damaged.
pub async fn inspect(path: &Path) -> Result<Inspected> {
    let mut conn = looking(path).connect().await.map_err(|wrong| cannot_open(path, &wrong))?;
    let broken = |wrong: sqlx::Error| Error::Unavailable(format!("{} cannot be read: {wrong}", path.display()));
    let verdict: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut conn).await.map_err(broken)?;
    if verdict != "ok" {
        return Err(Error::Unavailable(format!("{} is damaged: {verdict}; restore a backup", path.display())));
    }
    let high = "SELECT coalesce(max(CAST(value AS BIGINT)), 0) FROM setting WHERE key = 'high_water'";
    let high: i64 = sqlx::query_scalar(high).fetch_one(&mut conn).await.map_err(broken)?;
    let schema = schema(&mut conn).await.map_err(broken)?.unwrap_or(0);
    let secrets: i64 = sqlx::query_scalar("SELECT count(*) FROM secret").fetch_one(&mut conn).await.map_err(broken)?;
    let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    Ok(Inspected {
        bytes: bytes(path),
        wal_bytes: bytes(Path::new(&wal)),
        newest: Id(high).created_at(),
        schema,
        secrets: secrets.unsigned_abs(),
    })
}

/// FULL: what was answered survives a power cut. Sizes are measured (docs/store.md).
fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(10))
        .statement_cache_capacity(1_000)
        .pragma("wal_autocheckpoint", "16000")
        .pragma("cache_size", "-65536")
        .pragma("temp_store", "memory")
        .disable_statement_logging()
}

/// The last migration that a file has seen; `None` for a new one.
async fn schema(conn: &mut SqliteConnection) -> Result<Option<i64>, sqlx::Error> {
    let seen = "SELECT count(*) FROM sqlite_master WHERE name = '_sqlx_migrations'";
    if sqlx::query_scalar::<_, i64>(seen).fetch_one(&mut *conn).await? == 0 {
        return Ok(None);
    }
    sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations").fetch_one(conn).await
}

/// For who only looks: nothing of the file is set, not even that it has a write-ahead log, which a backup has not.
pub(super) fn looking(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .create_if_missing(false)
        .busy_timeout(Duration::from_secs(10))
        .disable_statement_logging()
}

pub(super) fn cannot_open(path: &Path, wrong: &sqlx::Error) -> Error {
    Error::Unavailable(format!("cannot open the database {}: {wrong}", path.display()))
}
