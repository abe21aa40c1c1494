//! A transaction, or a reader: every statement of the project is a method of this type, in the file of its noun.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Executor, PgConnection, Postgres, Sqlite, SqliteConnection};
use tokio::sync::oneshot;

use super::Signals;
use super::audit::Entry;
use super::known::Known;
use super::meter::Counted;
use super::record::Finished;
use super::sql::{Arg, CHUNKS, Dialect, Row, Sql, chunks, postgres_arguments, sqlite_arguments};
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
    Reader(Reader),
    /// The writer's own, while it works on a batch.
    Own(Box<Link>),
}

/// A connection that writes.
pub(super) enum Link {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

pub(super) enum Reader {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

/// Whatever the connection, for one statement.
enum Wire<'a> {
    Sqlite(&'a mut SqliteConnection),
    Postgres(&'a mut PgConnection),
}

impl Link {
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }
}

/// The connection, however it is lost on the way: dropped unused, in the middle, or with a request that went away.
pub(super) struct Loan {
    pub conn: Option<Link>,
    pub back: Option<oneshot::Sender<Returned>>,
}

pub(super) struct Returned {
    pub conn: Link,
    /// What is to be committed, told to others, and answered; `None` rolls back.
    pub commit: Option<(News, oneshot::Sender<Result<()>>)>,
}

/// What a transaction has to tell others once it is committed.
#[derive(Debug, Clone, Default)]
pub(super) struct News {
    /// Jobs (tenant, job) whose `ready` rows grew: told to the claimers.
    pub woken: BTreeSet<(Id, Id)>,
    /// Definitions changed.
    pub redefined: bool,
    /// An operation was begun.
    pub operated: bool,
    /// Something was noticed that a job shall have a run for.
    pub noticed: bool,
    /// The earliest time to which a run was put off.
    pub later: Option<Timestamp>,
    /// For `/metrics`.
    pub counted: Counted,
    /// Runs that ended while they waited, where somebody wants to know.
    pub cancelled: Vec<Finished>,
    /// For the log.
    pub audited: Vec<Entry>,
}

impl News {
    pub fn add(&mut self, more: Self) {
        self.woken.extend(more.woken);
        self.redefined |= more.redefined;
        self.operated |= more.operated;
        self.noticed |= more.noticed;
        self.later = self.later.into_iter().chain(more.later).min();
    }
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

    fn wire(&mut self) -> Result<Wire<'_>> {
        let link = match &mut self.conn {
            Conn::Writer(loan) => loan.conn.as_mut().ok_or_else(|| Error::Unavailable("the transaction is over".into()))?,
            Conn::Own(link) => link,
            Conn::Reader(Reader::Sqlite(conn)) => return Ok(Wire::Sqlite(conn)),
            Conn::Reader(Reader::Postgres(conn)) => return Ok(Wire::Postgres(conn)),
        };
        Ok(match link {
            Link::Sqlite(conn) => Wire::Sqlite(conn),
            Link::Postgres(conn) => Wire::Postgres(conn),
        })
    }

    /// Which database this is; for the few places that must differ, each with its reason.
    pub(super) fn dialect(&self) -> Dialect {
        match &self.conn {
            Conn::Writer(Loan { conn: Some(link), .. }) => link.dialect(),
            Conn::Own(link) => link.dialect(),
            Conn::Reader(Reader::Postgres(_)) => Dialect::Postgres,
            Conn::Writer(_) | Conn::Reader(Reader::Sqlite(_)) => Dialect::Sqlite,
        }
    }

    /// Executes one statement; answers the rows affected.
    pub(super) async fn exec(&mut self, sql: &'static Sql, args: Vec<Arg>) -> Result<u64> {
        self.exec_text(sql.text, args).await
    }

    pub(super) async fn exec_text(&mut self, text: &'static str, args: Vec<Arg>) -> Result<u64> {
        let done = match self.wire()? {
            Wire::Sqlite(conn) => {
                conn.execute(sqlx::query_with(text, sqlite_arguments(args)?)).await.map(|done| done.rows_affected())
            }
            Wire::Postgres(conn) => {
                let done = conn.execute(sqlx::query_with(text, postgres_arguments(args)?));
                answered(done).await.map(|done| done.rows_affected())
            }
        };
        done.map_err(|wrong| failed(text, wrong))
    }

    pub(super) async fn rows(&mut self, sql: &'static Sql, args: Vec<Arg>) -> Result<Vec<Row>> {
        self.rows_text(sql.text, args).await
    }

    pub(super) async fn rows_text(&mut self, text: &'static str, args: Vec<Arg>) -> Result<Vec<Row>> {
        let rows = match self.wire()? {
            Wire::Sqlite(conn) => {
                conn.fetch(sqlx::query_with(text, sqlite_arguments(args)?)).map_ok(Row::Sqlite).try_collect().await
            }
            Wire::Postgres(conn) => {
                let rows = conn.fetch(sqlx::query_with(text, postgres_arguments(args)?)).map_ok(Row::Postgres).try_collect();
                answered(rows).await
            }
        };
        rows.map_err(|wrong| failed(text, wrong))
    }

    pub(super) async fn row(&mut self, sql: &'static Sql, args: Vec<Arg>) -> Result<Option<Row>> {
        Ok(self.rows(sql, args).await?.into_iter().next())
    }

