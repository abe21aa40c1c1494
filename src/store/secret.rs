//! Secrets, sealed: this room sees no value.

use std::collections::BTreeSet;

use sqlx::{ConnectOptions, Connection};

use super::sql::{Row, Sql, args};
use super::tx::Tx;
use super::{Database, postgres, sqlite};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::Id;

/// A secret as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub name: String,
    pub nonce: Vec<u8>,
    pub sealed: Vec<u8>,
    pub version: u64,
    pub updated_at: Timestamp,
    pub used_at: Option<Timestamp>,
}

/// PostgreSQL's code for a table that is not there.
const NO_TABLE: &str = "42P01";

static OF_TENANT: Sql =
    Sql::new("SELECT name, nonce, sealed, version, updated_at, used_at FROM secret WHERE tenant = $1 ORDER BY name");
static ALL: Sql = Sql::new("SELECT tenant, name, nonce, sealed, version, updated_at, used_at FROM secret ORDER BY tenant, name");
static RESEAL: Sql = Sql::new("UPDATE secret SET nonce = $1, sealed = $2 WHERE tenant = $3 AND name = $4 AND nonce = $5");
static ANY: Sql = Sql::new("SELECT name FROM secret LIMIT 1");
static PUT: Sql = Sql::new(
    "INSERT INTO secret (tenant, name, nonce, sealed, version, created_at, updated_at) VALUES ($1, $2, $3, $4, 1, $5, $5) \
     ON CONFLICT (tenant, name) DO UPDATE SET nonce = excluded.nonce, sealed = excluded.sealed, version = secret.version + 1, \
     updated_at = excluded.updated_at",
);
static USED: Sql = Sql::new(
    "UPDATE secret SET used_at = v.column3 FROM (VALUES {3}) v WHERE secret.tenant = v.column1 AND secret.name = v.column2 \
     AND (secret.used_at IS NULL OR secret.used_at < v.column3 - 60000)",
);

/// Of all tenants, with their tenant, of a database that is not opened for it: `windlass doctor` only looks. None where the
/// first start has still to make it.
///
/// # Errors
/// `Unavailable` when it cannot be read.
pub async fn look(database: &Database) -> Result<Vec<(Id, Sealed)>> {
    let broken = |wrong: sqlx::Error| Error::Unavailable(format!("the secrets of {} cannot be read: {wrong}", database.name()));
    let rows: Vec<Row> = match database {
        Database::Sqlite(file) if !file.exists() => Vec::new(),
        Database::Sqlite(file) => {
            let mut conn = sqlite::looking(file).connect().await.map_err(|wrong| sqlite::cannot_open(file, &wrong))?;
            let rows = sqlx::query(ALL.text).fetch_all(&mut conn).await.map_err(broken)?;
            rows.into_iter().map(Row::Sqlite).collect()
        }
        Database::Postgres(options) => {
            let mut conn = postgres::connect(options).await?;
            let rows = sqlx::query(ALL.text).persistent(false).fetch_all(&mut conn).await;
            let _ = conn.close().await;
            match rows {
                Ok(rows) => rows.into_iter().map(Row::Postgres).collect(),
                Err(sqlx::Error::Database(wrong)) if wrong.code().as_deref() == Some(NO_TABLE) => Vec::new(),
                Err(wrong) => return Err(broken(wrong)),
            }
        }
    };
    rows.iter().map(|row| Ok((row.id("tenant")?, secret(row)?))).collect()
}

impl Tx {
    pub async fn secrets(&mut self, tenant: Id) -> Result<Vec<Sealed>> {
        self.rows(&OF_TENANT, args![tenant]).await?.iter().map(secret).collect()
    }

    /// Of all tenants, with their tenant.
    pub async fn all_secrets(&mut self) -> Result<Vec<(Id, Sealed)>> {
        self.rows(&ALL, args![]).await?.iter().map(|row| Ok((row.id("tenant")?, secret(row)?))).collect()
    }

    /// Seals the same value anew. Answers whether it still was what was read.
    pub async fn reseal_secret(&mut self, tenant: Id, read: &Sealed, nonce: Vec<u8>, sealed: Vec<u8>) -> Result<bool> {
        let args = args![nonce, sealed, tenant, &read.name, read.nonce.clone()];
        Ok(self.exec(&RESEAL, args).await? == 1)
    }

    /// Whether anybody has one.
    pub async fn has_secrets(&mut self) -> Result<bool> {
        Ok(self.row(&ANY, args![]).await?.is_some())
    }

    pub async fn put_secret(&mut self, tenant: Id, name: &str, nonce: Vec<u8>, sealed: Vec<u8>, now: Timestamp) -> Result<()> {
        self.exec(&PUT, args![tenant, name, nonce, sealed, now]).await?;
        self.redefine();
        Ok(())
    }

    /// Notes uses of secrets (tenant, name), to the minute: more would be a write a run.
    pub async fn secrets_used(&mut self, used: &BTreeSet<(Id, String)>, now: Timestamp) -> Result<()> {
        self.exec_keys(&USED, &used.iter().map(|(tenant, name)| args![*tenant, name, now]).collect::<Vec<_>>()).await?;
        Ok(())
    }
}

fn secret(row: &Row) -> Result<Sealed> {
    Ok(Sealed {
        name: row.text("name")?,
        nonce: row.bytes("nonce")?,
        sealed: row.bytes("sealed")?,
        version: row.count("version")?,
        updated_at: row.time("updated_at")?,
        used_at: row.opt_time("used_at")?,
    })
}
