//! A transaction, or a reader: every statement of the project is a method of this type, in the file of its noun.

use std::collections::BTreeSet;

use futures_util::TryStreamExt;
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Executor, Sqlite, SqliteConnection};
use tokio::sync::oneshot;

use super::Signals;
use super::sql::{Arg, Row, Sql, chunks, sqlite_arguments};
use super::tally::Tallies;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{Id, Ids};

/// Reads and, if it came from [`super::Store::begin`], writes. What is not committed when it is dropped has not happened.
pub struct Tx {
    pub(super) conn: Conn,
    pub(super) ids: Ids,
    pub(super) node: i64,
    pub(super) signals: Signals,
    /// Jobs whose `ready` rows grew: told to the claimers after the commit.
    pub(super) woken: BTreeSet<(Id, Id)>,
    /// Definitions changed: told after the commit.
    pub(super) redefined: bool,
    /// The earliest time to which this transaction put a run off.
    pub(super) later: Option<Timestamp>,
    /// Counters of this transaction, added before its end.
    pub(super) tallies: Tallies,
}

pub(super) enum Conn {
    /// The one writing connection, on loan from the writer's task; it goes back when the loan is dropped.
    Writer(Loan),
    Reader(PoolConnection<Sqlite>),
    /// The writer's own, while it works on a batch.
    Own(Box<SqliteConnection>),
}

pub(super) struct Loan {
    pub conn: Option<SqliteConnection>,
    pub back: Option<oneshot::Sender<Returned>>,
}

pub(super) struct Returned {
    pub conn: SqliteConnection,
    pub committed: bool,
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let (Some(conn), Some(back)) = (self.conn.take(), self.back.take()) {
            let _ = back.send(Returned { conn, committed: false });
        }
    }
}

impl Tx {
    /// A fresh id of this node.
    pub fn new_id(&self) -> Id {
        self.ids.next()
    }

    fn sqlite(&mut self) -> Result<&mut SqliteConnection> {
        match &mut self.conn {
            Conn::Writer(loan) => loan.conn.as_mut().ok_or_else(|| Error::Unavailable("the transaction is over".into())),
            Conn::Reader(conn) => Ok(conn),
            Conn::Own(conn) => Ok(conn),
        }
    }

    /// Executes one statement; answers the rows affected.
    pub(super) async fn exec(&mut self, sql: &'static Sql, args: Vec<Arg>) -> Result<u64> {
        self.exec_text(sql.text, args).await
    }

    pub(super) async fn exec_text(&mut self, text: &'static str, args: Vec<Arg>) -> Result<u64> {
        let args = sqlite_arguments(args)?;
        let done = self.sqlite()?.execute(sqlx::query_with(text, args)).await.map_err(|wrong| failed(text, wrong))?;
        Ok(done.rows_affected())
    }

    pub(super) async fn rows(&mut self, sql: &'static Sql, args: Vec<Arg>) -> Result<Vec<Row>> {
        self.rows_text(sql.text, args).await
    }

    pub(super) async fn rows_text(&mut self, text: &'static str, args: Vec<Arg>) -> Result<Vec<Row>> {
        let args = sqlite_arguments(args)?;
        let rows = self.sqlite()?.fetch(sqlx::query_with(text, args)).map_ok(Row::Sqlite).try_collect().await;
        rows.map_err(|wrong| failed(text, wrong))
    }

    pub(super) async fn row(&mut self, sql: &'static Sql, args: Vec<Arg>) -> Result<Option<Row>> {
        Ok(self.rows(sql, args).await?.into_iter().next())
    }

    /// Executes a statement with `{n}` over all rows, in chunks; `head` comes before the rows of each chunk.
    /// Answers the rows affected in all.
    pub(super) async fn exec_rows(&mut self, sql: &'static Sql, rows: Vec<Vec<Arg>>) -> Result<u64> {
        let (mut affected, mut rows) = (0, rows.into_iter());
        for size in chunks(rows.len()) {
            let args = rows.by_ref().take(size).flatten().collect();
            affected += self.exec_text(sql.for_rows(size), args).await?;
        }
        Ok(affected)
    }

    /// Reads with a statement with `{n}` over all keys, in chunks.
    pub(super) async fn rows_for(&mut self, sql: &'static Sql, keys: Vec<Vec<Arg>>) -> Result<Vec<Row>> {
        let (mut found, mut keys) = (Vec::new(), keys.into_iter());
        for size in chunks(keys.len()) {
            let args = keys.by_ref().take(size).flatten().collect();
            found.extend(self.rows_text(sql.for_rows(size), args).await?);
        }
        Ok(found)
    }

    /// BEGIN, COMMIT, ROLLBACK, SAVEPOINT: not worth preparing.
    pub(super) async fn control(&mut self, word: &'static str) -> Result<()> {
        self.sqlite()?.execute(AssertSqlSafe(word)).await.map_err(|wrong| failed(word, wrong))?;
        Ok(())
    }

    /// Makes it so, and wakes who waits for it.
    pub async fn commit(mut self) -> Result<()> {
        self.control("COMMIT").await?;
        if let Conn::Writer(loan) = &mut self.conn
            && let (Some(conn), Some(back)) = (loan.conn.take(), loan.back.take())
        {
            let _ = back.send(Returned { conn, committed: true });
        }
        self.publish();
        Ok(())
    }

    pub(super) fn publish(&mut self) {
        self.signals.publish(std::mem::take(&mut self.woken), std::mem::take(&mut self.redefined), self.later.take());
    }

    /// A job has rows to claim once this is committed.
    pub(super) fn wake(&mut self, tenant: Id, job: Id) {
        self.woken.insert((tenant, job));
    }

    /// Definitions (tenants, jobs, triggers, plugins) changed.
    pub(super) fn redefine(&mut self) {
        self.redefined = true;
    }
}

/// Names the statement: the first words suffice to find it.
fn failed(text: &str, wrong: sqlx::Error) -> Error {
    let head: String = text.chars().take(60).collect();
    match &wrong {
        sqlx::Error::PoolTimedOut => Error::Unavailable("all readers of the database are busy; try again".into()),
        sqlx::Error::Database(inner) if inner.is_unique_violation() => {
            Error::Conflict(format!("it is there already ({})", inner.message()))
        }
        _ => Error::Internal(anyhow::Error::new(wrong).context(format!("statement: {head}…"))),
    }
}

/// How many rows a statement must have touched.
pub(super) fn expect_rows(affected: u64, expected: usize, what: &str) -> Result<()> {
    if affected == expected as u64 {
        return Ok(());
    }
    Err(Error::Internal(anyhow::anyhow!("{what}: {affected} rows instead of {expected}")))
}
