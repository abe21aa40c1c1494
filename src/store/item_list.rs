//! Items of runs, read; and what becomes of them when their run goes on, is over, or is run again.

use super::item::item;
use super::sql::{Sql, args};
use super::tx::Tx;
use crate::clock::Timestamp;
use crate::domain::item::{Closing, Item, ItemState, Names};
use crate::error::Result;
use crate::id::Id;

/// Which items a list shows, in the order they were declared.
#[derive(Debug, Clone, Copy, Default)]
pub struct ItemQuery {
    pub state: Option<ItemState>,
    /// Only those behind this position: the keyset of the page before.
    pub after: Option<u64>,
    pub limit: u32,
}

/// Failed items of one place and one worker, over the last runs of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    pub position: u64,
    /// Outside; empty for the job's own guest.
    pub worker: String,
    /// How many of the runs lost it there.
    pub runs: u64,
    /// The last of them, by name.
    pub name: String,
}

static LIST: Sql = Sql::new("SELECT * FROM item WHERE tenant = $1 AND run = $2 AND position > $3 ORDER BY position LIMIT $4");
static LIST_STATE: Sql =
    Sql::new("SELECT * FROM item WHERE tenant = $1 AND run = $2 AND state = $3 AND position > $4 ORDER BY position LIMIT $5");
static NAMES: Sql =
    Sql::new("SELECT name, state FROM item WHERE tenant = $1 AND run = $2 AND (state < 2 OR state = 3) ORDER BY position");
static REOPEN: Sql = Sql::new(
    "UPDATE item SET state = 0, fence = fence + 1, lease_until = NULL WHERE state = 1 AND (tenant, run) IN (VALUES {2})",
);
static CLOSE: Sql = Sql::new(
    "UPDATE item SET state = v.column3, message = v.column4, ended_at = v.column5, fence = fence + 1, lease_until = NULL FROM (VALUES {5}) v \
     WHERE item.tenant = v.column1 AND item.run = v.column2 AND item.state < 2",
);
static FIRST_OPEN: Sql = Sql::new(
    "SELECT tenant, run, min(position) AS position FROM item WHERE (tenant, run) IN (VALUES {2}) AND state < 2 GROUP BY tenant, run",
);
static SKIP: Sql = Sql::new(
    "UPDATE item SET state = 4, message = v.column4, ended_at = v.column5, fence = fence + 1, lease_until = NULL FROM (VALUES {5}) v \
     WHERE item.tenant = v.column1 AND item.run = v.column2 AND item.position > v.column3 AND item.state < 2",
);
static CARRY: Sql = Sql::new(
    "INSERT INTO item (tenant, run, name, position, state, input, message, output, attempt, deliveries, fence, ended_at) \
     SELECT i.tenant, v.column3, i.name, i.position, CASE WHEN i.state = 2 THEN 2 ELSE 0 END, i.input, \
     CASE WHEN i.state = 2 THEN 'already up to date' END, CASE WHEN i.state = 2 THEN i.output END, 0, 0, 0, \
     CASE WHEN i.state = 2 THEN i.ended_at END \
     FROM (VALUES {3}) v JOIN item i ON i.tenant = v.column1 AND i.run = v.column2",
);
static PATTERNS: Sql = Sql::new(
    "SELECT i.position, coalesce(i.lease_by, '') AS worker, count(*) AS runs, max(i.name) AS name FROM item i WHERE i.tenant = $1 AND i.state = 3 \
     AND i.run IN (SELECT id FROM (SELECT id FROM done WHERE job = $2 ORDER BY id DESC LIMIT 20) x) \
     GROUP BY i.position, coalesce(i.lease_by, '') HAVING count(*) >= 3 ORDER BY runs DESC, i.position LIMIT 50",
);

impl Tx {
    pub async fn items_of(&mut self, tenant: Id, run: Id, query: ItemQuery) -> Result<Vec<Item>> {
        let after = query.after.map_or(-1, u64::cast_signed);
        let rows = match query.state {
            None => self.rows(&LIST, args![tenant, run, after, query.limit]).await?,
            Some(state) => self.rows(&LIST_STATE, args![tenant, run, state.code(), after, query.limit]).await?,
        };
        rows.iter().map(item).collect()
    }

    /// Names of items that failed, and of those that are open still, in order.
    pub async fn item_names(&mut self, tenant: Id, run: Id) -> Result<Names> {
        let mut names = Names::default();
        for row in self.rows(&NAMES, args![tenant, run]).await? {
            let of = if row.int("state")? == ItemState::Failed.code() { &mut names.failed } else { &mut names.lost };
            of.push(row.text("name")?);
        }
        Ok(names)
    }

    /// What ran is waiting again, because its run is; (tenant, run).
    pub(super) async fn reopen_items(&mut self, runs: &[(Id, Id)]) -> Result<()> {
        self.exec_keys(&REOPEN, &runs.iter().map(|(tenant, run)| args![*tenant, *run]).collect::<Vec<_>>()).await?;
        Ok(())
    }

    /// What is open of runs (tenant, run) has no further chance; answers how many that were.
    pub async fn close_items(&mut self, runs: &[(Id, Id, Closing)], now: Timestamp) -> Result<u64> {
        let strict: Vec<_> =
            runs.iter().filter(|(.., closing)| closing.in_order).map(|(tenant, run, _)| args![*tenant, *run]).collect();
        let first = self.rows_for(&FIRST_OPEN, &strict).await?;
        let first = first.iter().map(|row| Ok((row.id("tenant")?, row.id("run")?, row.count("position")?)));
        self.skip_after(&first.collect::<Result<Vec<_>>>()?, now).await?;
        let row = |(tenant, run, closing): &(Id, Id, Closing)| args![*tenant, *run, closing.state.code(), &closing.message, now];
        self.exec_rows(&CLOSE, runs.iter().map(row).collect()).await
    }

    /// Open items of runs (tenant, run, position) behind the one that failed have no further chance.
    pub(super) async fn skip_after(&mut self, failed: &[(Id, Id, u64)], now: Timestamp) -> Result<()> {
        let row = |(tenant, run, position): &(Id, Id, u64)| {
            args![*tenant, *run, *position, format!("previous failure (step {})", position + 1), now]
        };
        self.exec_rows(&SKIP, failed.iter().map(row).collect()).await?;
        Ok(())
    }

    /// Gives new runs the items of old ones (tenant, old, new): what is done stays done, the rest is open.
    pub async fn carry_items(&mut self, runs: &[(Id, Id, Id)]) -> Result<u64> {
        self.exec_rows(&CARRY, runs.iter().map(|(tenant, old, new)| args![*tenant, *old, *new]).collect()).await
    }

    /// What failed items of a job's last 20 runs have in common, when at least three runs share it.
    pub async fn item_patterns(&mut self, tenant: Id, job: Id) -> Result<Vec<Pattern>> {
        let rows = self.rows(&PATTERNS, args![tenant, job]).await?;
        rows.iter()
            .map(|row| {
                let (position, worker) = (row.count("position")?, row.text("worker")?);
                Ok(Pattern { position, worker, runs: row.count("runs")?, name: row.text("name")? })
            })
            .collect()
    }
}
