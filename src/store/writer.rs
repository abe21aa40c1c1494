//! The one writer of this node: a task that takes everything waiting, merges it by kind, commits once and then answers.
//! No timer: while it works, the next batch gathers by itself.
//!
//! On PostgreSQL the writers of other nodes commit batches at the same time, guarded by rows; a transaction on loan has the
//! database for itself, as on SQLite, so that everything but the hot path is written once and proved once (ADR 14).

use std::sync::Arc;
use std::time::Duration;

use sqlx::Connection;
use tokio::sync::{mpsc, oneshot};

use super::claim::{Taken, Want};
use super::known::Known;
use super::notice::{NewNotice, Noticed};
use super::record::{Finished, Recorded};
use super::sql::Dialect;
use super::tx::{Conn, Link, Loan, News, Returned, Tx};
use super::{Database, Signals, Store, closed};
use crate::clock::Clock;
use crate::domain::run::{Enqueued, NewRun};
use crate::error::{Error, Result};
use crate::id::{Id, Ids};

/// Operations merged into one commit at most; measured (docs/store.md).
const BATCH: usize = 1_024;

pub(super) type Reply<T> = oneshot::Sender<Result<T>>;
/// Run by run, in order.
type EnqueuedEach = Vec<Result<Enqueued>>;

pub(super) enum Op {
    Enqueue(Vec<NewRun>, Reply<EnqueuedEach>),
    Notice(NewNotice, Reply<Noticed>),
    Claim(Want, Reply<Taken>),
    Record(Vec<Finished>, Reply<Vec<Recorded>>),
    Lend(oneshot::Sender<Result<Loan>>),
    Close(oneshot::Sender<()>),
}

impl Op {
    fn refuse(self, wrong: &Error) {
        match self {
            Self::Enqueue(_, reply) => drop(reply.send(Err(again(wrong)))),
            Self::Notice(_, reply) => drop(reply.send(Err(again(wrong)))),
            Self::Claim(_, reply) => drop(reply.send(Err(again(wrong)))),
            Self::Record(_, reply) => drop(reply.send(Err(again(wrong)))),
            Self::Lend(reply) => drop(reply.send(Err(again(wrong)))),
            Self::Close(reply) => drop(reply.send(())),
        }
    }
}

impl Store {
    /// The only door in. Answers run by run, in order: one refused run does not keep its neighbours out.
    pub async fn enqueue(&self, runs: Vec<NewRun>) -> Result<Vec<Result<Enqueued>>> {
        self.ask(|reply| Op::Enqueue(runs, reply)).await
    }

    /// Takes a notification in; it is durable when this answers, and shares its commit with whatever else came meanwhile.
    ///
    /// # Errors
    /// `Unavailable` when too many wait for its job; `Conflict` when the job has no webhook any more.
    pub async fn notice(&self, new: NewNotice) -> Result<Noticed> {
        self.ask(|reply| Op::Notice(new, reply)).await
    }

    /// Gives this node the right to runs of these jobs, oldest first.
    pub async fn claim(&self, want: Want) -> Result<Taken> {
        self.ask(|reply| Op::Claim(want, reply)).await
    }

    /// Records what attempts came to, each if its lease still stands; answers in order.
    pub async fn record(&self, finished: Vec<Finished>) -> Result<Vec<Recorded>> {
        self.ask(|reply| Op::Record(finished, reply)).await
    }

