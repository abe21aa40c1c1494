//! How nodes on one PostgreSQL know of each other: a heartbeat, and commits told by NOTIFY. Telling is debounced here, not
//! done by a trigger for each row; whoever misses a word finds the work by polling.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::postgres::PgListener;
use sqlx::{PgPool, Row};
use tokio::sync::mpsc;

use super::Signals;
use super::tx::{News, failed};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::Id;

const CHANNEL: &str = "windlass";
/// Commits within this time are told in one word.
const DEBOUNCE: Duration = Duration::from_millis(10);
/// A word holds 8,000 bytes; with more jobs than this, everybody looks everywhere.
const LANES: usize = 150;

/// The one place where a statement asks the database for its time: due times and skew are judged by it.
const BEAT: &str = "UPDATE node SET beat = beat + 1, beat_at = $1 WHERE id = $2 AND generation = $3 AND stopped_at IS NULL \
                    RETURNING CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) AS now";

/// This node's part in the cluster.
pub(super) struct Cluster {
    side: PgPool,
    node: i64,
    generation: AtomicI64,
}

/// What a heartbeat found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// The lease is renewed; the database's time.
    Standing(Timestamp),
    /// Others declared this node dead: its runs are not its own any more.
    Dead,
}

impl Cluster {
    pub fn new(side: PgPool, node: i64, generation: i64) -> Arc<Self> {
        Arc::new(Self { side, node, generation: AtomicI64::new(generation) })
    }

    pub fn generation(&self) -> i64 {
        self.generation.load(Ordering::Acquire)
    }

    /// A new generation begins.
    pub fn entered_again(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// # Errors
    /// `Unavailable` when the database does not answer in 2 s.
    pub async fn beat(&self, now: Timestamp) -> Result<Beat> {
        let beat = sqlx::query(BEAT).bind(now.0).bind(self.node).bind(self.generation()).fetch_optional(&self.side);
        let answer = tokio::time::timeout(Duration::from_secs(2), beat)
            .await
            .map_err(|_| Error::Unavailable("the database did not answer a heartbeat in 2 s".into()))?;
        match answer.map_err(|wrong| failed(BEAT, wrong))? {
            Some(row) => Ok(Beat::Standing(Timestamp(row.try_get("now").map_err(|wrong| failed(BEAT, wrong))?))),
            None => Ok(Beat::Dead),
        }
    }

    /// Bytes of the database on its server's disk.
    pub async fn bytes(&self) -> Result<u64> {
        const SIZE: &str = "SELECT pg_database_size(current_database())";
        let size: i64 = sqlx::query_scalar(SIZE).fetch_one(&self.side).await.map_err(|wrong| failed(SIZE, wrong))?;
        Ok(size.unsigned_abs())
    }

    /// Tells others what this node commits, until the store is closed.
    pub async fn tell(self: Arc<Self>, mut news: mpsc::UnboundedReceiver<News>) {
        while let Some(first) = news.recv().await {
            tokio::time::sleep(DEBOUNCE).await;
            let mut all = first;
            while let Ok(more) = news.try_recv() {
                all.add(more);
            }
            let word = Word::new(self.node, all).text();
            let told = sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(word).execute(&self.side).await;
            if let Err(wrong) = told {
                // They poll.
                tracing::debug!(error = %wrong, "other nodes could not be told");
            }
        }
    }

    /// Hears what others commit, until the pool is closed. After a gap everybody looks everywhere.
    pub async fn hear(self: Arc<Self>, signals: Signals) {
        while !self.side.is_closed() {
            if let Err(wrong) = self.hear_until_broken(&signals).await {
                tracing::debug!(error = %wrong, "the ear for other nodes is lost; it is opened again");
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn hear_until_broken(&self, signals: &Signals) -> std::result::Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(&self.side).await?;
        listener.listen(CHANNEL).await?;
        let everything = || News { redefined: true, ..News::default() };
        // What was said before is unheard.
        signals.hear(everything());
        loop {
            match listener.try_recv().await? {
                None => signals.hear(everything()),
                Some(word) => match serde_json::from_str::<Word>(word.payload()) {
                    Ok(word) if word.node == self.node => {}
                    Ok(word) => signals.hear(word.news()),
                    Err(wrong) => {
                        tracing::warn!(error = %wrong, "a word on the channel {CHANNEL} cannot be read");
                        signals.hear(everything());
                    }
                },
            }
        }
    }

    pub async fn close(&self) {
        self.side.close().await;
    }
}

/// What one node says to the others.
#[derive(Serialize, Deserialize)]
struct Word {
    node: i64,
    /// Jobs with work: (tenant, job).
    lanes: Vec<(i64, i64)>,
    /// Definitions changed, or there are too many lanes to name: look everywhere.
    everything: bool,
    /// An operation was begun.
    operated: bool,
    #[serde(default)]
    noticed: bool,
    /// The earliest time to which a run was put off.
    later: Option<i64>,
}

impl Word {
    fn new(node: i64, news: News) -> Self {
        let many = news.woken.len() > LANES;
        let lanes = if many { Vec::new() } else { news.woken.iter().map(|(tenant, job)| (tenant.0, job.0)).collect() };
        let (everything, later) = (news.redefined || many, news.later.map(|at| at.0));
        Self { node, lanes, everything, operated: news.operated, noticed: news.noticed, later }
    }

    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    fn news(&self) -> News {
        let woken: BTreeSet<_> = self.lanes.iter().map(|(tenant, job)| (Id(*tenant), Id(*job))).collect();
        News {
            woken,
            redefined: self.everything,
            operated: self.operated,
            noticed: self.noticed,
            later: self.later.map(Timestamp),
            ..News::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_fits_and_comes_back() {
        let lanes = |n: i64| (0..n).map(|n| (Id(i64::MAX - n), Id(i64::MAX / 2 - n))).collect::<BTreeSet<_>>();
        let news = News { woken: lanes(LANES as i64), later: Some(Timestamp(i64::MAX)), ..News::default() };
        let word = Word::new(1_023, news.clone()).text();
        assert!(word.len() < 8_000, "{}", word.len());
        let heard: Word = serde_json::from_str(&word).unwrap();
        assert_eq!((heard.node, heard.news().woken, heard.news().later), (1_023, news.woken, news.later));
        let many = Word::new(1, News { woken: lanes(LANES as i64 + 1), ..News::default() });
        assert!(many.lanes.is_empty() && many.everything);
    }
}
