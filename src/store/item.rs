//! Items of running runs: declared, handed out, ended. What many runs ask is answered by a handful of statements.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use super::sql::{Arg, Row, Sql, args, chunks};
use super::tx::{Tx, expect_rows};
use crate::clock::Timestamp;
use crate::domain::item::{Answer, Ask, Ending, Item, ItemCounts, ItemState, NewItem, Refused, Told, too_many};
use crate::error::{Error, Result};
use crate::id::Id;

/// A question of a run, with the lease that it is asked under.
#[derive(Debug, Clone)]
pub struct Asked {
    pub tenant: Id,
    pub run: Id,
    pub fence: i64,
    pub attempt: u32,
    /// One after another; a failure skips what follows.
    pub strict: bool,
    /// Items that the run may have.
    pub most: u64,
    pub ask: Ask,
}

// Written, not only read: who would take the lease away waits for what is done under it.
static STANDING: Sql = Sql::new("UPDATE lease SET fence = fence WHERE (id, fence) IN (VALUES {2}) RETURNING id, fence");
static KNOWN: Sql = Sql::new("SELECT * FROM item WHERE (tenant, run, name) IN (VALUES {3})");
static SIZES: Sql = Sql::new(
    "SELECT run, count(*) AS n, CAST(coalesce(max(position), -1) AS BIGINT) AS top FROM item WHERE (tenant, run) IN (VALUES {2}) GROUP BY run",
);
static COUNTS: Sql =
    Sql::new("SELECT run, state, count(*) AS n FROM item WHERE (tenant, run) IN (VALUES {2}) GROUP BY run, state");
static ADD: Sql = Sql::new("INSERT INTO item (tenant, run, name, position, state, input, attempt, deliveries, fence) VALUES {9}");
// The fence: who read an item before another changed it changes nothing.
static CHANGE: Sql = Sql::new(
    "INSERT INTO item (tenant, run, name, position, state, message, output, attempt, deliveries, lease_by, lease_until, fence, ended_at) VALUES {13} \
     ON CONFLICT (tenant, run, name) DO UPDATE SET state = excluded.state, message = excluded.message, output = excluded.output, \
     attempt = excluded.attempt, deliveries = excluded.deliveries, lease_by = excluded.lease_by, lease_until = excluded.lease_until, \
     fence = excluded.fence, ended_at = excluded.ended_at WHERE item.fence = excluded.fence - 1 RETURNING run, name",
);
/// Runs whose next items one statement seeks; fewer are filled up with a run that does not exist.
const ARMS: usize = 16;
static NEXT: LazyLock<Sql> = LazyLock::new(|| {
    let arm = "SELECT * FROM (SELECT * FROM item WHERE tenant = $1 AND run = $2 AND state = 0 ORDER BY position LIMIT $3) x";
    Sql::new(vec![arm; ARMS].join(" UNION ALL ").leak())
});

type ByName = HashMap<(Id, String), Item>;

impl Tx {
    /// Answers questions in order. One whose lease does not stand any more is refused as late, and changes nothing.
    pub async fn items(&mut self, asked: &[Asked], now: Timestamp) -> Result<Vec<Told>> {
        let leases: Vec<_> = asked.iter().map(|a| args![a.run, a.fence]).collect();
        let standing: HashSet<(Id, i64)> = self
            .rows_for(&STANDING, &leases)
            .await?
            .iter()
            .map(|row| Ok((row.id("id")?, row.int("fence")?)))
            .collect::<Result<_>>()?;
        let mut told: Vec<Option<Told>> = asked.iter().map(|a| (!standing.contains(&(a.run, a.fence))).then(late)).collect();
        self.declare(asked, &mut told).await?;
        self.finish(asked, &mut told, now).await?;
        self.hand_out(asked, &mut told).await?;
        Ok(told.into_iter().map(|told| told.unwrap_or_else(late)).collect())
    }

