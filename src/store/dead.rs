//! Dead runs that need a person: listed, grouped by cause, run again, discarded, brought back. Each for many at a time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::LazyLock;

use super::record::DEAD;
use super::run::done;
use super::sql::{Arg, Row, Sql, args};
use super::tx::{Tx, expect_rows};
use crate::clock::Timestamp;
use crate::domain::dead::{OPERATION_LIMIT, UNDO};
use crate::domain::item::Items;
use crate::domain::run::{Enqueued, NewRun, Reason, Run};
use crate::domain::span::Span;
use crate::domain::trigger::Cause;
use crate::error::{Error, Result};
use crate::id::Id;

/// Which dead runs of one tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadQuery {
    pub job: Option<Id>,
    pub reason: Option<Reason>,
    /// [`crate::domain::run::fingerprint`]
    pub print: Option<i64>,
    /// Died at or after.
    pub since: Option<Timestamp>,
    /// Died before.
    pub until: Option<Timestamp>,
    /// Words of the error.
    pub words: Option<String>,
    /// Those that can be brought back, instead of those that need a person.
    pub discarded: bool,
}

/// Dead runs of one cause, over the last 10,000 that were asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Failures {
    pub tenant: Id,
    pub job: Id,
    pub print: i64,
    pub count: u64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    /// The newest of them: its message stands for all.
    pub last: Run,
}

/// Dead runs of one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfJob {
    pub job: Id,
    pub count: u64,
    pub oldest: Timestamp,
}

/// What became of a dead run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    pub at: Timestamp,
    pub by: String,
    /// The run that runs it again; none when it was discarded.
    pub rerun: Option<Id>,
    /// Discarded: until then it can be brought back.
    pub undo_until: Option<Timestamp>,
}

impl Settled {
    pub fn can_be_undone(&self, now: Timestamp) -> bool {
        self.rerun.is_none() && self.undo_until.is_some_and(|until| now < until)
    }
}

/// A run that is over, with what it takes to run it again.
#[derive(Debug, Clone, PartialEq)]
pub struct Over {
    pub tenant: Id,
    pub id: Id,
    pub job: Id,
    pub dead: bool,
    pub settled: Option<Settled>,
    /// Of the job now; none when it was removed.
    pub revision: Option<Id>,
    pub max_live: u32,
    /// JSON
    pub input: Option<String>,
}