    async fn ask<T>(&self, op: impl FnOnce(Reply<T>) -> Op) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(op(reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

pub(super) struct Writer {
    tx: Tx,
    clock: Arc<dyn Clock>,
    database: Database,
    away: Option<Away>,
}

/// The database cannot be reached.
struct Away {
    tried_at: tokio::time::Instant,
    pause: Duration,
}

/// Pauses between two tries to reach the database again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What begins a batch, and what begins a loan. On PostgreSQL batches of several nodes run side by side, and a loan alone:
/// the number is the project's, a lock of this database.
const fn begins(dialect: Dialect, loan: bool) -> &'static str {
    match (dialect, loan) {
        (Dialect::Sqlite, _) => "BEGIN IMMEDIATE",
        (Dialect::Postgres, false) => "BEGIN; SELECT pg_advisory_xact_lock_shared(7171)",
        (Dialect::Postgres, true) => "BEGIN; SELECT pg_advisory_xact_lock(7171)",
    }
}

/// What gathered: each kind with who waits for it.
#[derive(Default)]
struct Batch {
    record: Vec<(Vec<Finished>, Reply<Vec<Recorded>>)>,
    claim: Vec<(Want, Reply<Taken>)>,
    enqueue: Vec<(Vec<NewRun>, Reply<EnqueuedEach>)>,
    notice: Vec<(NewNotice, Reply<Noticed>)>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.record.is_empty() && self.claim.is_empty() && self.enqueue.is_empty() && self.notice.is_empty()
    }
}

pub(super) async fn run(mut writer: Writer, mut inbox: mpsc::Receiver<Op>) {
    let mut waiting = Vec::with_capacity(BATCH);
    while inbox.recv_many(&mut waiting, BATCH).await > 0 {
        let there = writer.is_there().await;
        let (mut batch, mut loans, mut close) = (Batch::default(), Vec::new(), None);
        for op in waiting.drain(..) {
            match op {
                Op::Close(done) => close = Some(done),
                op if !there => op.refuse(&away()),
                Op::Record(finished, reply) => batch.record.push((finished, reply)),
                Op::Claim(want, reply) => batch.claim.push((want, reply)),
                Op::Enqueue(runs, reply) => batch.enqueue.push((runs, reply)),
                Op::Notice(new, reply) => batch.notice.push((new, reply)),
                Op::Lend(to) => loans.push(to),
            }
        }
        if !batch.is_empty() {
            writer.commit(batch).await;
        }
        for to in loans {
            writer = match writer.lend(to).await {
                Some(writer) => writer,
                None => return tracing::error!("the writing connection did not come back; the store is closed"),
            };
        }
        if let Some(done) = close {
            writer.close().await;
            let _ = done.send(());
            return;
        }
    }
}

impl Writer {
    /// Enters this process as a node. Answers its number and generation with the writer.
    pub async fn enter(
        link: Link,
        database: &Database,
        (signals, known): (Signals, Arc<Known>),
        clock: Arc<dyn Clock>,
        name: &str,
        high_water: Id,
    ) -> Result<(Self, i64, i64)> {
        let dialect = link.dialect();
        let conn = Conn::Own(Box::new(link));
        let ids = Ids::new(clock.clone(), 1, high_water);
        let mut tx = Tx::new(conn, ids, 1, signals, known);
        let now = clock.now();
        tx.control(begins(dialect, true)).await?;
        let (node, generation) = match dialect {
            // One process owns the file: it is always the first.
            Dialect::Sqlite => tx.put_node(1, name, 1, "", now).await.map(|()| (1, 1))?,
            Dialect::Postgres => tx.enter(name, "", now).await?,
        };
        tx.control("COMMIT").await?;
        (tx.node, tx.ids) = (node, Ids::new(clock.clone(), node, high_water));
        Ok((Self { tx, clock, database: database.clone(), away: None }, node, generation))
    }

    pub fn ids(&self) -> Ids {
        self.tx.ids.clone()
    }

    /// One transaction for all; when it fails, each member gets one of its own, so that one failure spares its neighbours.
    async fn commit(&mut self, batch: Batch) {
        let Batch { record, claim, enqueue, notice } = batch;
        let (finished, records): (Vec<_>, Vec<_>) = record.into_iter().unzip();
        let (wants, claims): (Vec<_>, Vec<_>) = claim.into_iter().unzip();
        let (runs, enqueues): (Vec<_>, Vec<_>) = enqueue.into_iter().unzip();
        let (new, notices): (Vec<_>, Vec<_>) = notice.into_iter().unzip();
        let (work, replies) = (Work { finished, wants, runs, notices: new }, Replies { records, claims, enqueues, notices });
        match self.attempt(&work).await {
            Ok(done) => replies.answer(done),
            Err(wrong @ Error::Unavailable(_)) => {
                tracing::warn!(error = %wrong, "the database is away; a batch was not taken");
                replies.refuse(&wrong);
            }
            Err(wrong) => {
                tracing::warn!(error = %wrong, "a batch failed; its members are tried one by one");
                self.one_by_one(work, replies).await;
            }
        }
    }

