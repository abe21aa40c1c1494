//! The only room with SQL. Public code sees runs with a state; that the state is a table (`ready`, `later`, `lease`,
//! `done`) is known here alone. `docs/store.md` explains the shape and its numbers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqlitePool};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::id::{Id, Ids};

pub mod audit;
pub mod backlog;
pub mod claim;
pub mod count;
pub mod enqueue;
pub mod failure;
pub mod health;
pub mod item;
pub mod item_list;
pub mod job;
pub mod job_state;
pub mod log;
pub mod member;
pub mod outside;
pub mod page_board;
pub mod plugin;
pub mod prune;
pub mod reap;
pub mod record;
pub mod run;
pub mod schedule;
pub mod secret;
mod sql;
pub mod tally;
pub mod tenant;
mod tx;
mod writer;

pub use tx::Tx;
use tx::{Conn, News};
use writer::Op;

/// Operations that wait for the writer; past this, callers wait to hand theirs over.
const INBOX: usize = 8_192;
const READERS: u32 = 4;

/// The database of one node. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inbox: mpsc::Sender<Op>,
    readers: SqlitePool,
    ids: Ids,
    node: i64,
    signals: Signals,
    path: Arc<PathBuf>,
}

impl Store {
    /// Opens the file, making it and migrating it as needed, and enters this process as a node.
    ///
    /// # Errors
    /// When the file cannot be read or written, or was written by a newer Windlass.
    pub async fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        let options = sqlite_options(path);
        let mut conn = options.connect().await.map_err(|wrong| cannot_open(path, &wrong))?;
        sqlx::migrate!("migrations/sqlite").run(&mut conn).await.map_err(|wrong| {
            Error::Internal(
                anyhow::Error::new(wrong).context(format!("migrating {}: was it written by a newer Windlass?", path.display())),
            )
        })?;
        let (node, high_water) = writer::enter(&mut conn, clock.now()).await?;
        let ids = Ids::new(clock.clone(), node, high_water);
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(Duration::from_secs(5))
            .connect_with(options.read_only(true))
            .await
            .map_err(|wrong| cannot_open(path, &wrong))?;
        let signals = Signals::default();
        let (inbox, ops) = mpsc::channel(INBOX);
        tokio::spawn(writer::run(conn, ops, ids.clone(), node, signals.clone(), clock));
        Ok(Self { inbox, readers, ids, node, signals, path: Arc::new(path.to_owned()) })
    }

    /// Looks at a file without entering it: a server may be running on it.
    ///
    /// # Errors
    /// When it cannot be read, or SQLite finds it damaged.
    pub async fn inspect(path: &Path) -> Result<Inspected> {
        let mut conn = sqlite_options(path)
            .read_only(true)
            .create_if_missing(false)
            .connect()
            .await
            .map_err(|wrong| cannot_open(path, &wrong))?;
        let broken = |wrong: sqlx::Error| Error::Unavailable(format!("{} cannot be read: {wrong}", path.display()));
        let verdict: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut conn).await.map_err(broken)?;
        if verdict != "ok" {
            return Err(Error::Unavailable(format!("{} is damaged: {verdict}; restore a backup", path.display())));
        }
        let high = "SELECT coalesce(max(CAST(value AS BIGINT)), 0) FROM setting WHERE key = 'high_water'";
        let high: i64 = sqlx::query_scalar(high).fetch_one(&mut conn).await.map_err(broken)?;
        let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        let mut wal = path.as_os_str().to_owned();
        wal.push("-wal");
        Ok(Inspected { bytes: bytes(path), wal_bytes: bytes(Path::new(&wal)), newest: Id(high).created_at() })
    }

    /// A transaction of its own, for everything but the hot path. Others wait for it: be brief, wait for nothing else.
    pub async fn begin(&self) -> Result<Tx> {
        let (lend, loan) = oneshot::channel();
        self.inbox.send(Op::Lend(lend)).await.map_err(|_| closed())?;
        Ok(self.tx(Conn::Writer(loan.await.map_err(|_| closed())??)))
    }

    /// A reader; each statement sees what is committed when it starts.
    pub async fn read(&self) -> Result<Tx> {
        let conn = self.readers.acquire().await.map_err(|wrong| match wrong {
            sqlx::Error::PoolTimedOut => Error::Unavailable("all readers of the database are busy; try again".into()),
            wrong => Error::Internal(wrong.into()),
        })?;
        Ok(self.tx(Conn::Reader(conn)))
    }

    fn tx(&self, conn: Conn) -> Tx {
        Tx {
            conn,
            ids: self.ids.clone(),
            node: self.node,
            signals: self.signals.clone(),
            news: News::default(),
            tallies: tally::Tallies::new(),
        }
    }

    /// Whether nothing can be written any more, because the server has stopped.
    pub fn is_closed(&self) -> bool {
        self.inbox.is_closed()
    }

    pub fn node(&self) -> i64 {
        self.node
    }

    pub fn new_id(&self) -> Id {
        self.ids.next()
    }

    pub fn signals(&self) -> &Signals {
        &self.signals
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the last operations to their end and closes the file.
    pub async fn close(&self) {
        // Readers first: the log cannot be merged into the file while one looks at it.
        self.readers.close().await;
        let (done, closed) = oneshot::channel();
        if self.inbox.send(Op::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

/// What a look at a database file found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspected {
    pub bytes: u64,
    pub wal_bytes: u64,
    /// When the newest id was made, to the minute.
    pub newest: Timestamp,
}

/// FULL: what was answered survives a power cut. Sizes are measured (docs/store.md).
fn sqlite_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(10))
        .statement_cache_capacity(400)
        .pragma("wal_autocheckpoint", "16000")
        .pragma("cache_size", "-65536")
        .pragma("temp_store", "memory")
        .disable_statement_logging()
}

