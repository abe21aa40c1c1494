//! Items that programs outside work on: taken for a while, renewed, ended. Their runs have a lease that is no node's.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::claim::leased;
use super::item::{end, item};
use super::sql::{Sql, args};
use super::tx::Tx;
use crate::clock::Timestamp;
use crate::domain::item::{Ending, Item, ItemCounts, ItemState, Worker};
use crate::domain::run::{Progress, Run};
use crate::error::Result;
use crate::id::Id;

/// An item whose worker has not been heard of in time.
#[derive(Debug, Clone)]
pub struct Lapsed {
    pub tenant: Id,
    /// Of the job, as its run was made from.
    pub revision: Id,
    pub item: Item,
}

/// What a guest of our own takes of a run's items.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'a> {
    pub worker: &'a str,
    pub size: u32,
    /// Chunks of the run that are taken at a time.
    pub parallel: u32,
    pub lease: Duration,
}

/// What a result came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    Recorded,
    /// The item has ended, or its run is over, or another has it: nothing has changed.
    Late,
}

static SEEN: Sql = Sql::new(
    "INSERT INTO item_worker (tenant, job, name, seen_at) VALUES ($1, $2, $3, $4) ON CONFLICT (tenant, job, name) DO UPDATE SET seen_at = excluded.seen_at",
);
static WORKERS: Sql =
    Sql::new("SELECT name, seen_at FROM item_worker WHERE tenant = $1 AND job = $2 ORDER BY seen_at DESC, name LIMIT 1000");
static FREE: Sql = Sql::new(
    "SELECT i.* FROM lease l JOIN item i ON i.tenant = l.tenant AND i.run = l.id WHERE l.tenant = $1 AND l.job = $2 AND l.node = 0 AND i.state = 0 \
     AND NOT EXISTS (SELECT 1 FROM cancel c WHERE c.run = l.id) ORDER BY i.run, i.position LIMIT $3",
);
static PENDING: Sql = Sql::new("SELECT * FROM item WHERE tenant = $1 AND run = $2 AND state = 0 ORDER BY position LIMIT $3");
static HOLDERS: Sql = Sql::new("SELECT count(DISTINCT lease_by) AS n FROM item WHERE tenant = $1 AND run = $2 AND state = 1");
static GIVE_BACK: Sql = Sql::new(
    "UPDATE item SET state = 0, deliveries = deliveries - 1, lease_until = NULL, fence = fence + 1 \
     WHERE tenant = $1 AND run = $2 AND lease_by = $3 AND state = 1",
);
static RENEW: Sql = Sql::new(
    "UPDATE item SET lease_until = $1, fence = fence + 1 WHERE tenant = $2 AND lease_by = $3 AND state = 1 AND run IN \
     (SELECT l.id FROM lease l WHERE l.tenant = $2 AND l.job = $4 AND l.node = 0)",
);
// Written, not only read: whoever would end the run waits for what is done to its items.
static OPEN: Sql = Sql::new("UPDATE lease SET fence = fence WHERE node = 0 AND (tenant, job, id) IN (VALUES {3}) RETURNING id");
static RUNS: Sql = Sql::new("SELECT * FROM lease WHERE node = 0 AND id > $1 ORDER BY id LIMIT 512");
static LAPSED: Sql = Sql::new(
    "SELECT i.*, l.revision FROM lease l JOIN item i ON i.tenant = l.tenant AND i.run = l.id AND i.state = 1 \
     WHERE l.node = 0 AND i.lease_until <= $1 ORDER BY i.run, i.position LIMIT 512",
);
static LAPSE: Sql = Sql::new(
    "UPDATE item SET lease_until = $1 WHERE state = 1 AND lease_by LIKE $2 AND (tenant, run) IN (SELECT l.tenant, l.id FROM lease l WHERE l.node = 0)",
);
static CANCELLED: Sql = Sql::new("SELECT c.by FROM cancel c WHERE c.run = $1 AND c.tenant = $2");
static ENDED: Sql = Sql::new("SELECT count(*) AS n FROM item WHERE tenant = $1 AND run = $2 AND ended_at >= $3");

/// What a chunk in the hands of a node calls itself as a worker.
pub fn chunk_worker(node: i64, chunk: impl std::fmt::Display) -> String {
    format!("node {node}, chunk {chunk}")
}

