//! The database of a test: a file of its own, or, with WINDLASS_TEST_DATABASE=postgres, a database of its own on a throw-away
//! PostgreSQL. So the whole suite runs on both.
#![allow(clippy::disallowed_methods, reason = "the suite is told from outside which database to use")]

use std::path::Path;

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
