//! The database of a test: a file of its own, or, with WINDLASS_TEST_DATABASE=postgres, a database of its own on a throw-away
//! PostgreSQL. So the whole suite runs on both.
#![allow(clippy::disallowed_methods, reason = "the suite is told from outside which database to use")]

use std::path::Path;

use sqlx::{AssertSqlSafe, ConnectOptions, Executor, PgConnection, SqliteConnection};
use windlass::store::Database;

#[path = "../harness/postgres.rs"]
mod postgres;
pub use postgres::Cluster;

pub fn is_postgres() -> bool {
    match std::env::var("WINDLASS_TEST_DATABASE").as_deref() {
        Err(_) | Ok("sqlite") => false,
        Ok("postgres") => true,
        Ok(other) => panic!("WINDLASS_TEST_DATABASE is {other:?}; sqlite or postgres is right"),
    }
}

/// A new one; a file lies in `folder`.
pub fn fresh(folder: &Path) -> Database {
    if is_postgres() {
        return Database::parse(&Cluster::shared().database(), folder).unwrap();
    }
    Database::Sqlite(folder.join("windlass.db"))
}

/// A connection beside the server's, for accidents.
pub enum Beside {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Beside {
    pub async fn open(database: &Database) -> Self {
        match database {
            Database::Sqlite(path) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
                Self::Sqlite(options.connect().await.unwrap())
            }
            Database::Postgres(options) => Self::Postgres(options.connect().await.unwrap()),
        }
    }

    pub async fn exec(&mut self, sql: impl Into<String>) {
        let sql = AssertSqlSafe(sql.into());
        match self {
            Self::Sqlite(conn) => drop(conn.execute(sql).await.unwrap()),
            Self::Postgres(conn) => drop(conn.execute(sql).await.unwrap()),
        }
    }

    /// From now on nobody writes a table, until it is let go.
    pub async fn hold(&mut self, table: &str) {
        match self {
            Self::Sqlite(_) => self.exec("BEGIN IMMEDIATE").await,
            Self::Postgres(_) => self.exec(format!("BEGIN; LOCK TABLE {table} IN EXCLUSIVE MODE")).await,
        }
    }

    pub async fn let_go(&mut self) {
        self.exec("ROLLBACK").await;
    }
}
