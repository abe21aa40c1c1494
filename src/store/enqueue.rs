//! The only door in: new runs become rows of `ready` or `later`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::crowd::Room;
use super::notice::NewNotice;
use super::sql::{Arg, Dialect, Sql, args};
use super::tx::{Tx, expect_rows};
use crate::clock::Timestamp;
use crate::domain::run::{Enqueued, NewRun};
use crate::error::{Error, Result};
use crate::id::Id;

/// How long an idempotency key is remembered, in ms (24 h).
pub(super) const DEDUPE_MS: i64 = 24 * 3600 * 1000;

static READY: Sql = Sql::new(
    "INSERT INTO ready (job, id, tenant, revision, created_at, cause, payload, attempt, fence, failed, lost, snoozed, first_started_at, start_by) VALUES {14}",
);
static LATER: Sql = Sql::new(
    "INSERT INTO later (job, id, tenant, revision, created_at, cause, payload, attempt, fence, failed, lost, snoozed, first_started_at, start_by, due_at, why) VALUES {16}",
);
static PAYLOAD: Sql = Sql::new("INSERT INTO payload (tenant, run, input, parent, requested_by) VALUES {5}");
// PostgreSQL alone, before live runs, keys and notices of these jobs are read: another node may be about to add to them.
static LOCK: Sql = Sql::new("SELECT id FROM job WHERE (id) IN (VALUES {1}) ORDER BY id FOR UPDATE");
static LIVE_OF: Sql = Sql::new("SELECT job, key, run FROM live WHERE (job) IN (VALUES {1}) ORDER BY job, run");
static LIVE: Sql = Sql::new("INSERT INTO live (job, key, run) VALUES {3}");
pub(super) static DEDUPE_OF: Sql =
    Sql::new("SELECT job, key, request_hash, run, expires_at FROM dedupe WHERE (job, key) IN (VALUES {2})");
pub(super) static DEDUPE: Sql = Sql::new(
    "INSERT INTO dedupe (job, key, request_hash, run, expires_at) VALUES {5} ON CONFLICT (job, key) DO UPDATE SET \
     request_hash = excluded.request_hash, run = excluded.run, expires_at = excluded.expires_at",
);

/// A row of `ready` or `later`: a waiting run.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub job: Id,
    pub id: Id,
    pub tenant: Id,
    pub revision: Id,
    pub created_at: Timestamp,
    pub cause: i64,
    pub payload: bool,
    pub attempt: u32,
    pub fence: i64,
    pub failed: u32,
    pub lost: u32,
    pub snoozed: u32,
    pub first_started_at: Option<Timestamp>,
    pub start_by: Option<Timestamp>,
    /// `later` until then.
    pub due_at: Timestamp,
    pub why: String,
}

impl Waiting {
    fn args(&self) -> Vec<Arg> {
        args![
            self.job,
            self.id,
            self.tenant,
            self.revision,
            self.created_at,
            self.cause,
            self.payload,
            self.attempt,
            self.fence,
            self.failed,
            self.lost,
            self.snoozed,
            self.first_started_at,
            self.start_by
        ]
    }
}

/// What a batch of enqueues comes to, gathered before anything is written.
#[derive(Default)]
struct Plan {
    waiting: Vec<Waiting>,
    payload: Vec<Vec<Arg>>,
    live: Vec<Vec<Arg>>,
    dedupe: Vec<Vec<Arg>>,
}

impl Tx {
    /// Enqueues lists of runs; answers list by list, run by run.
    pub async fn enqueue(&mut self, lists: &[Vec<NewRun>], now: Timestamp) -> Result<Vec<Vec<Result<Enqueued>>>> {
        if lists.iter().all(Vec::is_empty) {
            return Ok(lists.iter().map(|_| Vec::new()).collect());
        }
        let mut live = self.live_of(lists).await?;
        let mut seen = self.seen_keys(lists, now).await?;
        let mut room = self.room_for(lists.iter().flatten().map(|run| run.tenant), now).await?;
        let mut plan = Plan::default();
        let answers = lists
            .iter()
            .map(|list| list.iter().map(|run| self.place(run, now, (&mut live, &mut seen, &mut room), &mut plan)).collect())
            .collect();
        let Plan { waiting, payload, live, dedupe } = plan;
        for run in &waiting {
            self.tally_enqueued(run.tenant, run.job);
        }
        self.crowd(waiting.iter().map(|run| run.tenant));
        self.insert_waiting(waiting, now).await?;
        self.exec_rows(&PAYLOAD, payload).await?;
        self.exec_rows(&LIVE, live).await?;
        self.exec_rows(&DEDUPE, dedupe).await?;
        self.flush_tally(now).await?;
        Ok(answers)
    }

