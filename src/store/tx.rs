//! A transaction, or a reader: every statement of the project is a method of this type, in the file of its noun.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::TryStreamExt;
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Executor, Sqlite, SqliteConnection};
use tokio::sync::oneshot;

use super::Signals;
use super::known::Known;
use super::meter::Counted;
use super::sql::{Arg, CHUNKS, Row, Sql, chunks, sqlite_arguments};
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
    pub(super) known: Arc<Known>,
    pub(super) news: News,
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

/// The connection, however it is lost on the way: dropped unused, in the middle, or with a request that went away.
pub(super) struct Loan {
    pub conn: Option<SqliteConnection>,
    pub back: Option<oneshot::Sender<Returned>>,
}

pub(super) struct Returned {
    pub conn: SqliteConnection,
    /// What is to be committed, told to others, and answered; `None` rolls back.
    pub commit: Option<(News, oneshot::Sender<Result<()>>)>,
}

/// What a transaction has to tell others once it is committed.
#[derive(Default)]
pub(super) struct News {
    /// Jobs (tenant, job) whose `ready` rows grew: told to the claimers.
    pub woken: BTreeSet<(Id, Id)>,
    /// Definitions changed.
    pub redefined: bool,
    /// The earliest time to which a run was put off.
    pub later: Option<Timestamp>,
    /// For `/metrics`.
    pub counted: Counted,
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let (Some(conn), Some(back)) = (self.conn.take(), self.back.take()) {
            let _ = back.send(Returned { conn, commit: None });
        }
    }
}

impl Tx {
    pub(super) fn new(conn: Conn, ids: Ids, node: i64, signals: Signals, known: Arc<Known>) -> Self {
        Self { conn, ids, node, signals, known, news: News::default(), tallies: Tallies::new() }
    }

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

    /// Executes a statement with `VALUES {n}` over all rows, in chunks. Answers the rows affected in all.
    pub(super) async fn exec_rows(&mut self, sql: &'static Sql, rows: Vec<Vec<Arg>>) -> Result<u64> {
        let (mut affected, mut rows) = (0, rows.into_iter());
        for size in chunks(rows.len()) {
            let args = rows.by_ref().take(size).flatten().collect();
            affected += self.exec_text(sql.for_rows(size), args).await?;
        }
        Ok(affected)
    }

    /// Executes a statement with `… IN (VALUES {n})` over all keys. A chunk is filled up by repeating its last key, which
    /// names no other row: one statement instead of the eight or nine that greedy chunks would take.
    pub(super) async fn exec_keys(&mut self, sql: &'static Sql, keys: &[Vec<Arg>]) -> Result<u64> {
        let mut affected = 0;
        for (size, args) in padded(keys) {
            affected += self.exec_text(sql.for_rows(size), args).await?;
        }
        Ok(affected)
    }

    /// Reads with a statement with `… IN (VALUES {n})` over all keys.
    pub(super) async fn rows_for(&mut self, sql: &'static Sql, keys: &[Vec<Arg>]) -> Result<Vec<Row>> {
        let mut found = Vec::new();
        for (size, args) in padded(keys) {
            found.extend(self.rows_text(sql.for_rows(size), args).await?);
        }
        Ok(found)
    }

    /// BEGIN, COMMIT, ROLLBACK, SAVEPOINT: not worth preparing.
    pub(super) async fn control(&mut self, word: &'static str) -> Result<()> {
        self.sqlite()?.execute(AssertSqlSafe(word)).await.map_err(|wrong| failed(word, wrong))?;
        Ok(())
    }

    /// Makes it so, and wakes who waits for it. The writer does it: whoever asks may go away meanwhile, and it is done
    /// all the same.
    pub async fn commit(mut self) -> Result<()> {
        let Conn::Writer(loan) = &mut self.conn else {
            return Err(Error::Internal(anyhow::anyhow!("a reader has nothing to commit")));
        };
        let (Some(conn), Some(back)) = (loan.conn.take(), loan.back.take()) else { return Err(super::closed()) };
        let (reply, committed) = oneshot::channel();
        back.send(Returned { conn, commit: Some((self.news, reply)) }).map_err(|_| super::closed())?;
        committed.await.map_err(|_| super::closed())?
    }

    /// A job has rows to claim once this is committed.
    pub(super) fn wake(&mut self, tenant: Id, job: Id) {
        self.news.woken.insert((tenant, job));
    }

    /// Definitions (tenants, jobs, triggers, plugins) changed, or a token ended.
    pub(super) fn redefine(&mut self) {
        self.news.redefined = true;
    }
}

/// Keys in chunks of the least size that holds them, filled up with the last.
fn padded(keys: &[Vec<Arg>]) -> impl Iterator<Item = (usize, Vec<Arg>)> {
    keys.chunks(CHUNKS[0]).map(|part| {
        let size = CHUNKS.into_iter().rev().find(|size| *size >= part.len()).unwrap_or(CHUNKS[0]);
        let missing = size - part.len();
        let fill = part.last().into_iter().cycle().take(missing);
        (size, part.iter().chain(fill).flatten().cloned().collect())
    })
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