    /// Executes a statement with `VALUES {n}` over all rows, in chunks. Answers the rows affected in all.
    pub(super) async fn exec_rows(&mut self, sql: &'static Sql, rows: Vec<Vec<Arg>>) -> Result<u64> {
        let (mut affected, mut rows, dialect) = (0, rows.into_iter(), self.dialect());
        for size in chunks(rows.len()) {
            let args = rows.by_ref().take(size).flatten().collect();
            affected += self.exec_text(sql.for_rows(size, dialect), args).await?;
        }
        Ok(affected)
    }

    /// Executes a statement with `… IN (VALUES {n})` over all keys. A chunk is filled up by repeating its last key, which
    /// names no other row: one statement instead of the eight or nine that greedy chunks would take.
    pub(super) async fn exec_keys(&mut self, sql: &'static Sql, keys: &[Vec<Arg>]) -> Result<u64> {
        let (mut affected, dialect) = (0, self.dialect());
        for (size, args) in padded(keys) {
            affected += self.exec_text(sql.for_rows(size, dialect), args).await?;
        }
        Ok(affected)
    }

    /// Reads with a statement with `… IN (VALUES {n})` over all keys.
    pub(super) async fn rows_for(&mut self, sql: &'static Sql, keys: &[Vec<Arg>]) -> Result<Vec<Row>> {
        let (mut found, dialect) = (Vec::new(), self.dialect());
        for (size, args) in padded(keys) {
            found.extend(self.rows_text(sql.for_rows(size, dialect), args).await?);
        }
        Ok(found)
    }

    /// The same for a statement that asks for more behind the keys, which are no more than one chunk holds.
    pub(super) async fn rows_for_and(&mut self, sql: &'static Sql, keys: &[Vec<Arg>], rest: &[Arg]) -> Result<Vec<Row>> {
        let (mut found, dialect) = (Vec::new(), self.dialect());
        for (size, args) in padded(keys).take(1) {
            found = self.rows_text(sql.for_rows(size, dialect), [&args[..], rest].concat()).await?;
        }
        Ok(found)
    }

    /// BEGIN, COMMIT, ROLLBACK, SAVEPOINT: not worth preparing.
    pub(super) async fn control(&mut self, word: &'static str) -> Result<()> {
        match self.wire()? {
            Wire::Sqlite(conn) => conn.execute(AssertSqlSafe(word)).await.map(drop),
            Wire::Postgres(conn) => answered(conn.execute(AssertSqlSafe(word))).await.map(drop),
        }
        .map_err(|wrong| failed(word, wrong))
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

/// How long PostgreSQL may take for a statement: longer than it waits for locks, and than a reader's statement may take.
const ANSWER: Duration = Duration::from_secs(20);

/// A server that went away without a word is known by its silence alone. The connection is given up after that.
async fn answered<T>(asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let silent = |_| sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer within 20 s"));
    tokio::time::timeout(ANSWER, asked).await.unwrap_or_else(|late| Err(silent(late)))
}

/// Names the statement: the first words suffice to find it.
pub(super) fn failed(text: &str, wrong: sqlx::Error) -> Error {
    let head: String = text.chars().take(60).collect();
    match &wrong {
        sqlx::Error::PoolTimedOut => Error::Unavailable("all readers of the database are busy; try again".into()),
        sqlx::Error::Database(inner) if inner.is_unique_violation() => {
            Error::Conflict(format!("it is there already ({})", inner.message()))
        }
        _ if is_full(&wrong) => {
            Error::Unavailable(format!("the database has no room left ({wrong}): free some in the data folder"))
        }
        _ if is_away(&wrong) => Error::Unavailable(format!("the database is away ({wrong}); try again")),
        _ => Error::Internal(anyhow::Error::new(wrong).context(format!("statement: {head}…"))),
    }
}

/// Whether the connection is lost, or the server is not to be had: what was asked may work later, on another connection.
pub(super) fn is_away(wrong: &sqlx::Error) -> bool {
    match wrong {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => true,
        // 08: connection; 25P03: idle in a transaction for too long; 53: too many connections, out of memory or disk; 57P:
        // shutting down, crashed, starting, told to end; 55P03: a lock that nobody gave up in time.
        sqlx::Error::Database(inner) => inner
            .try_downcast_ref::<sqlx::postgres::PgDatabaseError>()
            .is_some_and(|pg| ["08", "25P03", "53", "57P", "55P03"].iter().any(|class| pg.code().starts_with(class))),
        _ => false,
    }
}

/// Whether SQLite could not write for want of room (13), or the disk refused (10 and its kinds). PostgreSQL's are away.
fn is_full(wrong: &sqlx::Error) -> bool {
    let sqlx::Error::Database(inner) = wrong else { return false };
    inner.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some()
        && inner.code().and_then(|code| code.parse::<i32>().ok()).is_some_and(|code| matches!(code & 0xff, 10 | 13))
}

/// How many rows a statement must have touched.
pub(super) fn expect_rows(affected: u64, expected: usize, what: &str) -> Result<()> {
    if affected == expected as u64 {
        return Ok(());
    }
    Err(Error::Internal(anyhow::anyhow!("{what}: {affected} rows instead of {expected}")))
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection, SqliteConnection};

    use super::*;

    #[tokio::test]
    async fn a_full_disk_is_no_fault_of_windlass() {
        let mut conn = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        sqlx::raw_sql("CREATE TABLE t (b BLOB); PRAGMA max_page_count = 10").execute(&mut conn).await.unwrap();
        let full = sqlx::query("INSERT INTO t VALUES (zeroblob(1000000))").execute(&mut conn).await.unwrap_err();
        let told = failed("INSERT INTO t", full);
        assert!(matches!(&told, Error::Unavailable(why) if why.contains("no room left")), "{told:?}");
    }
}