    async fn attempt(&mut self, work: &Work) -> Result<Done> {
        let begun = self.tx.control(begins(self.tx.dialect(), false)).await;
        let done = match begun {
            Ok(()) => self.apply(work).await,
            Err(wrong) => Err(wrong),
        };
        let done = match done {
            Ok(done) => self.tx.control("COMMIT").await.map(|()| done),
            Err(wrong) => Err(wrong),
        };
        if done.is_err() {
            self.roll_back().await;
        } else {
            let news = std::mem::take(&mut self.tx.news);
            self.tx.signals.publish(news);
        }
        done
    }

    /// Ends first, which frees slots; then claims, then what is new.
    async fn apply(&mut self, work: &Work) -> Result<Done> {
        let now = self.clock.now();
        let recorded = self.tx.record(&work.finished, now).await?;
        let claimed = self.tx.claim(&work.wants, now).await?;
        self.tx.lock_jobs(&work.runs, &work.notices).await?;
        let enqueued = self.tx.enqueue(&work.runs, now).await?;
        Ok(Done { recorded, claimed, enqueued, noticed: self.tx.notice(&work.notices, now).await? })
    }

    async fn one_by_one(&mut self, work: Work, replies: Replies) {
        let Replies { records, claims, enqueues, notices } = replies;
        for (finished, reply) in work.finished.into_iter().zip(records) {
            let done = self.attempt(&Work { finished: vec![finished], ..Work::default() }).await;
            let _ = reply.send(done.map(|mut done| done.recorded.pop().unwrap_or_default()));
        }
        for (want, reply) in work.wants.into_iter().zip(claims) {
            let done = self.attempt(&Work { wants: vec![want], ..Work::default() }).await;
            let _ = reply.send(done.map(|mut done| done.claimed.pop().unwrap_or_default()));
        }
        for (runs, reply) in work.runs.into_iter().zip(enqueues) {
            let done = self.attempt(&Work { runs: vec![runs], ..Work::default() }).await;
            let _ = reply.send(done.map(|mut done| done.enqueued.pop().unwrap_or_default()));
        }
        for (new, reply) in work.notices.into_iter().zip(notices) {
            let done = self.attempt(&Work { notices: vec![new], ..Work::default() }).await;
            let _ = reply.send(done.and_then(|mut done| done.noticed.pop().unwrap_or_else(|| Err(closed()))));
        }
    }

    /// Leaves a failed transaction, and a connection that is no good any more.
    async fn roll_back(&mut self) {
        self.tx.news = News::default();
        self.tx.tallies.clear();
        let rolled_back = self.tx.control("ROLLBACK").await;
        // After some failures SQLite has rolled back by itself; then there is nothing to roll back.
        if rolled_back.is_ok() || self.tx.dialect() == Dialect::Sqlite {
            return;
        }
        tracing::warn!("the database is away");
        self.away = Some(Away { pause: FIRST_PAUSE, tried_at: tokio::time::Instant::now() });
    }

    /// Whether the database can be asked; when it was away, tries to reach it again, with growing pauses. Real time, also
    /// where the clock is moved by hand: the server is real.
    async fn is_there(&mut self) -> bool {
        let Some(away) = &mut self.away else { return true };
        if away.tried_at.elapsed() < away.pause {
            return false;
        }
        match self.database.link().await {
            Ok(link) => {
                self.tx.conn = Conn::Own(Box::new(link));
                self.away = None;
                tracing::info!("the database is back");
                true
            }
            Err(wrong) => {
                tracing::warn!(error = %wrong, "the database is still away; it is tried again");
                (away.pause, away.tried_at) = ((away.pause * 2).min(LONGEST_PAUSE), tokio::time::Instant::now());
                false
            }
        }
    }

