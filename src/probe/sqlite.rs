//! One number of a SQLite file of this machine, opened for reading only.

use std::path::Path;
use std::time::Instant;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::sql::{of_sqlite, only, wrapped};
use super::{STATEMENT, TIME_LIMIT};
use crate::domain::backlog::Measurement;

/// Steps of SQLite's machine between two looks at the clock.
const STEPS: i32 = 100_000;

/// # Errors
/// Why there is no number, for a person.
pub async fn measure(file: &Path, query: &str) -> Result<Measurement, String> {
    let asked = tokio::time::timeout(TIME_LIMIT, asked(file, query)).await;
    let late = || Err(format!("no answer within {} s", TIME_LIMIT.as_secs()));
    asked.unwrap_or_else(|_| late()).map_err(|why| format!("{}: {why}", file.display()))
}

async fn asked(file: &Path, query: &str) -> Result<Measurement, String> {
    let wrong = |wrong: sqlx::Error| match wrong {
        sqlx::Error::Database(told) => told.message().to_owned(),
        wrong => wrong.to_string(),
    };
    let options = SqliteConnectOptions::new().filename(file).read_only(true).disable_statement_logging();
    let mut connection = options.connect().await.map_err(wrong)?;
    let until = Instant::now() + STATEMENT;
    // The thread that works on it would go on after we have stopped waiting.
    connection.lock_handle().await.map_err(wrong)?.set_progress_handler(STEPS, move || Instant::now() < until);
    let rows = sqlx::query(wrapped(query)).persistent(false).fetch_all(&mut connection).await.map_err(wrong)?;
    let found = only(&rows, of_sqlite);
    let _ = connection.close().await;
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn file() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("shop.db");
        let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
        let mut connection = options.connect().await.unwrap();
        let made = "CREATE TABLE task (id INTEGER, at REAL); INSERT INTO task VALUES (1, 2.5), (2, 3.5), (3, 1.5)";
        sqlx::raw_sql(made).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        (folder, file)
    }

    #[tokio::test]
    async fn a_number_and_an_age_are_measured() {
        let (_folder, file) = file().await;
        let found = measure(&file, "SELECT count(*), max(at) FROM task WHERE id > 1").await;
        assert_eq!(found, Ok(Measurement { size: 2, age_ms: Some(3_500) }));
        assert_eq!(measure(&file, "WITH a AS (SELECT 7) SELECT * FROM a").await, Ok(Measurement { size: 7, age_ms: None }));
    }

    #[tokio::test]
    async fn what_is_no_number_fails_and_nothing_is_written() {
        let (folder, file) = file().await;
        for (query, says) in [
            ("SELECT 'twelve'", "TEXT, which is no number"),
            ("SELECT max(id) FROM task WHERE id > 9", "is NULL"),
            ("SELECT id FROM task", "more rows than one"),
            ("SELECT id FROM task WHERE id > 9", "found no row"),
            ("SELECT -1", "-1 is no number of pieces"),
            ("SELECT 1, 2, 3", "3 columns"),
            ("SELECT weight FROM task", "no such column"),
            ("DELETE FROM task RETURNING id", "syntax error"),
        ] {
            let wrong = measure(&file, query).await.expect_err(query);
            assert!(wrong.contains(says) && wrong.contains("shop.db"), "{query}: {wrong}");
        }
        let gone = folder.path().join("gone.db");
        assert!(measure(&gone, "SELECT 1").await.is_err() && !gone.exists());
        assert_eq!(measure(&file, "SELECT count(*) FROM task").await.map(|found| found.size), Ok(3));
    }
}
