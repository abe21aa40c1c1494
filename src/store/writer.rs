//! The one writer of SQLite: a task that takes everything waiting, merges it by kind, commits once and then answers.
//! No timer: while it works, the next batch gathers by itself.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection, Row, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::claim::{Claimed, Want};
use super::record::{Finished, Recorded};
use super::tx::{Conn, Loan, News, Returned, Tx};
use super::{Store, closed};
use crate::clock::{Clock, Timestamp};
use crate::domain::run::{Enqueued, NewRun};
use crate::error::{Error, Result};
use crate::id::Id;

/// Operations merged into one commit at most; measured (docs/store.md).
const BATCH: usize = 1_024;

pub(super) type Reply<T> = oneshot::Sender<Result<T>>;
/// Run by run, in order.
type EnqueuedEach = Vec<Result<Enqueued>>;

pub(super) enum Op {
    Enqueue(Vec<NewRun>, Reply<EnqueuedEach>),
    Claim(Want, Reply<Vec<Claimed>>),
    Record(Vec<Finished>, Reply<Vec<Recorded>>),
    Lend(oneshot::Sender<Result<Loan>>),
    Close(oneshot::Sender<()>),
}

impl Store {
    /// The only door in. Answers run by run, in order: one refused run does not keep its neighbours out.
    pub async fn enqueue(&self, runs: Vec<NewRun>) -> Result<Vec<Result<Enqueued>>> {
        self.ask(|reply| Op::Enqueue(runs, reply)).await
    }

