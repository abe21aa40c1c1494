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
    "UPDATE item SET state = $1, message = $2, ended_at = $3, fence = fence + 1, lease_until = NULL WHERE tenant = $4 AND run = $5 AND state < 2",
);
static CARRY: Sql = Sql::new(
    "INSERT INTO item (tenant, run, name, position, state, input, message, output, attempt, deliveries, fence, ended_at) \
     SELECT tenant, CAST($1 AS BIGINT), name, position, CASE WHEN state = 2 THEN 2 ELSE 0 END, input, \
     CASE WHEN state = 2 THEN 'already up to date' END, CASE WHEN state = 2 THEN output END, 0, 0, 0, CASE WHEN state = 2 THEN ended_at END \
     FROM item WHERE tenant = $2 AND run = $3",
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

    /// What is open has no further chance; answers how many that were.
    pub async fn close_items(&mut self, tenant: Id, run: Id, closing: &Closing, now: Timestamp) -> Result<u64> {
        self.exec(&CLOSE, args![closing.state.code(), &closing.message, now, tenant, run]).await
    }

    /// Gives a new run the items of an old one: what is done stays done, the rest is open.
    pub async fn carry_items(&mut self, tenant: Id, from: Id, to: Id) -> Result<u64> {
        self.exec(&CARRY, args![to, tenant, from]).await
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
