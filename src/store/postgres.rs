//! What PostgreSQL needs beside the shared statements: connections and their settings, and a look at what stands between.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, PgPool, Row};

use super::backup::fits;
use crate::clock::Timestamp;
use crate::error::{Error, Result};

const READERS: u32 = 8;
/// Heartbeat, listener, herald.
const SIDE: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(5);
/// Oldest that is tested.
const OLDEST: i64 = 150_000;

/// Of a connection that writes: nested loops only, because statistics taken while a table was empty otherwise ruin plans (38
/// times slower, measured). What hangs in the middle of a transaction is ended by the server: a node that was stopped must
/// not keep the others from its locks.
const WRITER: &str = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off; \
     SET random_page_cost = 1.1; SET jit = off; SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = '5s'; \
     SET client_min_messages = warning";
/// Of one that reads: pages must not hold a snapshot for ever.
const READER: &str = "SET default_transaction_read_only = on; SET statement_timeout = '10s'; SET jit = off; \
     SET random_page_cost = 1.1; SET idle_in_transaction_session_timeout = '5s'";
const SIDE_SETTINGS: &str = "SET statement_timeout = '2s'; SET lock_timeout = '1s'";

/// # Errors
/// `Invalid` when it is no URL of PostgreSQL.
pub(super) fn options(url: &str) -> Result<PgConnectOptions> {
    let right = "write postgres://USER@HOST/DATABASE, or sqlite:windlass.db";
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(Error::invalid("database_url", format!("{url:?} names no database; {right}")));
    }
    let options: PgConnectOptions =
        url.parse().map_err(|wrong| Error::invalid("database_url", format!("it cannot be read ({wrong}); {right}")))?;
    if options.get_database().is_none_or(str::is_empty) {
        return Err(Error::invalid("database_url", format!("it names no database; {right}")));
    }
    // Nothing of ours is a float, and poolers refuse the parameter.
    Ok(options.application_name("windlass").extra_float_digits(None).statement_cache_capacity(1_000).disable_statement_logging())
}

/// What a look at the server found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    pub version: i64,
    /// By its clock.
    pub now: Timestamp,
}

/// Looks at the server without entering it.
///
/// # Errors
/// `Unavailable` when it cannot be reached, is too old, or is behind a pooler that cannot be used.
pub async fn look(options: &PgConnectOptions) -> Result<Looked> {
    let mut conn = connect(options).await?;
    // A pooler of transactions would not know a prepared statement again.
    refuse_pooler(options, &mut conn).await?;
    let sql = "SELECT CAST(current_setting('server_version_num') AS BIGINT) AS version, \
               CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) AS now";
    let row = sqlx::query(sql).fetch_one(&mut conn).await.map_err(|wrong| away(options, &wrong))?;
    let number = |column| row.try_get::<i64, _>(column).map_err(|wrong| away(options, &wrong));
    let (version, now) = (number("version")?, Timestamp(number("now")?));
    let _ = conn.close().await;
    if version < OLDEST {
        let (is, oldest) = (version / 10_000, OLDEST / 10_000);
        return Err(Error::Unavailable(format!("PostgreSQL {is} is too old; Windlass needs {oldest} or newer")));
    }
    Ok(Looked { version: version / 10_000, now })
}

/// Checks what is there, and brings the schema up to date. Nodes that start together wait for the first.
pub(super) async fn prepare(options: &PgConnectOptions) -> Result<()> {
    look(options).await?;
    let mut conn = connect(options).await?;
    // That a table is there already is no news.
    conn.execute(AssertSqlSafe("SET client_min_messages = warning")).await.map_err(|wrong| away(options, &wrong))?;
    let name = options.get_database().unwrap_or_default();
    let seen = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public' AND table_name = '_sqlx_migrations'";
    let seen: i64 = sqlx::query_scalar(seen).fetch_one(&mut conn).await.map_err(|wrong| away(options, &wrong))?;
    if seen > 0 {
        let newest = "SELECT coalesce(max(version), 0) FROM _sqlx_migrations";
        let newest: i64 = sqlx::query_scalar(newest).fetch_one(&mut conn).await.map_err(|wrong| away(options, &wrong))?;
        fits(name, newest)?;
    }
    sqlx::migrate!("migrations/postgres")
        .run(&mut conn)
        .await
        .map_err(|wrong| Error::Internal(anyhow::Error::new(wrong).context(format!("migrating the database {name}"))))?;
    let _ = conn.close().await;
    Ok(())
}

/// A pooler that gives every transaction another connection breaks settings, listening and locks that outlive a
/// transaction. Two clients that are open at a time never have the same server process, unless one shares it out.
async fn refuse_pooler(options: &PgConnectOptions, first: &mut PgConnection) -> Result<()> {
    let mut second = connect(options).await?;
    for _ in 0..3 {
        // Unprepared: a pooler of that kind may not know what was prepared a moment ago.
        let (one, two) = (backend(options, first).await?, backend(options, &mut second).await?);
        if one == two {
            return Err(Error::Unavailable(format!(
                "{}:{} is a pooler in transaction mode: two connections were given the same server process ({one}). Windlass \
                 listens and sets its connections up, which needs a connection of its own: connect to PostgreSQL directly, or \
                 set pool_mode = session",
                options.get_host(),
                options.get_port()
            )));
        }
    }
    let _ = second.close().await;
    Ok(())
}

async fn backend(options: &PgConnectOptions, conn: &mut PgConnection) -> Result<i32> {
    let row = conn.fetch_one(AssertSqlSafe("SELECT pg_backend_pid() AS pid")).await.map_err(|wrong| away(options, &wrong))?;
    // Without preparing, values come as text.
    row.try_get_unchecked("pid").map_err(|wrong| away(options, &wrong))
}

pub(super) async fn writer(options: &PgConnectOptions) -> Result<PgConnection> {
    let mut conn = connect(options).await?;
    conn.execute(AssertSqlSafe(WRITER)).await.map_err(|wrong| away(options, &wrong))?;
    Ok(conn)
}

pub(super) async fn readers(options: &PgConnectOptions) -> Result<PgPool> {
    pool(options, READERS, READER).await
}

/// For the heartbeat and what nodes tell each other: never behind the writer's queue.
pub(super) async fn side(options: &PgConnectOptions) -> Result<PgPool> {
    pool(options, SIDE, SIDE_SETTINGS).await
}

async fn pool(options: &PgConnectOptions, size: u32, settings: &'static str) -> Result<PgPool> {
    PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(PATIENCE)
        .after_connect(move |conn, _| Box::pin(async move { conn.execute(AssertSqlSafe(settings)).await.map(drop) }))
        .connect_with(options.clone())
        .await
        .map_err(|wrong| away(options, &wrong))
}

pub(super) async fn connect(options: &PgConnectOptions) -> Result<PgConnection> {
    let connected = tokio::time::timeout(PATIENCE, options.connect()).await;
    connected.map_err(|_| away(options, &"no answer within 5 s"))?.map_err(|wrong| away(options, &wrong))
}

fn away(options: &PgConnectOptions, wrong: &dyn std::fmt::Display) -> Error {
    Error::Unavailable(format!(
        "the database {} on {}:{} is not to be had: {wrong}",
        options.get_database().unwrap_or_default(),
        options.get_host(),
        options.get_port()
    ))
}
