//! The only room with SQL. Public code sees runs with a state; that the state is a table (`ready`, `later`, `lease`,
//! `done`) is known here alone. `docs/store.md` explains the shape and its numbers.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::id::{Id, Ids};

pub mod admission;
pub mod alert;
pub mod artifact;
pub mod audit;
pub mod backfill;
pub mod backlog;
pub mod backup;
pub mod cancel;
pub mod claim;
mod cluster;
pub mod count;
mod crowd;
mod database;
pub mod dead;
pub mod enqueue;
pub mod health;
pub mod item;
pub mod item_list;
pub mod job;
pub mod job_state;
mod known;
pub mod ledger;
pub mod log;
pub mod member;
pub mod meter;
pub mod moving;
pub mod node;
pub mod notice;
pub mod operation;
pub mod outside;
pub mod page_board;
pub mod plugin;
mod postgres;
pub mod prune;
pub mod push;
pub mod reap;
pub mod record;
pub mod recording;
pub mod rollout;
pub mod run;
pub mod said;
pub mod schedule;
pub mod secret;
mod signals;
mod sql;
mod sqlite;
pub mod tally;
pub mod tenant;
mod tx;
mod writer;

pub use cluster::Beat;
use cluster::Cluster;
pub use database::Database;
use database::Readers;
pub use postgres::look;
pub use signals::Signals;
pub use sqlite::{Inspected, inspect};
pub use tx::Tx;
use tx::{Conn, Link};
use writer::{Op, Writer};

/// Operations that wait for the writer; past this, callers wait to hand theirs over.
const INBOX: usize = 8_192;

/// The database, as one node has it. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inbox: mpsc::Sender<Op>,
    readers: Readers,
    ids: Ids,
    node: i64,
    signals: Signals,
    known: Arc<known::Known>,
    database: Arc<Database>,
    /// Device and inode of the SQLite file as it was opened.
    file: Option<(u64, u64)>,
    clock: Arc<dyn Clock>,
    /// On PostgreSQL alone: one process owns a SQLite file.
    cluster: Option<Arc<Cluster>>,
}

impl Store {
    /// Opens the database, migrating it as needed (a file is made), and enters this process as a node.
    ///
    /// # Errors
    /// When it cannot be read or written, was written by a newer Windlass, or is behind a pooler that cannot be used.
    pub async fn open(database: Database, clock: Arc<dyn Clock>) -> Result<Self> {
        let now = clock.now();
        let (link, signals, herald, high_water, side) = match &database {
            Database::Sqlite(path) => {
                let mut conn = sqlite::open(path).await?;
                let high_water = sqlite::high_water(&mut conn, now).await?;
                (Link::Sqlite(conn), Signals::default(), None, high_water, None)
            }
            Database::Postgres(options) => {
                postgres::prepare(options).await?;
                let (herald, news) = mpsc::unbounded_channel();
                let side = postgres::side(options).await?;
                (database.link().await?, Signals::heralded(herald), Some(news), Id(0), Some(side))
            }
        };
        let readers = database.readers().await?;
        let (name, known) = (host(), Arc::<known::Known>::default());
        let memory = (signals.clone(), known.clone());
        let (writer, node, generation) = Writer::enter(link, &database, memory, clock.clone(), &name, high_water).await?;
        let ids = writer.ids();
        let (inbox, ops) = mpsc::channel(INBOX);
        tokio::spawn(writer::run(writer, ops));
        let cluster = side.map(|side| Cluster::new(side, node, generation));
        if let (Some(cluster), Some(news)) = (&cluster, herald) {
            tokio::spawn(cluster.clone().tell(news));
            tokio::spawn(cluster.clone().hear(signals.clone()));
        }
        let file = database.file();
        Ok(Self { inbox, readers, ids, node, signals, known, database: Arc::new(database), file, clock, cluster })
    }

    /// Renews this node's right to its runs. On SQLite nobody could take it: `None`.
    ///
    /// # Errors
    /// `Unavailable` when the database does not answer.
    pub async fn beat(&self) -> Result<Option<Beat>> {
        match &self.cluster {
            Some(cluster) => cluster.beat(self.clock.now()).await.map(Some),
            None => Ok(None),
        }
    }

    /// Takes part again after others declared this node dead: as if it had just started. Answers whether it is in.
    pub async fn enter_again(&self) -> Result<bool> {
        let Some(cluster) = &self.cluster else { return Ok(true) };
        let mut tx = self.begin().await?;
        let entered = tx.enter_again(self.node, cluster.generation(), self.clock.now()).await?;
        tx.commit().await?;
        if entered {
            cluster.entered_again();
        }
        Ok(entered)
    }

    /// Bytes that the database takes on disk; on SQLite with its write-ahead log.
    ///
    /// # Errors
    /// `Unavailable` when the database does not answer.
    pub async fn bytes(&self) -> Result<u64> {
        match (&self.cluster, &*self.database) {
            (Some(cluster), _) => cluster.bytes().await,
            (None, database) => Ok(database.file_bytes()),
        }
    }

    /// Whether other nodes may share this database.
    pub fn is_shared(&self) -> bool {
        self.cluster.is_some()
    }

    /// A transaction of its own, for everything but the hot path. Others wait for it: be brief, wait for nothing else.
    pub async fn begin(&self) -> Result<Tx> {
        let (lend, loan) = oneshot::channel();
        self.inbox.send(Op::Lend(lend)).await.map_err(|_| closed())?;
        Ok(self.tx(Conn::Writer(loan.await.map_err(|_| closed())??)))
    }

    /// A reader; each statement sees what is committed when it starts.
    pub async fn read(&self) -> Result<Tx> {
        Ok(self.tx(Conn::Reader(self.readers.acquire().await?)))
    }

    fn tx(&self, conn: Conn) -> Tx {
        Tx::new(conn, self.ids.clone(), self.node, self.signals.clone(), Arc::clone(&self.known))
    }

    /// Whether nothing can be written any more, because the server has stopped.
    pub fn is_closed(&self) -> bool {
        self.inbox.is_closed()
    }

    /// Whether what is written will be found again. The kernel keeps a file that was removed as long as somebody has it open.
    ///
    /// # Errors
    /// `Unavailable` when nothing can be written any more, or the SQLite file is not the one that was opened.
    pub fn stands(&self) -> Result<()> {
        if self.is_closed() {
            return Err(closed());
        }
        if self.database.file() == self.file {
            return Ok(());
        }
        let what =
            "was removed or replaced under this server, and what is written now will be lost; stop it and restore a backup";
        Err(Error::Unavailable(format!("{} {what}", self.database.name())))
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

    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Takes the last operations to their end and closes the database.
    pub async fn close(&self) {
        if let Some(cluster) = &self.cluster {
            if let Ok(mut tx) = self.begin().await
                && tx.leave(self.node, cluster.generation(), self.clock.now()).await.is_ok()
            {
                let _ = tx.commit().await;
            }
            cluster.close().await;
        }
        // Readers first: the log cannot be merged into the file while one looks at it.
        self.readers.close().await;
        let (done, closed) = oneshot::channel();
        if self.inbox.send(Op::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

fn closed() -> Error {
    Error::Unavailable("the database is closed: the server is stopping".into())
}

/// This machine's name, for the page of nodes.
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