fn cannot_open(path: &Path, wrong: &sqlx::Error) -> Error {
    Error::Unavailable(format!("cannot open the database {}: {wrong}", path.display()))
}

fn closed() -> Error {
    Error::Unavailable("the database is closed: the server is stopping".into())
}

/// What a commit tells others. Signals only wake: whoever wakes reads the truth, and a poll would find it anyway.
#[derive(Clone)]
pub struct Signals {
    lanes: Arc<Mutex<BTreeSet<(Id, Id)>>>,
    work: Arc<tokio::sync::Notify>,
    changes: Arc<watch::Sender<u64>>,
    definitions: Arc<watch::Sender<u64>>,
    /// When the earliest run of `later` is due, as far as commits told.
    later: Arc<watch::Sender<Timestamp>>,
}

impl Default for Signals {
    fn default() -> Self {
        Self {
            lanes: Arc::default(),
            work: Arc::default(),
            changes: Arc::new(watch::Sender::new(0)),
            definitions: Arc::new(watch::Sender::new(0)),
            later: Arc::new(watch::Sender::new(Timestamp(i64::MAX))),
        }
    }
}

impl Signals {
    fn publish(&self, news: News) {
        let News { woken, redefined, later } = news;
        if let Some(at) = later {
            self.later.send_if_modified(|earliest| std::mem::replace(earliest, (*earliest).min(at)) > at);
        }
        if !woken.is_empty() {
            self.lanes.lock().unwrap_or_else(PoisonError::into_inner).extend(woken);
            self.work.notify_one();
        }
        if redefined {
            self.definitions.send_modify(|n| *n += 1);
        }
        self.changes.send_modify(|n| *n += 1);
    }

    /// Jobs (tenant, job) that have got rows to claim since the last time.
    pub fn take_lanes(&self) -> BTreeSet<(Id, Id)> {
        std::mem::take(&mut *self.lanes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until there may be something to claim.
    pub async fn work(&self) {
        self.work.notified().await;
    }

    /// Wakes the claimer for another reason: a slot has become free.
    pub fn wake(&self) {
        self.work.notify_one();
    }

    /// Moves when a run was put off to an earlier time than all before.
    pub fn later(&self) -> watch::Receiver<Timestamp> {
        self.later.subscribe()
    }

    /// Forgets what was told so far: the promoter looks for itself. What a commit tells from now on counts again.
    pub fn look_later(&self) {
        self.later.send_if_modified(|earliest| {
            *earliest = Timestamp(i64::MAX);
            false
        });
    }

    /// The promoter waits for `at`: only what is earlier wakes it.
    pub fn later_is(&self, at: Timestamp) {
        self.later.send_if_modified(|earliest| {
            *earliest = (*earliest).min(at);
            false
        });
    }

    /// Grows with each commit.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Grows when tenants, jobs, triggers or plugins have changed.
    pub fn definitions(&self) -> watch::Receiver<u64> {
        self.definitions.subscribe()
    }
}