    /// Decides one run: refused, known already, merged with a live one, or planned.
    fn place(
        &self,
        run: &NewRun,
        now: Timestamp,
        (live, seen, room): (&mut Live, &mut Seen, &mut Room),
        plan: &mut Plan,
    ) -> Result<Enqueued> {
        if let Some(key) = &run.idempotency {
            match seen.get(&(run.job, key.key.clone())) {
                Some((hash, id)) if *hash == key.request_hash => return Ok(Enqueued::Repeated(*id)),
                Some((_, id)) => {
                    return Err(Error::Conflict(format!(
                        "the Idempotency-Key {:?} was used within 24 h for run {id} with another body; use another key",
                        key.key
                    )));
                }
                None => {}
            }
        }
        let id = self.new_id();
        if run.max_live > 0 {
            let slots = live.entry(run.job).or_default();
            if slots.len() >= run.max_live as usize
                && let Some(first) = slots.values().min()
            {
                if let Some(key) = &run.idempotency {
                    seen.insert((run.job, key.key.clone()), (key.request_hash.clone(), *first));
                    plan.dedupe.push(args![run.job, &key.key, &key.request_hash, *first, now.0 + DEDUPE_MS]);
                }
                return Ok(Enqueued::Merged(*first));
            }
            room.take(run.tenant)?;
            let free = (0..).find(|n| !slots.contains_key(n)).unwrap_or(0);
            slots.insert(free, id);
            plan.live.push(args![run.job, free.to_string(), id]);
        } else {
            room.take(run.tenant)?;
        }
        if let Some(key) = &run.idempotency {
            seen.insert((run.job, key.key.clone()), (key.request_hash.clone(), id));
            plan.dedupe.push(args![run.job, &key.key, &key.request_hash, id, now.0 + DEDUPE_MS]);
        }
        let payload = run.input.is_some() || run.parent.is_some() || run.requested_by.is_some();
        if payload {
            let input = run.input.as_ref().map(ToString::to_string);
            plan.payload.push(args![run.tenant, id, input, run.parent, run.requested_by.clone()]);
        }
        plan.waiting.push(Waiting {
            job: run.job,
            id,
            tenant: run.tenant,
            revision: run.revision,
            created_at: now,
            cause: run.cause.code(),
            payload,
            attempt: 0,
            fence: 0,
            failed: 0,
            lost: 0,
            snoozed: 0,
            first_started_at: None,
            start_by: run.start_by,
            due_at: run.due_at.unwrap_or(now),
            why: String::new(),
        });
        Ok(Enqueued::New(id))
    }

    /// Writes waiting runs: to `ready` what is due, to `later` what is not.
    pub(super) async fn insert_waiting(&mut self, mut waiting: Vec<Waiting>, now: Timestamp) -> Result<()> {
        // Rows of one job lie together in the table: sorted, a batch touches each page once.
        waiting.sort_unstable_by_key(|run| (run.job, run.id));
        let (due, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|run| run.due_at <= now);
        for run in &due {
            self.wake(run.tenant, run.job);
        }
        let (ready, expected) = (due.iter().map(Waiting::args).collect::<Vec<_>>(), due.len());
        expect_rows(self.exec_rows(&READY, ready).await?, expected, "enqueue")?;
        self.news.later = self.news.later.into_iter().chain(later.iter().map(|run| run.due_at)).min();
        let rows: Vec<_> = later
            .iter()
            .map(|run| {
                let mut row = run.args();
                row.extend(args![run.due_at, &run.why]);
                row
            })
            .collect();
        let expected = rows.len();
        expect_rows(self.exec_rows(&LATER, rows).await?, expected, "enqueue for later")
    }

    /// Keeps other nodes from adding runs, keys and notices to these jobs until the end of this batch; all at once and in one
    /// order, so that no two batches wait for each other. What is on loan is alone anyway.
    pub(super) async fn lock_jobs(&mut self, lists: &[Vec<NewRun>], notices: &[NewNotice]) -> Result<()> {
        if self.dialect() == Dialect::Sqlite {
            return Ok(());
        }
        let guarded = |run: &&NewRun| run.max_live > 0 || run.idempotency.is_some();
        let runs = lists.iter().flatten().filter(guarded).map(|run| run.job);
        let jobs: BTreeSet<Id> = runs.chain(notices.iter().map(|notice| notice.job)).collect();
        self.rows_for(&LOCK, &jobs.into_iter().map(|job| args![job]).collect::<Vec<_>>()).await?;
        Ok(())
    }

    async fn live_of(&mut self, lists: &[Vec<NewRun>]) -> Result<Live> {
        let mut jobs: Vec<Id> = lists.iter().flatten().filter(|run| run.max_live > 0).map(|run| run.job).collect();
        jobs.sort_unstable();
        jobs.dedup();
        let mut live = Live::new();
        for row in self.rows_for(&LIVE_OF, &jobs.into_iter().map(|job| args![job]).collect::<Vec<_>>()).await? {
            live.entry(row.id("job")?).or_default().insert(row.text("key")?.parse().unwrap_or(u32::MAX), row.id("run")?);
        }
        Ok(live)
    }

    async fn seen_keys(&mut self, lists: &[Vec<NewRun>], now: Timestamp) -> Result<Seen> {
        let keys: Vec<_> =
            lists.iter().flatten().filter_map(|run| run.idempotency.as_ref().map(|key| args![run.job, &key.key])).collect();
        let mut seen = Seen::new();
        for row in self.rows_for(&DEDUPE_OF, &keys).await? {
            if row.time("expires_at")? > now {
                seen.insert((row.id("job")?, row.text("key")?), (row.text("request_hash")?, row.id("run")?));
            }
        }
        Ok(seen)
    }
}

/// Live runs of jobs by their slot.
type Live = HashMap<Id, BTreeMap<u32, Id>>;
/// Idempotency keys seen: (job, key) → (request hash, run).
type Seen = HashMap<(Id, String), (String, Id)>;
