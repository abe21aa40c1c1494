//! What attempts came to: leases end, history grows, retries wait. A lease that stands no more changes nothing.

use std::collections::{HashMap, HashSet};

use super::enqueue::Waiting;
use super::log::LogChunk;
use super::sql::{Arg, Sql, args};
use super::tx::Tx;
use crate::clock::Timestamp;
use crate::domain::attempt::{Counts, Used};
use crate::domain::item::{Closing, ItemState};
use crate::domain::retry::{Budget, Decision};
use crate::domain::run::{Final, Progress, Reason, Run, State};
use crate::domain::trace::Asks;
use crate::error::Result;
use crate::id::Id;

/// An attempt that ended, with all that history keeps: nothing is read back to record it.
#[derive(Debug, Clone)]
pub struct Finished {
    /// As it was claimed.
    pub run: Run,
    pub decision: Decision,
    /// [`crate::domain::attempt::Outcome::word`].
    pub outcome: &'static str,
    /// The summary of a success, the error of a failure.
    pub message: String,
    pub counts: Option<Counts>,
    /// Of the cause of death.
    pub print: Option<i64>,
    /// JSON of a success.
    pub output: Option<String>,
    /// JSON object of what a failure says beside its message.
    pub details: Option<String>,
    /// The last lines of the log and the last progress, in the same commit as the end.
    pub log: Option<LogChunk>,
    pub progress: Option<Progress>,
    pub items: OpenItems,
    pub used: Option<Used>,
    /// For its trace; not stored.
    pub asks: Asks,
}

/// What becomes of items that are open when an attempt ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OpenItems {
    /// There are none.
    #[default]
    None,
    /// They wait, as their run does.
    Wait,
    Close(Closing),
}

impl Finished {
    /// The end alone, without what the guest said: what is left to record when the database takes none of that.
    pub fn bare(self) -> Self {
        let said = format!("{}: what it said could not be stored; the server's log says why", self.outcome);
        Self {
            counts: self.counts,
            print: self.print,
            items: self.items,
            ..Self::new(self.run, self.decision, self.outcome, said)
        }
    }

