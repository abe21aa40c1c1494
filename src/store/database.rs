//! Which database, and how to reach it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use sqlx::postgres::PgConnectOptions;
use sqlx::{PgPool, SqlitePool};

use super::tx::{Link, Reader};
use super::{postgres, sqlite};
use crate::error::{Error, Result};

/// A file that one process owns, or a PostgreSQL that many nodes share.
#[derive(Debug, Clone)]
pub enum Database {
    Sqlite(PathBuf),
    Postgres(Box<PgConnectOptions>),
}

impl Database {
    /// `sqlite:FILE`, relative to `folder`, or `postgres://USER[:PASSWORD]@HOST[:PORT]/DATABASE`.
    ///
    /// # Errors
    /// `Invalid` with what would be right.
    pub fn parse(url: &str, folder: &Path) -> Result<Self> {
        if let Some(file) = url.strip_prefix("sqlite:") {
            return Ok(Self::Sqlite(folder.join(file.trim_start_matches("//"))));
        }
        postgres::options(url).map(|options| Self::Postgres(Box::new(options)))
    }

    /// For messages: no password.
    pub fn name(&self) -> String {
        match self {
            Self::Sqlite(path) => path.display().to_string(),
            Self::Postgres(options) => {
                format!("postgres://{}:{}/{}", options.get_host(), options.get_port(), options.get_database().unwrap_or_default())
            }
        }
    }

    /// Where it listens, when it is no file: no tenant may reach it.
    pub async fn addresses(&self) -> Vec<SocketAddr> {
        let Self::Postgres(options) = self else { return Vec::new() };
        // A path is a socket of this machine. What cannot be resolved is told by who connects.
        let found = tokio::net::lookup_host((options.get_host(), options.get_port())).await;
        found.map(Iterator::collect).unwrap_or_default()
    }

    /// Device and inode of the file, when it is one and there.
    pub(super) fn file(&self) -> Option<(u64, u64)> {
        use std::os::unix::fs::MetadataExt;
        let Self::Sqlite(path) = self else { return None };
        path.metadata().ok().map(|found| (found.dev(), found.ino()))
    }

    /// Of the file and its write-ahead log; 0 where the database is none.
    pub(super) fn file_bytes(&self) -> u64 {
        let Self::Sqlite(path) = self else { return 0 };
        let log = path.with_extension("db-wal");
        [path, &log].into_iter().filter_map(|file| file.metadata().ok()).map(|found| found.len()).sum()
    }

    /// A connection for the writer, to a database that was opened before.
    pub(super) async fn link(&self) -> Result<Link> {
        match self {
            Self::Sqlite(path) => sqlite::writer(path).await.map(Link::Sqlite),
            Self::Postgres(options) => postgres::writer(options).await.map(Link::Postgres),
        }
    }

    pub(super) async fn readers(&self) -> Result<Readers> {
        match self {
            Self::Sqlite(path) => sqlite::readers(path).await.map(Readers::Sqlite),
            Self::Postgres(options) => postgres::readers(options).await.map(Readers::Postgres),
        }
    }
}

/// Connections that only read.
#[derive(Clone)]
pub(super) enum Readers {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Readers {
    pub async fn acquire(&self) -> Result<Reader> {
        let reader = match self {
            Self::Sqlite(pool) => pool.acquire().await.map(Reader::Sqlite),
            Self::Postgres(pool) => pool.acquire().await.map(Reader::Postgres),
        };
        reader.map_err(|wrong| match wrong {
            sqlx::Error::PoolTimedOut => Error::Unavailable(
                "the database did not answer in time: all its readers are busy, or it is away; try again".into(),
            ),
            wrong => super::tx::failed("acquire", wrong),
        })
    }

    pub async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}