impl Tx {
    /// Hands a job's open items to a worker for so long, oldest run first.
    pub async fn claim_items(
        &mut self,
        (tenant, job): (Id, Id),
        worker: &str,
        max: u32,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<Item>> {
        self.exec(&SEEN, args![tenant, job, worker, now]).await?;
        let free = self.rows(&FREE, args![tenant, job, max]).await?.iter().map(item).collect::<Result<_>>()?;
        self.lease_items(tenant, free, worker, now.plus(lease)).await
    }

    /// Takes a chunk of a run's open items, unless so many have one already.
    pub async fn claim_chunk(&mut self, run: &Run, chunk: &Chunk<'_>, now: Timestamp) -> Result<Vec<Item>> {
        // First the lock, then the count: nobody else takes one of the same run in between.
        if !self.is_outside(run).await? {
            return Ok(Vec::new());
        }
        let held = self.row(&HOLDERS, args![run.tenant, run.id]).await?.map_or(Ok(0), |row| row.count("n"))?;
        if held >= u64::from(chunk.parallel) {
            return Ok(Vec::new());
        }
        let rows = self.rows(&PENDING, args![run.tenant, run.id, chunk.size]).await?;
        self.lease_items(run.tenant, rows.iter().map(item).collect::<Result<_>>()?, chunk.worker, now.plus(chunk.lease)).await
    }

    /// Whether the run's items are worked on one by one still; who would end it waits for this transaction.
    async fn is_outside(&mut self, run: &Run) -> Result<bool> {
        Ok(!self.rows_for(&OPEN, &[args![run.tenant, run.job, run.id]]).await?.is_empty())
    }

    async fn lease_items(&mut self, tenant: Id, mut items: Vec<Item>, worker: &str, until: Timestamp) -> Result<Vec<Item>> {
        for item in &mut items {
            item.state = ItemState::Running;
            item.worker = Some(worker.to_owned());
            item.leased_until = Some(until);
            item.deliveries += 1;
            item.fence += 1;
        }
        let got = self.change_items(items.iter().map(|item| (tenant, item.clone())).collect()).await?;
        items.retain(|item| got.contains(&(item.run, item.name.clone())));
        Ok(items)
    }

    /// What chunks of a node that died have in hand is nobody's at once: they could not renew it any more.
    pub async fn lapse_chunks(&mut self, node: i64, now: Timestamp) -> Result<u64> {
        self.exec(&LAPSE, args![now, chunk_worker(node, "%")]).await
    }

    /// Gives back what a worker still has of a run: its delivery was none.
    pub async fn give_back(&mut self, run: &Run, worker: &str) -> Result<u64> {
        self.exec(&GIVE_BACK, args![run.tenant, run.id, worker]).await
    }

    /// Lets a worker keep what it has; answers how many items that are.
    pub async fn renew_items(&mut self, (tenant, job): (Id, Id), worker: &str, lease: Duration, now: Timestamp) -> Result<u64> {
        self.exec(&SEEN, args![tenant, job, worker, now]).await?;
        self.keep_items((tenant, job), worker, now.plus(lease)).await
    }

    /// [`Tx::renew_items`] for a guest of our own.
    pub async fn keep_items(&mut self, (tenant, job): (Id, Id), worker: &str, until: Timestamp) -> Result<u64> {
        self.exec(&RENEW, args![until, tenant, worker, job]).await
    }

    /// Ends items of a job's runs; answers in order. A success counts from whoever brings it first, a failure only from
    /// who had the item last.
    pub async fn end_items(
        &mut self,
        (tenant, job): (Id, Id),
        worker: &str,
        ends: &[(Id, Ending)],
        now: Timestamp,
    ) -> Result<Vec<Reported>> {
        self.exec(&SEEN, args![tenant, job, worker, now]).await?;
        self.report_items((tenant, job), worker, ends, now).await
    }

    /// [`Tx::end_items`] for a guest of our own.
    pub async fn report_items(
        &mut self,
        (tenant, job): (Id, Id),
        worker: &str,
        ends: &[(Id, Ending)],
        now: Timestamp,
    ) -> Result<Vec<Reported>> {
        let runs: HashSet<Id> = ends.iter().map(|(run, _)| *run).collect();
        let keys: Vec<_> = runs.iter().map(|run| args![tenant, job, *run]).collect();
        let open: HashSet<Id> = self.rows_for(&OPEN, &keys).await?.iter().map(|row| row.id("id")).collect::<Result<_>>()?;
        let ours = |run: &Id| open.contains(run);
        let keys = ends.iter().filter(|(run, _)| ours(run)).map(|(run, ending)| args![tenant, *run, &ending.name]).collect();
        let mut known = self.items_named(keys).await?;
        let mut told = Vec::with_capacity(ends.len());
        let mut changes = Vec::new();
        for (run, ending) in ends {
            let standing = known.get(&(*run, ending.name.clone()));
            let its = standing.is_some_and(|item| ending.state == ItemState::Done || item.worker.as_deref() == Some(worker));
            let ended = if its { end(&mut known, *run, ending, Some(worker), now) } else { None };
            told.push(ended.is_some());
            changes.extend(ended.map(|item| (tenant, item)));
        }
        let changed = self.change_items(changes).await?;
        let moved: HashSet<Id> = changed.iter().map(|(run, _)| *run).collect();
        self.note_progress(tenant, &moved, now).await?;
        let recorded =
            |((run, ending), ended): (&(Id, Ending), bool)| match ended && changed.contains(&(*run, ending.name.clone())) {
                true => Reported::Recorded,
                false => Reported::Late,
            };
        Ok(ends.iter().zip(told).map(recorded).collect())
    }

    /// What the stall limit looks at, and the page.
    async fn note_progress(&mut self, tenant: Id, runs: &HashSet<Id>, now: Timestamp) -> Result<()> {
        let counts: HashMap<Id, ItemCounts> =
            self.item_counts(&runs.iter().map(|run| (tenant, *run)).collect::<Vec<_>>()).await?;
        let reports: Vec<_> = counts
            .into_iter()
            .map(|(run, counts)| {
                let (done, total) = (counts.total() - counts.open(), Some(counts.total()));
                (tenant, run, Progress { done, total, message: String::new(), at: now })
            })
            .collect();
        self.put_progress(&reports).await
    }

    /// Workers of a job, the last one heard of first.
    pub async fn item_workers(&mut self, tenant: Id, job: Id) -> Result<Vec<Worker>> {
        let rows = self.rows(&WORKERS, args![tenant, job]).await?;
        rows.iter().map(|row| Ok(Worker { name: row.text("name")?, seen_at: row.time("seen_at")? })).collect()
    }

    /// Runs whose items are worked on outside, at most 512, behind `after`.
    pub async fn outside_runs(&mut self, after: Id) -> Result<Vec<Run>> {
        self.rows(&RUNS, args![after]).await?.iter().map(leased).collect()
    }

    /// Items whose worker's time is over, at most 512.
    pub async fn lapsed_items(&mut self, now: Timestamp) -> Result<Vec<Lapsed>> {
        let rows = self.rows(&LAPSED, args![now]).await?;
        rows.iter().map(|row| Ok(Lapsed { tenant: row.id("tenant")?, revision: row.id("revision")?, item: item(row)? })).collect()
    }

    /// Takes lapsed items back: each is open again while it may be handed out once more, else lost. Answers how many that
    /// were; one that was renewed or ended meanwhile is left alone.
    pub async fn take_back(&mut self, lapsed: &[(Lapsed, u32)], now: Timestamp) -> Result<(u64, u64)> {
        let as_it_shall_be = |lapsed: &Lapsed, most: u32| {
            let mut item =
                Item { state: ItemState::Pending, leased_until: None, fence: lapsed.item.fence + 1, ..lapsed.item.clone() };
            if item.deliveries >= most {
                let times = if item.deliveries == 1 { "once".to_owned() } else { format!("{} times", item.deliveries) };
                item.state = ItemState::Failed;
                item.message = Some(format!("lost: handed out {times}, and no worker told what became of it"));
                item.ended_at = Some(now);
            }
            item
        };
        let items: Vec<_> = lapsed.iter().map(|(lapsed, most)| (lapsed.tenant, as_it_shall_be(lapsed, *most))).collect();
        let changed = self.change_items(items.clone()).await?;
        let changed = items.iter().filter(|(_, item)| changed.contains(&(item.run, item.name.clone())));
        let (lost, again): (Vec<_>, Vec<_>) = changed.partition(|(_, item)| item.state == ItemState::Failed);
        Ok((again.len() as u64, lost.len() as u64))
    }

    /// Who wants a running run stopped.
    pub async fn cancelled_by(&mut self, tenant: Id, run: Id) -> Result<Option<String>> {
        self.row(&CANCELLED, args![run, tenant]).await?.map(|row| row.text("by")).transpose()
    }

    /// Items of a run that have ended since then.
    pub async fn items_ended(&mut self, tenant: Id, run: Id, since: Timestamp) -> Result<u64> {
        self.row(&ENDED, args![tenant, run, since]).await?.map_or(Ok(0), |row| row.count("n"))
    }
}