    async fn close(mut self) {
        if self.tx.dialect() == Dialect::Sqlite {
            // So that the one file is all there is, and a copy of it is a backup.
            let _ = self.tx.control("PRAGMA wal_checkpoint(TRUNCATE)").await;
        }
        if let Conn::Own(link) = self.tx.conn {
            let _ = match *link {
                Link::Sqlite(conn) => conn.close().await,
                Link::Postgres(conn) => conn.close().await,
            };
        }
    }

    /// Lends the connection inside a transaction, takes it back, and commits if that is asked.
    async fn lend(mut self, to: oneshot::Sender<Result<Loan>>) -> Option<Self> {
        if to.is_closed() {
            return Some(self);
        }
        if let Err(wrong) = self.tx.control(begins(self.tx.dialect(), true)).await {
            let _ = to.send(Err(wrong));
            self.roll_back().await;
            return Some(self);
        }
        let Conn::Own(conn) = self.tx.conn else { return None };
        let (back, returned) = oneshot::channel();
        // A loan that nobody takes any more comes back by itself, also out of the channel.
        drop(to.send(Ok(Loan { conn: Some(*conn), back: Some(back) })));
        let Returned { conn, commit } = returned.await.ok()?;
        self.tx.conn = Conn::Own(Box::new(conn));
        let Some((news, reply)) = commit else {
            self.roll_back().await;
            return Some(self);
        };
        let committed = self.tx.control("COMMIT").await;
        let failed = committed.is_err();
        if !failed {
            self.tx.signals.publish(news);
        }
        let _ = reply.send(committed);
        if failed {
            self.roll_back().await;
        }
        Some(self)
    }
}

/// Operations of one commit, each kind as lists in the order they came.
#[derive(Default)]
struct Work {
    finished: Vec<Vec<Finished>>,
    wants: Vec<Want>,
    runs: Vec<Vec<NewRun>>,
    notices: Vec<NewNotice>,
}

struct Done {
    recorded: Vec<Vec<Recorded>>,
    claimed: Vec<Taken>,
    enqueued: Vec<Vec<Result<Enqueued>>>,
    noticed: Vec<Result<Noticed>>,
}

/// Who waits for what becomes of [`Work`], in the same order.
struct Replies {
    records: Vec<Reply<Vec<Recorded>>>,
    claims: Vec<Reply<Taken>>,
    enqueues: Vec<Reply<EnqueuedEach>>,
    notices: Vec<Reply<Noticed>>,
}

impl Replies {
    fn answer(self, done: Done) {
        debug_assert_eq!(self.records.len(), done.recorded.len());
        answer(self.records, done.recorded.into_iter().map(Ok));
        answer(self.claims, done.claimed.into_iter().map(Ok));
        answer(self.enqueues, done.enqueued.into_iter().map(Ok));
        answer(self.notices, done.noticed.into_iter());
    }

    fn refuse(self, wrong: &Error) {
        answer(self.records, std::iter::repeat_with(|| Err(again(wrong))));
        answer(self.claims, std::iter::repeat_with(|| Err(again(wrong))));
        answer(self.enqueues, std::iter::repeat_with(|| Err(again(wrong))));
        answer(self.notices, std::iter::repeat_with(|| Err(again(wrong))));
    }
}

/// Who does not wait any more does not mind.
fn answer<T>(replies: Vec<Reply<T>>, answers: impl Iterator<Item = Result<T>>) {
    for (reply, answer) in replies.into_iter().zip(answers) {
        let _ = reply.send(answer);
    }
}

/// The same failure for each that waited.
fn again(wrong: &Error) -> Error {
    Error::Unavailable(wrong.to_string())
}

fn away() -> Error {
    Error::Unavailable("the database is away; try again".into())
}