/// One way to ask for them all. `state <> 0` is said again: the index of what did not succeed is partial, and the planner
/// wants to see it.
fn asked(head: &str, tail: &str) -> Sql {
    let text = format!(
        "{head} FROM done d LEFT JOIN settled s ON s.tenant = d.tenant AND s.run = d.id WHERE d.tenant = $1 AND d.state = 1 AND d.state <> 0 \
         AND CASE WHEN s.run IS NULL THEN 0 WHEN s.rerun IS NULL AND s.undo_until > $2 THEN 1 ELSE 2 END = $3 AND ($4 IS NULL OR d.job = $4) \
         AND ($5 IS NULL OR d.print = $5) AND ($6 IS NULL OR d.reason = $6) AND d.ended_at >= $7 AND d.ended_at < $8 \
         AND ($9 IS NULL OR lower(d.message) LIKE $9 ESCAPE '!') {tail}"
    );
    Sql::new(text.leak())
}
static LIST: LazyLock<Sql> = LazyLock::new(|| asked("SELECT d.*", "AND d.id < $10 ORDER BY d.id DESC LIMIT $11"));
static CAUSES: LazyLock<Sql> = LazyLock::new(|| {
    asked(
        "SELECT job, print, count(*) AS n, min(ended_at) AS first_at, max(ended_at) AS last_at, max(id) AS last FROM (SELECT d.job, d.print, d.ended_at, d.id",
        "ORDER BY d.id DESC LIMIT 10000) x GROUP BY job, print ORDER BY n DESC, last DESC LIMIT 100",
    )
});
static BY_JOB: LazyLock<Sql> = LazyLock::new(|| {
    asked(
        "SELECT job, count(*) AS n, min(ended_at) AS oldest FROM (SELECT d.job, d.ended_at",
        "LIMIT $10) x GROUP BY job ORDER BY n DESC, job",
    )
});
static CHOOSE: LazyLock<Sql> = LazyLock::new(|| {
    asked(
        "INSERT INTO operation_run (operation, run, tenant) SELECT CAST($10 AS BIGINT), d.id, d.tenant",
        "ORDER BY d.id LIMIT $11 ON CONFLICT (operation, run) DO NOTHING",
    )
});
static LAST: Sql = Sql::new("SELECT * FROM done WHERE (tenant, id) IN (VALUES {2})");
static OTHERS: Sql = Sql::new(
    "SELECT d.id FROM done d WHERE d.tenant = $1 AND d.print = $2 AND d.state = 1 AND d.id <> $3 AND NOT EXISTS \
     (SELECT 1 FROM settled s WHERE s.tenant = d.tenant AND s.run = d.id) LIMIT 1",
);
static OVER: Sql = Sql::new(
    "SELECT d.tenant, d.id, d.job, d.state, s.at, s.by, s.rerun, s.undo_until, j.revision, j.max_live, j.removed_at, p.input FROM done d \
     LEFT JOIN job j ON j.id = d.job LEFT JOIN settled s ON s.tenant = d.tenant AND s.run = d.id \
     LEFT JOIN payload p ON p.tenant = d.tenant AND p.run = d.id WHERE (d.tenant, d.id) IN (VALUES {2})",
);
static SETTLE: Sql = Sql::new("INSERT INTO settled (tenant, run, at, by, rerun, undo_until) VALUES {6}");
static UNSETTLE: Sql = Sql::new("DELETE FROM settled WHERE rerun IS NULL AND (tenant, run) IN (VALUES {2})");
static SETTLED: Sql = Sql::new("SELECT rerun, at, by, undo_until FROM settled WHERE tenant = $1 AND run = $2");
static DISCARDED: Sql = Sql::new(
    "SELECT s.tenant, count(*) AS n FROM settled s JOIN done d ON d.tenant = s.tenant AND d.id = s.run WHERE s.undo_until > $1 GROUP BY s.tenant",
);
/// Nobody ended before who began after: `column2` is the first id of the instant in `column3`.
static EXPIRING: Sql = Sql::new(
    "SELECT v.column1 AS tenant, (SELECT count(*) FROM (SELECT 1 FROM done d WHERE d.tenant = v.column1 AND d.state = 1 AND d.state <> 0 \
     AND d.id < v.column2 AND d.ended_at < v.column3 AND NOT EXISTS (SELECT 1 FROM settled s WHERE s.tenant = d.tenant AND s.run = d.id) \
     LIMIT 10001) x) AS n FROM (VALUES {3}) v",
);

impl DeadQuery {
    fn args(&self, tenant: Id, now: Timestamp) -> Vec<Arg> {
        args![
            tenant,
            now,
            self.discarded,
            self.job,
            self.print,
            self.reason.map(Reason::code),
            self.since.unwrap_or(Timestamp(0)),
            self.until.unwrap_or(Timestamp(i64::MAX)),
            self.words.as_deref().map(like)
        ]
    }
}