    /// An end that leaves nothing but a message.
    pub fn new(run: Run, decision: Decision, outcome: &'static str, message: impl Into<String>) -> Self {
        Self {
            run,
            decision,
            outcome,
            message: message.into(),
            counts: None,
            print: None,
            output: None,
            details: None,
            log: None,
            progress: None,
            items: OpenItems::None,
            used: None,
            asks: Asks::default(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    Yes,
    /// The lease was not this one's any more: nothing has changed.
    Late,
}

static FINISH: Sql = Sql::new("DELETE FROM lease WHERE (id, fence) IN (VALUES {2})");
static STANDING: Sql = Sql::new("SELECT id, fence FROM lease WHERE (id, fence) IN (VALUES {2})");
static DONE: Sql = Sql::new(
    "INSERT INTO done (tenant, id, job, revision, state, reason, cause, payload, attempt, failed, lost, snoozed, node, created_at, started_at, \
     ended_at, taken, done, undone, remain, print, message, outcome, \
     peak_memory, requests, took) VALUES {26}",
);
static ATTEMPT: Sql = Sql::new(
    "INSERT INTO attempt (tenant, run, attempt, node, started_at, ended_at, outcome, message, delay_ms, peak_memory, requests, took) VALUES {12}",
);
static NOT_LIVE: Sql = Sql::new("DELETE FROM live WHERE (run) IN (VALUES {1})");
static OUTSIDE: Sql = Sql::new(
    "INSERT INTO lease (id, job, tenant, revision, created_at, cause, payload, attempt, fence, failed, lost, snoozed, first_started_at, start_by, \
     node, started_at) VALUES {16}",
);
static CANCELS: Sql = Sql::new("SELECT run, by FROM cancel");
static NO_CANCEL: Sql = Sql::new("DELETE FROM cancel WHERE (run) IN (VALUES {1})");
static OUTPUT: Sql = Sql::new(
    "INSERT INTO payload (tenant, run, output, details) VALUES {4} ON CONFLICT (tenant, run) DO UPDATE SET output = excluded.output, details = excluded.details",
);

impl Tx {
    /// Records lists of ends; answers list by list, in order. Must be the first of its transaction: a late end rolls
    /// nothing back but itself.
    pub async fn record(&mut self, lists: &[Vec<Finished>], now: Timestamp) -> Result<Vec<Vec<Recorded>>> {
        let all: Vec<&Finished> = lists.iter().flatten().collect();
        if all.is_empty() {
            return Ok(lists.iter().map(|_| Vec::new()).collect());
        }
        let keys = |ended: &[&Finished]| ended.iter().map(|f| args![f.run.id, f.run.fence]).collect::<Vec<_>>();
        // Almost always every lease stands. Looking costs a statement, so it is done only where the counts differ.
        self.control("SAVEPOINT finish").await?;
        let ended = self.exec_keys(&FINISH, &keys(&all)).await?;
        let mut standing: Option<HashSet<(Id, i64)>> = None;
        if ended != all.len() as u64 {
            self.control("ROLLBACK TO finish").await?;
            let found = self.rows_for(&STANDING, &keys(&all)).await?;
            standing = Some(found.iter().map(|row| Ok((row.id("id")?, row.int("fence")?))).collect::<Result<_>>()?);
            self.exec_keys(&FINISH, &keys(&all)).await?;
        }
        self.control("RELEASE finish").await?;
        // One run reported twice in a batch counts once.
        let mut seen = HashSet::new();
        let mut stands = |f: &Finished| {
            let key = (f.run.id, f.run.fence);
            standing.as_ref().is_none_or(|standing| standing.contains(&key)) && seen.insert(key)
        };
        let mut kept = Vec::with_capacity(all.len());
        let answers = lists
            .iter()
            .map(|list| {
                list.iter()
                    .map(|f| {
                        if stands(f) {
                            kept.push(f);
                            Recorded::Yes
                        } else {
                            Recorded::Late
                        }
                    })
                    .collect()
            })
            .collect();
        self.settle(&kept, now).await?;
        Ok(answers)
    }

    /// Writes history, attempts, retries and counters of ends whose lease stood.
    async fn settle(&mut self, ended: &[&Finished], now: Timestamp) -> Result<()> {
        let mut rows = Rows::default();
        // Few or none: somebody has to press a button for each.
        let cancels: HashMap<Id, String> =
            self.rows(&CANCELS, args![]).await?.iter().map(|row| Ok((row.id("run")?, row.text("by")?))).collect::<Result<_>>()?;
        for f in ended {
            let started_at = started(&f.run).unwrap_or(now);
            let cancelled = cancels.get(&f.run.id);
            rows.cancelled.extend(cancelled.map(|_| args![f.run.id]));
            match (&f.decision, cancelled) {
                (Decision::End(end), _) => {
                    if let OpenItems::Close(closing) = &f.items {
                        rows.closing.push((f.run.tenant, f.run.id, closing.clone()));
                    }
                    rows.end(f, *end, f.message.as_str(), self.node, now);
                }
                // It would have waited for another attempt, and act on its target once more.
                (Decision::Again { .. } | Decision::Outside, Some(by)) => {
                    let message = format!("cancelled by {by}");
                    rows.end(f, Final::Cancelled, &message, self.node, now);
                    if f.items != OpenItems::None {
                        rows.closing.push((
                            f.run.tenant,
                            f.run.id,
                            Closing { state: ItemState::Skipped, message, in_order: false },
                        ));
                    }
                }
                (Decision::Outside, None) => {
                    rows.outside.push(outside(&f.run, started_at));
                    rows.reopened.push((f.run.tenant, f.run.id));
                }
                (Decision::Again { due_at, delay, why, spent }, None) => {
                    let delay = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
                    rows.attempts.push(args![
                        f.run.tenant,
                        f.run.id,
                        f.run.attempt,
                        self.node,
                        started_at,
                        now,
                        f.outcome,
                        Some(f.message.as_str()),
                        Some(delay),
                        f.used.as_ref().map(|used| used.peak_memory),
                        f.used.as_ref().map(|used| used.requests),
                        took(f)
                    ]);
                    rows.waiting.push(again(&f.run, *due_at, why, *spent));
                    if f.items == OpenItems::Wait {
                        rows.reopened.push((f.run.tenant, f.run.id));
                    }
                }
            }
            self.tally_ended(f, cancelled.is_some(), now.since(started_at));
            rows.logs.extend(f.log.clone());
            rows.progress.extend(f.progress.as_ref().map(|p| (f.run.tenant, f.run.id, p.clone())));
        }
        self.exec_rows(&DONE, rows.done).await?;
        self.exec_keys(&NOT_LIVE, &rows.over).await?;
        self.exec_keys(&NO_CANCEL, &rows.cancelled).await?;
        self.exec_rows(&OUTPUT, rows.output).await?;
        self.exec_rows(&ATTEMPT, rows.attempts).await?;
        self.insert_waiting(rows.waiting, now).await?;
        self.exec_rows(&OUTSIDE, rows.outside).await?;
        self.reopen_items(&rows.reopened).await?;
        self.close_items(&rows.closing, now).await?;
        self.append_logs(&rows.logs).await?;
        self.put_progress(&rows.progress).await?;
        self.tell_followers(&rows.ended, now).await?;
        self.flush_tally(now).await
    }

    /// Ends runs that no node has: cancelled while they waited.
    pub(super) async fn end_waiting(&mut self, runs: Vec<Run>, message: &str, now: Timestamp) -> Result<()> {
        let items = OpenItems::Close(Closing { state: ItemState::Skipped, message: message.to_owned(), in_order: false });
        let end =
            |run| Finished { items: items.clone(), ..Finished::new(run, Decision::End(Final::Cancelled), "cancelled", message) };
        let ended: Vec<Finished> = runs.into_iter().map(end).collect();
        self.settle(&ended.iter().collect::<Vec<_>>(), now).await?;
        if self.signals.tells_of_cancelled() {
            self.news.cancelled.extend(ended);
        }
        Ok(())
    }
}

/// What a batch of ends writes, table by table.
#[derive(Default)]
struct Rows {
    done: Vec<Vec<Arg>>,
    /// Runs that are over.
    over: Vec<Vec<Arg>>,
    /// The same: job, run, how.
    ended: Vec<(Id, Id, Final)>,
    cancelled: Vec<Vec<Arg>>,
    output: Vec<Vec<Arg>>,
    attempts: Vec<Vec<Arg>>,
    waiting: Vec<Waiting>,
    /// Leases that go to nobody: programs outside work on the items.
    outside: Vec<Vec<Arg>>,
    reopened: Vec<(Id, Id)>,
    closing: Vec<(Id, Id, Closing)>,
    logs: Vec<LogChunk>,
    progress: Vec<(Id, Id, Progress)>,
}

impl Rows {
    fn end(&mut self, f: &Finished, end: Final, message: &str, node: i64, now: Timestamp) {
        let beside = f.output.is_some() || f.details.is_some();
        self.done.push(done_row(f, end, message, f.run.payload || beside, node, now));
        self.over.push(args![f.run.id]);
        self.ended.push((f.run.job, f.run.id, end));
        if beside {
            self.output.push(args![f.run.tenant, f.run.id, f.output.clone(), f.details.clone()]);
        }
    }
}

/// The lease that no node has: the run is its items', which are leased one by one.
fn outside(run: &Run, started_at: Timestamp) -> Vec<Arg> {
    args![
        run.id,
        run.job,
        run.tenant,
        run.revision,
        run.created_at,
        run.cause.code(),
        run.payload,
        run.attempt,
        run.fence + 1,
        run.failed,
        run.lost,
        run.snoozed,
        run.first_started_at,
        run.start_by,
        OUTSIDE_NODE,
        started_at
    ]
}

fn started(run: &Run) -> Option<Timestamp> {
    match run.state {
        State::Running { started_at, .. } => Some(started_at),
        _ => None,
    }
}

fn again(run: &Run, due_at: Timestamp, why: &str, spent: Budget) -> Waiting {
    let one = |budget| u32::from(spent == budget);
    Waiting {
        job: run.job,
        id: run.id,
        tenant: run.tenant,
        revision: run.revision,
        created_at: run.created_at,
        cause: run.cause.code(),
        payload: run.payload,
        attempt: run.attempt,
        fence: run.fence,
        failed: run.failed + one(Budget::Failed),
        lost: run.lost + one(Budget::Lost),
        snoozed: run.snoozed + one(Budget::Snoozed),
        first_started_at: run.first_started_at,
        start_by: None,
        due_at,
        why: why.to_owned(),
    }
}

/// No node has this number.
pub const OUTSIDE_NODE: i64 = 0;

/// State codes of `done`: 0 succeeded, 1 dead, 2 cancelled.
pub(super) const SUCCEEDED: i64 = 0;
pub(super) const DEAD: i64 = 1;
pub(super) const CANCELLED: i64 = 2;

fn done_row(f: &Finished, end: Final, message: &str, payload: bool, node: i64, now: Timestamp) -> Vec<Arg> {
    let (state, reason) = match end {
        Final::Succeeded => (SUCCEEDED, 0),
        Final::Dead(reason) => (DEAD, Reason::code(reason)),
        Final::Cancelled => (CANCELLED, 0),
    };
    let failed = f.run.failed
        + u32::from(matches!(
            end,
            Final::Dead(Reason::AttemptsSpent | Reason::TotalLimit | Reason::Permanent | Reason::ItemsFailed)
        ));
    let lost = f.run.lost + u32::from(end == Final::Dead(Reason::LostTooOften));
    let message = (!message.is_empty()).then_some(message);
    args![
        f.run.tenant,
        f.run.id,
        f.run.job,
        f.run.revision,
        state,
        reason,
        f.run.cause.code(),
        payload,
        f.run.attempt,
        failed,
        lost,
        f.run.snoozed,
        started(&f.run).map(|_| node),
        f.run.created_at,
        started(&f.run),
        now,
        f.counts.map(|c| c.taken),
        f.counts.map(|c| c.done),
        f.counts.map(|c| c.failed),
        f.counts.and_then(|c| c.left),
        f.print,
        message,
        // The other states say it themselves, and history is long.
        matches!(end, Final::Dead(_)).then_some(last_outcome(f)),
        f.used.as_ref().map(|used| used.peak_memory),
        f.used.as_ref().map(|used| used.requests),
        took(f)
    ]
}

/// What most take nothing of costs nothing.
fn took(f: &Finished) -> Option<String> {
    let took = &f.used.as_ref()?.took;
    // A map of words and numbers is always JSON.
    if took.is_empty() { None } else { serde_json::to_string(took).ok() }
}

/// A guest that ended well, with more failed than its job allows, has not succeeded.
fn last_outcome(f: &Finished) -> &'static str {
    if f.outcome == "succeeded" { "failed" } else { f.outcome }
}