    async fn declare(&mut self, asked: &[Asked], told: &mut [Option<Told>]) -> Result<()> {
        let open = |(n, a): (usize, &'_ Asked)| matches!(a.ask, Ask::Declare(_)) && told[n].is_none();
        let these: Vec<(usize, &Asked)> = asked.iter().enumerate().filter(|(n, a)| open((*n, a))).collect();
        if these.is_empty() {
            return Ok(());
        }
        let known = self.items_named(these.iter().flat_map(|(_, a)| names(a)).collect()).await?;
        let runs: Vec<_> = these.iter().map(|(_, a)| args![a.tenant, a.run]).collect();
        let mut sizes = HashMap::new();
        for row in self.rows_for(&SIZES, &runs).await? {
            sizes.insert(row.id("run")?, (row.count("n")?, row.int("top")?));
        }
        let mut added = Vec::new();
        for (n, a) in &these {
            let Ask::Declare(items) = &a.ask else { continue };
            let mut seen = HashSet::new();
            let fresh = |item: &&NewItem| !known.contains_key(&(a.run, item.name.clone())) && seen.insert(item.name.clone());
            let fresh: Vec<&NewItem> = items.iter().filter(fresh).collect();
            let (size, top) = sizes.get(&a.run).copied().unwrap_or((0, -1));
            if size + fresh.len() as u64 > a.most {
                told[*n] = Some(Err(Refused::new("limit", too_many(size + fresh.len() as u64, a.most))));
                continue;
            }
            added.extend(fresh.into_iter().zip(top + 1..).map(|(item, position)| {
                let input = Some(item.input.as_str()).filter(|input| !input.is_empty());
                args![a.tenant, a.run, &item.name, position, ItemState::Pending.code(), input, 0_i64, 0_i64, 0_i64]
            }));
        }
        let expected = added.len();
        expect_rows(self.exec_rows(&ADD, added).await?, expected, "declare items")?;
        let counts = self.item_counts(&these.iter().map(|(_, a)| (a.tenant, a.run)).collect::<Vec<_>>()).await?;
        for (n, a) in these {
            let open = counts.get(&a.run).map_or(0, ItemCounts::open);
            told[n].get_or_insert(Ok(Answer::Count(open)));
        }
        Ok(())
    }

    async fn finish(&mut self, asked: &[Asked], told: &mut [Option<Told>], now: Timestamp) -> Result<()> {
        let open = |(n, a): (usize, &'_ Asked)| matches!(a.ask, Ask::Finish(_)) && told[n].is_none();
        let these: Vec<(usize, &Asked)> = asked.iter().enumerate().filter(|(n, a)| open((*n, a))).collect();
        let mut known = self.items_named(these.iter().flat_map(|(_, a)| names(a)).collect()).await?;
        let (mut changes, mut breaks) = (Vec::new(), Vec::new());
        for (n, a) in &these {
            let Ask::Finish(endings) = &a.ask else { continue };
            let unknown = endings.iter().find(|ending| !known.contains_key(&(a.run, ending.name.clone())));
            if let Some(ending) = unknown {
                told[*n] =
                    Some(Err(Refused::new("not-declared", format!("there is no item {:?}: declare it first", ending.name))));
                continue;
            }
            let mut ended: Vec<Item> = endings.iter().filter_map(|ending| end(&mut known, a.run, ending, None, now)).collect();
            if let Some(broken) =
                ended.iter().filter(|item| a.strict && item.state == ItemState::Failed).map(|item| item.position).min()
            {
                ended.retain(|item| item.position <= broken);
                breaks.push((a.tenant, a.run, broken));
            }
            changes.extend(ended.into_iter().map(|item| (a.tenant, item)));
        }
        let mut changed = HashMap::new();
        for (run, _) in self.change_items(changes).await? {
            *changed.entry(run).or_insert(0) += 1;
        }
        self.skip_after(&breaks, now).await?;
        for (n, a) in these {
            told[n].get_or_insert(Ok(Answer::Count(changed.get(&a.run).copied().unwrap_or(0))));
        }
        Ok(())
    }

    async fn hand_out(&mut self, asked: &[Asked], told: &mut [Option<Told>]) -> Result<()> {
        let strict: Vec<_> =
            asked.iter().filter(|a| a.strict && matches!(a.ask, Ask::Next(_))).map(|a| (a.tenant, a.run)).collect();
        let counts = self.item_counts(&strict).await?;
        let mut these = Vec::new();
        for (n, a) in asked.iter().enumerate() {
            let Ask::Next(max) = a.ask else { continue };
            if told[n].is_some() {
                continue;
            }
            if counts.get(&a.run).is_some_and(|counts| a.strict && counts.running > 0) {
                told[n] =
                    Some(Err(Refused::new("order", "an item is still running: finish it before the next, the order is strict")));
            } else {
                these.push((n, a, if a.strict { max.min(1) } else { max }));
            }
        }
        let mut given: HashMap<Id, Vec<NewItem>> = HashMap::new();
        for part in these.chunks(ARMS) {
            let mut args = Vec::new();
            for n in 0..ARMS {
                let (tenant, run, max) = part.get(n).map_or((Id(-1), Id(-1), 0), |(_, a, max)| (a.tenant, a.run, *max));
                args.extend(args![tenant, run, max]);
            }
            let mut changes = Vec::new();
            for item in self.rows_text(NEXT.for_rows(1, self.dialect()), args).await?.iter().map(item) {
                let item = item?;
                let Some((_, a, _)) = part.iter().find(|(_, a, _)| a.run == item.run) else { continue };
                let input = item.input.clone().unwrap_or_default();
                given.entry(item.run).or_default().push(NewItem { name: item.name.clone(), input });
                let (attempt, deliveries) = (a.attempt, item.deliveries + 1);
                changes.push((a.tenant, Item { state: ItemState::Running, attempt, deliveries, fence: item.fence + 1, ..item }));
            }
            let expected = changes.len();
            expect_rows(self.change_items(changes).await?.len() as u64, expected, "hand out items")?;
        }
        for (n, a, _) in these {
            told[n].get_or_insert(Ok(Answer::Items(given.remove(&a.run).unwrap_or_default())));
        }
        Ok(())
    }

    /// Items by run and name, where there are such.
    pub(super) async fn items_named(&mut self, keys: Vec<Vec<Arg>>) -> Result<ByName> {
        let rows = self.rows_for(&KNOWN, &keys).await?;
        rows.iter().map(item).map(|item| item.map(|item| ((item.run, item.name.clone()), item))).collect()
    }

    /// Writes items as they shall be, with the fence after the one that was read; answers those (run, name) that
    /// nobody else had changed meanwhile.
    pub(super) async fn change_items(&mut self, items: Vec<(Id, Item)>) -> Result<HashSet<(Id, String)>> {
        let (mut changed, mut rows) = (HashSet::with_capacity(items.len()), Vec::with_capacity(items.len()));
        for (tenant, i) in items {
            let until = i.leased_until.filter(|_| i.state == ItemState::Running);
            rows.push(args![
                tenant,
                i.run,
                i.name,
                i.position,
                i.state.code(),
                i.message,
                i.output,
                i.attempt,
                i.deliveries,
                i.worker,
                until,
                i.fence,
                i.ended_at
            ]);
        }
        let mut rest = rows.into_iter();
        for size in chunks(rest.len()) {
            let args = rest.by_ref().take(size).flatten().collect();
            for row in self.rows_text(CHANGE.for_rows(size, self.dialect()), args).await? {
                changed.insert((row.id("run")?, row.text("name")?));
            }
        }
        Ok(changed)
    }

    /// Counts of runs (tenant, run) that have items.
    pub async fn item_counts(&mut self, runs: &[(Id, Id)]) -> Result<HashMap<Id, ItemCounts>> {
        let keys: Vec<_> = runs.iter().map(|(tenant, run)| args![*tenant, *run]).collect();
        let mut counts: HashMap<Id, ItemCounts> = HashMap::new();
        for row in self.rows_for(&COUNTS, &keys).await? {
            counts.entry(row.id("run")?).or_default().add(state(&row)?, row.count("n")?);
        }
        Ok(counts)
    }
}

/// The item as the ending makes it; `None` when it has ended already. What else ends in the same call sees it ended.
pub(super) fn end(known: &mut ByName, run: Id, ending: &Ending, worker: Option<&str>, now: Timestamp) -> Option<Item> {
    let item = known.get_mut(&(run, ending.name.clone())).filter(|item| item.state.is_open())?;
    item.state = ending.state;
    item.message = Some(ending.message.clone()).filter(|message| !message.is_empty());
    item.output.clone_from(&ending.output);
    item.ended_at = Some(now);
    item.fence += 1;
    if let Some(worker) = worker {
        item.worker = Some(worker.to_owned());
    }
    Some(item.clone())
}

fn names(asked: &Asked) -> Vec<Vec<Arg>> {
    let key = |name: &str| args![asked.tenant, asked.run, name];
    match &asked.ask {
        Ask::Declare(items) => items.iter().map(|item| key(&item.name)).collect(),
        Ask::Finish(endings) => endings.iter().map(|ending| key(&ending.name)).collect(),
        Ask::Next(_) => Vec::new(),
    }
}

fn late() -> Told {
    Err(Refused::new("late", "the run is not this attempt's any more"))
}

fn state(row: &Row) -> Result<ItemState> {
    let code = row.int("state")?;
    ItemState::from_code(code).ok_or_else(|| Error::Internal(anyhow::anyhow!("column state: {code} is no state of an item")))
}

pub(super) fn item(row: &Row) -> Result<Item> {
    Ok(Item {
        run: row.id("run")?,
        name: row.text("name")?,
        position: row.count("position")?,
        state: state(row)?,
        input: row.opt_text("input")?,
        message: row.opt_text("message")?,
        output: row.opt_text("output")?,
        attempt: row.small("attempt")?,
        deliveries: row.small("deliveries")?,
        worker: row.opt_text("lease_by")?,
        leased_until: row.opt_time("lease_until")?,
        fence: row.int("fence")?,
        ended_at: row.opt_time("ended_at")?,
    })
}