/// Text as a pattern that finds it anywhere.
pub(super) fn like(words: &str) -> String {
    let mut pattern = String::from("%");
    for letter in words.to_lowercase().chars() {
        if matches!(letter, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}

impl Tx {
    /// Newest first; `before` is the last of the page before.
    pub async fn dead(
        &mut self,
        tenant: Id,
        query: &DeadQuery,
        before: Option<Id>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Run>> {
        let mut args = query.args(tenant, now);
        args.extend(args![before.unwrap_or(Id(i64::MAX)), limit]);
        self.rows(&LIST, args).await?.iter().map(done).collect()
    }

    /// Those of these runs (tenant, run) that are dead and open, or discarded so that it can be undone; the oldest first.
    pub async fn dead_runs(&mut self, runs: &[(Id, Id)], discarded: bool, now: Timestamp) -> Result<Vec<Run>> {
        let stands = |over: &Over| match &over.settled {
            None => over.dead && !discarded,
            Some(settled) => discarded && settled.can_be_undone(now),
        };
        let keys: Vec<_> =
            self.over(runs).await?.iter().filter(|over| stands(over)).map(|over| args![over.tenant, over.id]).collect();
        let mut found = self.rows_for(&LAST, &keys).await?.iter().map(done).collect::<Result<Vec<_>>>()?;
        found.sort_by_key(|run| run.id);
        found.dedup_by_key(|run| run.id);
        Ok(found)
    }

    /// Causes of a tenant's failures, the most frequent first, at most 100.
    pub async fn failures(&mut self, tenant: Id, query: &DeadQuery, now: Timestamp) -> Result<Vec<Failures>> {
        let rows = self.rows(&CAUSES, query.args(tenant, now)).await?;
        let keys = rows.iter().map(|row| Ok(args![tenant, row.id("last")?])).collect::<Result<Vec<_>>>()?;
        let mut last = self.rows_for(&LAST, &keys).await?.iter().map(done).collect::<Result<Vec<_>>>()?;
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            let id = row.id("last")?;
            // One that was pruned between the two statements.
            let Some(at) = last.iter().position(|run| run.id == id) else { continue };
            found.push(Failures {
                tenant,
                job: row.id("job")?,
                print: row.opt_int("print")?.unwrap_or(0),
                count: row.count("n")?,
                first_at: row.time("first_at")?,
                last_at: row.time("last_at")?,
                last: last.swap_remove(at),
            });
        }
        Ok(found)
    }

    /// How many there are of each job, [`OPERATION_LIMIT`] and one in all at most.
    pub async fn dead_by_job(&mut self, tenant: Id, query: &DeadQuery, now: Timestamp) -> Result<Vec<OfJob>> {
        let mut args = query.args(tenant, now);
        args.extend(args![OPERATION_LIMIT + 1]);
        let of = |row: &Row| Ok(OfJob { job: row.id("job")?, count: row.count("n")?, oldest: row.time("oldest")? });
        self.rows(&BY_JOB, args).await?.iter().map(of).collect()
    }

    /// Gives them to an operation, the oldest first; answers how many.
    pub(super) async fn choose_dead(
        &mut self,
        operation: Id,
        tenant: Id,
        query: &DeadQuery,
        limit: u64,
        now: Timestamp,
    ) -> Result<u64> {
        let mut args = query.args(tenant, now);
        args.extend(args![operation, limit]);
        self.exec(&CHOOSE, args).await
    }

    /// Whether others died of the same and need a person.
    pub async fn died_of_it_too(&mut self, run: &Run) -> Result<bool> {
        let Some(print) = run.print else { return Ok(false) };
        Ok(self.row(&OTHERS, args![run.tenant, print, run.id]).await?.is_some())
    }

    /// What became of a dead run.
    pub async fn settled(&mut self, tenant: Id, run: Id) -> Result<Option<Settled>> {
        self.row(&SETTLED, args![tenant, run]).await?.as_ref().map(settled).transpose()
    }

    /// Runs (tenant, run) that are over; the others are left out.
    pub async fn over(&mut self, runs: &[(Id, Id)]) -> Result<Vec<Over>> {
        let keys: Vec<_> = runs.iter().map(|(tenant, run)| args![*tenant, *run]).collect();
        let mut found = self.rows_for(&OVER, &keys).await?.iter().map(over).collect::<Result<Vec<_>>>()?;
        found.sort_by_key(|over| over.id);
        found.dedup_by_key(|over| over.id);
        Ok(found)
    }

    /// Makes new runs with the input of those that are over, run by run in order. Dead ones need nobody any more then,
    /// but for those with an input of their own that joined a live run.
    /// Of their items, `None` takes what is not done, and all when everything is.
    pub async fn rerun(&mut self, old: &[Over], items: Option<Items>, by: &str, now: Timestamp) -> Result<Vec<Result<Enqueued>>> {
        let counts = self.item_counts(&old.iter().map(|over| (over.tenant, over.id)).collect::<Vec<_>>()).await?;
        let some_open = |over: &Over| counts.get(&over.id).is_some_and(|counts| counts.done < counts.total());
        let (mut new, mut refused) = (Vec::with_capacity(old.len()), Vec::with_capacity(old.len()));
        let mut deadlines: HashMap<Id, Option<Span>> = HashMap::new();
        for over in old {
            match again(over, items != Some(Items::Open) || some_open(over), by) {
                Ok(mut run) => {
                    // One read a job, however many runs it has here.
                    let deadline = match deadlines.entry(run.revision) {
                        Entry::Occupied(known) => *known.get(),
                        Entry::Vacant(new) => {
                            let revision = self.revision(run.revision).await?;
                            *new.insert(revision.and_then(|revision| revision.spec.start_deadline))
                        }
                    };
                    run.start_by = deadline.map(|deadline| now.plus(deadline.0));
                    new.push(run);
                    refused.push(None);
                }
                Err(wrong) => refused.push(Some(wrong)),
            }
        }
        let mut enqueued = self.enqueue(&[new], now).await?.into_iter().flatten();
        let lost = || Err(Error::Internal(anyhow::anyhow!("enqueue gave no answer")));
        let answers: Vec<_> =
            refused.into_iter().map(|refused| refused.map_or_else(|| enqueued.next().unwrap_or_else(lost), Err)).collect();
        let carried = old.iter().zip(&answers).filter_map(|(over, answer)| match answer {
            Ok(Enqueued::New(new)) if items != Some(Items::All) && some_open(over) => Some((over.tenant, over.id, *new)),
            _ => None,
        });
        self.carry_items(&carried.collect::<Vec<_>>()).await?;
        let settled = old.iter().zip(&answers).filter_map(|(over, answer)| {
            let answer = answer.as_ref().ok()?;
            let run_again = matches!(answer, Enqueued::New(_)) || over.input.is_none();
            (over.dead && run_again).then(|| args![over.tenant, over.id, now, by, answer.id(), None::<i64>])
        });
        let settled: Vec<_> = settled.collect();
        let expected = settled.len();
        expect_rows(self.exec_rows(&SETTLE, settled).await?, expected, "settle")?;
        Ok(answers)
    }

    /// Marks dead runs (tenant, run) as discarded; they must be open.
    pub async fn discard(&mut self, runs: &[(Id, Id)], by: &str, now: Timestamp) -> Result<()> {
        let row = |(tenant, run): &(Id, Id)| args![*tenant, *run, now, by, None::<i64>, Some(now.plus(UNDO))];
        let discarded = self.exec_rows(&SETTLE, runs.iter().map(row).collect()).await?;
        expect_rows(discarded, runs.len(), "discard")
    }

    /// Takes the mark from discarded runs (tenant, run).
    pub async fn undo_discard(&mut self, runs: &[(Id, Id)]) -> Result<()> {
        let keys: Vec<_> = runs.iter().map(|(tenant, run)| args![*tenant, *run]).collect();
        let undone = self.exec_keys(&UNSETTLE, &keys).await?;
        expect_rows(undone, runs.len(), "undo discard")
    }

    /// Discarded runs that can be brought back, by tenant.
    pub async fn discarded_by_tenant(&mut self, now: Timestamp) -> Result<Vec<(Id, u64)>> {
        self.rows(&DISCARDED, args![now]).await?.iter().map(|row| Ok((row.id("tenant")?, row.count("n")?))).collect()
    }

    /// How many open dead runs ended before an instant, tenant by tenant; each count stops at 10,001.
    pub async fn dead_before(&mut self, tenants: &[(Id, Timestamp)]) -> Result<Vec<(Id, u64)>> {
        let keys: Vec<_> = tenants.iter().map(|(tenant, at)| args![*tenant, Id::first_at(*at), *at]).collect();
        let mut found: Vec<(Id, u64)> = self
            .rows_for(&EXPIRING, &keys)
            .await?
            .iter()
            .map(|row| Ok((row.id("tenant")?, row.count("n")?)))
            .collect::<Result<_>>()?;
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}

/// # Errors
/// `Conflict` when it must not be run again, or there is nothing to do.
fn again(over: &Over, has_work: bool, by: &str) -> Result<NewRun> {
    let id = over.id;
    if let Some(settled) = &over.settled {
        return Err(Error::Conflict(match settled.rerun {
            Some(again) => format!("run {id} was run again by {} already, as {again}", settled.by),
            None => format!("run {id} was discarded by {}; bring it back first", settled.by),
        }));
    }
    let Some(revision) = over.revision else {
        return Err(Error::Conflict("its job was removed; apply it again, then re-run".into()));
    };
    if !has_work {
        return Err(Error::Conflict(format!("run {id} has no item that is not done; run all again")));
    }
    Ok(NewRun {
        tenant: over.tenant,
        job: over.job,
        revision,
        cause: Cause::Rerun,
        input: over.input.as_deref().map(serde_json::from_str).transpose()?,
        due_at: None,
        start_by: None,
        parent: Some(id),
        requested_by: Some(by.to_owned()),
        max_live: over.max_live,
        idempotency: None,
    })
}

fn settled(row: &Row) -> Result<Settled> {
    Ok(Settled {
        at: row.time("at")?,
        by: row.text("by")?,
        rerun: row.opt_int("rerun")?.map(Id),
        undo_until: row.opt_time("undo_until")?,
    })
}

fn over(row: &Row) -> Result<Over> {
    let removed = row.opt_time("removed_at")?.is_some();
    Ok(Over {
        tenant: row.id("tenant")?,
        id: row.id("id")?,
        job: row.id("job")?,
        dead: row.int("state")? == DEAD,
        settled: row.opt_time("at")?.map(|_| settled(row)).transpose()?,
        revision: row.opt_int("revision")?.filter(|_| !removed).map(Id),
        max_live: u32::try_from(row.opt_int("max_live")?.unwrap_or(0)).unwrap_or(0),
        input: row.opt_text("input")?,
    })
}