    /// Gives this node the right to runs of these jobs, oldest first.
    pub async fn claim(&self, want: Want) -> Result<Vec<Claimed>> {
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

/// Counts this process in: its number (always 1 while one process owns the file), and the highest id ever given.
pub(super) async fn enter(conn: &mut SqliteConnection, now: Timestamp) -> Result<(i64, Id)> {
    let internal = |wrong: sqlx::Error| Error::Internal(wrong.into());
    let high = "SELECT max(id) AS id FROM (SELECT max(id) AS id FROM lease UNION ALL SELECT max(run) FROM live \
                UNION ALL SELECT max(id) FROM job_revision UNION ALL SELECT CAST(value AS BIGINT) FROM setting WHERE key = 'high_water') x";
    let high: Option<i64> = sqlx::query(high).fetch_one(&mut *conn).await.map_err(internal)?.try_get("id").map_err(internal)?;
    let high = Id(high.unwrap_or(0));
    // The high water is noted once a minute: unless the clock is well past it, leave room for what came after.
    let room = if now < high.created_at().plus(Duration::from_secs(120)) { (2 * 60_000) << 21 } else { 0 };
    Ok((1, Id(high.0 + room)))
}

struct Writer {
    tx: Tx,
    clock: Arc<dyn Clock>,
}

/// What gathered: each kind with who waits for it.
#[derive(Default)]
struct Batch {
    record: Vec<(Vec<Finished>, Reply<Vec<Recorded>>)>,
    claim: Vec<(Want, Reply<Vec<Claimed>>)>,
    enqueue: Vec<(Vec<NewRun>, Reply<EnqueuedEach>)>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.record.is_empty() && self.claim.is_empty() && self.enqueue.is_empty()
    }
}

pub(super) async fn run(tx: Tx, mut inbox: mpsc::Receiver<Op>, clock: Arc<dyn Clock>) {
    let mut writer = Writer { tx, clock };
    let mut waiting = Vec::with_capacity(BATCH);
    while inbox.recv_many(&mut waiting, BATCH).await > 0 {
        let (mut batch, mut loans, mut close) = (Batch::default(), Vec::new(), None);
        for op in waiting.drain(..) {
            match op {
                Op::Record(finished, reply) => batch.record.push((finished, reply)),
                Op::Claim(want, reply) => batch.claim.push((want, reply)),
                Op::Enqueue(runs, reply) => batch.enqueue.push((runs, reply)),
                Op::Lend(to) => loans.push(to),
                Op::Close(done) => close = Some(done),
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
            // So that the one file is all there is, and a copy of it is a backup.
            let _ = writer.tx.control("PRAGMA wal_checkpoint(TRUNCATE)").await;
            if let Conn::Own(conn) = writer.tx.conn {
                let _ = conn.close().await;
            }
            let _ = done.send(());
            return;
        }
    }
}

impl Writer {
    /// One transaction for all; when it fails, each member gets one of its own, so that one failure spares its neighbours.
    async fn commit(&mut self, batch: Batch) {
        let Batch { record, claim, enqueue } = batch;
        let (finished, record): (Vec<_>, Vec<_>) = record.into_iter().map(|(f, r)| (f.len(), (f, r))).unzip();
        let (finished_rows, record_replies): (Vec<_>, Vec<_>) = record.into_iter().unzip();
        let (wants, claim_replies): (Vec<_>, Vec<_>) = claim.into_iter().unzip();
        let (runs, enqueue_replies): (Vec<_>, Vec<_>) = enqueue.into_iter().unzip();
        let work = Work { finished: finished_rows, wants, runs };
        match self.attempt(&work).await {
            Ok(done) => {
                debug_assert_eq!(finished.len(), done.recorded.len());
                answer(record_replies, done.recorded);
                answer(claim_replies, done.claimed);
                answer(enqueue_replies, done.enqueued);
            }
            Err(wrong) => {
                tracing::warn!(error = %wrong, "a batch failed; its members are tried one by one");
                self.one_by_one(work, record_replies, claim_replies, enqueue_replies).await;
            }
        }
    }

    async fn attempt(&mut self, work: &Work) -> Result<Done> {
        self.tx.control("BEGIN IMMEDIATE").await?;
        let done = self.apply(work).await;
        let done = match done {
            Ok(done) => self.tx.control("COMMIT").await.map(|()| done),
            Err(wrong) => Err(wrong),
        };
        if done.is_err() {
            // After some failures SQLite has rolled back by itself; then there is nothing to roll back.
            let _ = self.tx.control("ROLLBACK").await;
            self.tx.news = News::default();
            self.tx.tallies.clear();
        } else {
            let news = std::mem::take(&mut self.tx.news);
            self.tx.signals.publish(news);
        }
        done
    }

    /// Ends first, which frees slots; then claims, then enqueues.
    async fn apply(&mut self, work: &Work) -> Result<Done> {
        let now = self.clock.now();
        Ok(Done {
            recorded: self.tx.record(&work.finished, now).await?,
            claimed: self.tx.claim(&work.wants, now).await?,
            enqueued: self.tx.enqueue(&work.runs, now).await?,
        })
    }

    async fn one_by_one(
        &mut self,
        work: Work,
        records: Vec<Reply<Vec<Recorded>>>,
        claims: Vec<Reply<Vec<Claimed>>>,
        enqueues: Vec<Reply<EnqueuedEach>>,
    ) {
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
    }

    /// Lends the connection inside a transaction, takes it back, and commits if that is asked.
    async fn lend(mut self, to: oneshot::Sender<Result<Loan>>) -> Option<Self> {
        if to.is_closed() {
            return Some(self);
        }
        if let Err(wrong) = self.tx.control("BEGIN IMMEDIATE").await {
            let _ = to.send(Err(wrong));
            return Some(self);
        }
        let Conn::Own(conn) = self.tx.conn else { return None };
        let (back, returned) = oneshot::channel();
        // A loan that nobody takes any more comes back by itself, also out of the channel.
        drop(to.send(Ok(Loan { conn: Some(*conn), back: Some(back) })));
        let Returned { conn, commit } = returned.await.ok()?;
        self.tx.conn = Conn::Own(Box::new(conn));
        let Some((news, reply)) = commit else {
            let _ = self.tx.control("ROLLBACK").await;
            return Some(self);
        };
        let committed = self.tx.control("COMMIT").await;
        match &committed {
            Ok(()) => self.tx.signals.publish(news),
            Err(_) => drop(self.tx.control("ROLLBACK").await),
        }
        let _ = reply.send(committed);
        Some(self)
    }
}

/// Operations of one commit, each kind as lists in the order they came.
#[derive(Default)]
struct Work {
    finished: Vec<Vec<Finished>>,
    wants: Vec<Want>,
    runs: Vec<Vec<NewRun>>,
}

struct Done {
    recorded: Vec<Vec<Recorded>>,
    claimed: Vec<Vec<Claimed>>,
    enqueued: Vec<Vec<Result<Enqueued>>>,
}

/// Who does not wait any more does not mind.
fn answer<T>(replies: Vec<Reply<T>>, answers: Vec<T>) {
    for (reply, answer) in replies.into_iter().zip(answers) {
        let _ = reply.send(Ok(answer));
    }
}
