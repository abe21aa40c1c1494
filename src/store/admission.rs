//! What stands against limits, counted over all nodes. Where other nodes claim at the same time, tenants and classes are locked
//! first and counted in the next statement: in one, the count is older than the lock (22 of 7 were reached).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::claim::Lane;
use super::sql::{Dialect, Sql, args};
use super::tx::Tx;
use crate::clock::Timestamp;
use crate::domain::admission::{Load, Need, room};
use crate::domain::run::Run;
use crate::error::Result;
use crate::id::Id;

// PostgreSQL alone: SQLite has one writer, and its node has counted. Who finds a tenant or a class locked passes it over, so that
// no two claimers wait for each other.
static LOCK: Sql = Sql::new(
    "SELECT id, max_running, starts_per_minute FROM tenant WHERE (id) IN (VALUES {1}) ORDER BY id FOR UPDATE SKIP LOCKED",
);
static LOCK_CLASS: Sql = Sql::new(
    "SELECT CAST(CASE WHEN pg_try_advisory_xact_lock(7171, CAST(CAST($1 AS BIGINT) AS INTEGER)) THEN 1 ELSE 0 END AS BIGINT) AS locked",
);
static RUNNING: Sql =
    Sql::new("SELECT tenant, job, count(*) AS n FROM lease WHERE (tenant) IN (VALUES {1}) AND node <> 0 GROUP BY tenant, job");
static OF_CLASSES: Sql = Sql::new(
    "SELECT j.class, count(*) AS n FROM lease l JOIN job j ON j.id = l.job WHERE (j.class) IN (VALUES {1}) AND l.node <> 0 GROUP BY j.class",
);
static EVERYWHERE: Sql = Sql::new(
    "SELECT l.tenant, l.job, j.class, l.node, count(*) AS n FROM lease l JOIN job j ON j.id = l.job WHERE l.node <> 0 \
     GROUP BY l.tenant, l.job, j.class, l.node",
);
static STARTED: Sql = Sql::new("SELECT tenant, runs FROM started WHERE (tenant, minute) IN (VALUES {2})");
static START: Sql = Sql::new(
    "INSERT INTO started (tenant, minute, runs) VALUES {3} ON CONFLICT (tenant) DO UPDATE SET \
     runs = CASE WHEN started.minute = excluded.minute THEN started.runs ELSE 0 END + excluded.runs, minute = excluded.minute",
);

/// Runs of one job on one node, with what else they count for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    pub tenant: Id,
    pub job: Id,
    pub class: String,
    pub node: i64,
    pub runs: u32,
}

/// What stands against the bounds of lanes.
#[derive(Default)]
struct Counted {
    /// Tenants and their limits, where they had to be locked; the others are another node's at this moment.
    locked: Option<HashMap<Id, Locked>>,
    /// Classes likewise.
    classes: Option<BTreeSet<Arc<str>>>,
    of_tenants: HashMap<Id, u32>,
    of_jobs: HashMap<Id, u32>,
    of_classes: HashMap<Arc<str>, u32>,
    starts: HashMap<Id, u32>,
}

/// A tenant's limits as they stand in the database.
struct Locked {
    running: u32,
    starts: u32,
}

impl Counted {
    /// How many runs of the lane may start.
    fn room(&self, lane: &Lane) -> Result<u32, Need> {
        let mut bounds = lane.bounds;
        if let Some(locked) = &self.locked {
            let Some(Locked { running, starts }) = locked.get(&lane.tenant) else { return Err(Need::Alone(false)) };
            (bounds.tenant, bounds.starts) = (*running, *starts);
        }
        if let (Some(locked), Some(class)) = (&self.classes, &lane.class)
            && !locked.contains(class)
        {
            return Err(Need::Alone(false));
        }
        let of = |counts: &HashMap<Id, u32>, id| counts.get(&id).copied().unwrap_or(0);
        let load = Load {
            tenant: of(&self.of_tenants, lane.tenant),
            job: of(&self.of_jobs, lane.job),
            class: lane.class.as_ref().and_then(|class| self.of_classes.get(class)).copied().unwrap_or(0),
            starts: of(&self.starts, lane.tenant),
            ..Load::default()
        };
        room(&bounds, &load)
    }

    fn add(&mut self, lane: &Lane, runs: u32) {
        *self.of_tenants.entry(lane.tenant).or_default() += runs;
        *self.of_jobs.entry(lane.job).or_default() += runs;
        *self.starts.entry(lane.tenant).or_default() += runs;
        if let Some(class) = &lane.class {
            *self.of_classes.entry(class.clone()).or_default() += runs;
        }
    }
}

impl Tx {
    /// Cuts lanes to what may start. Answers them, and of each job that was cut what it lacks.
    pub(super) async fn within_bounds(&mut self, lanes: &[Lane], now: Timestamp) -> Result<(Vec<Lane>, HashMap<Id, Need>)> {
        let mut counted = match self.dialect() {
            // The ring of the one node there is has counted what runs.
            Dialect::Sqlite => Counted::default(),
            Dialect::Postgres => self.count_locked(lanes).await?,
        };
        let paced: BTreeSet<Id> = lanes.iter().filter(|lane| lane.bounds.starts < u32::MAX).map(|lane| lane.tenant).collect();
        let keys: Vec<_> = paced.into_iter().map(|tenant| args![tenant, now.minute()]).collect();
        for row in self.rows_for(&STARTED, &keys).await? {
            counted.starts.insert(row.id("tenant")?, row.small("runs")?);
        }
        let (mut allowed, mut held) = (Vec::with_capacity(lanes.len()), HashMap::new());
        for lane in lanes {
            let runs = counted.room(lane).unwrap_or(0).min(lane.runs);
            counted.add(lane, runs);
            if runs < lane.runs {
                held.extend(counted.room(lane).err().map(|lacks| (lane.job, lacks)));
            }
            if runs > 0 {
                allowed.push(Lane { runs, ..lane.clone() });
            }
        }
        Ok((allowed, held))
    }

    async fn count_locked(&mut self, lanes: &[Lane]) -> Result<Counted> {
        let mut counted = Counted::default();
        let tenants: BTreeSet<Id> = lanes.iter().map(|lane| lane.tenant).collect();
        let mut locked = HashMap::new();
        for row in self.rows_for(&LOCK, &tenants.into_iter().map(|tenant| args![tenant]).collect::<Vec<_>>()).await? {
            let starts = Some(row.small("starts_per_minute")?).filter(|starts| *starts > 0).unwrap_or(u32::MAX);
            locked.insert(row.id("id")?, Locked { running: row.small("max_running")?, starts });
        }
        let mut classes = BTreeSet::new();
        for class in lanes.iter().filter_map(|lane| lane.class.clone()).collect::<BTreeSet<_>>() {
            let row = self.row(&LOCK_CLASS, args![lock_number(&class)]).await?;
            if row.map_or(Ok(0), |row| row.int("locked"))? == 1 {
                classes.insert(class);
            }
        }
        let tenants: Vec<_> = locked.keys().map(|tenant| args![*tenant]).collect();
        for row in self.rows_for(&RUNNING, &tenants).await? {
            let runs = row.small("n")?;
            *counted.of_tenants.entry(row.id("tenant")?).or_default() += runs;
            counted.of_jobs.insert(row.id("job")?, runs);
        }
        let names: Vec<_> = classes.iter().map(|class| args![class.to_string()]).collect();
        for row in self.rows_for(&OF_CLASSES, &names).await? {
            counted.of_classes.insert(row.text("class")?.into(), row.small("n")?);
        }
        (counted.locked, counted.classes) = (Some(locked), Some(classes));
        Ok(counted)
    }

    /// Runs of tenants with a limit of starts have begun.
    pub(super) async fn note_starts(&mut self, lanes: &[Lane], begun: &[&Run], now: Timestamp) -> Result<()> {
        let paced: BTreeSet<Id> = lanes.iter().filter(|lane| lane.bounds.starts < u32::MAX).map(|lane| lane.tenant).collect();
        if paced.is_empty() {
            return Ok(());
        }
        let mut starts: BTreeMap<Id, i64> = BTreeMap::new();
        for run in begun.iter().filter(|run| paced.contains(&run.tenant)) {
            *starts.entry(run.tenant).or_default() += 1;
        }
        self.exec_rows(&START, starts.into_iter().map(|(tenant, runs)| args![tenant, now.minute(), runs]).collect()).await?;
        Ok(())
    }

    /// All that runs on nodes now.
    pub async fn running_everywhere(&mut self) -> Result<Vec<Running>> {
        let rows = self.rows(&EVERYWHERE, args![]).await?;
        rows.iter()
            .map(|row| {
                let (tenant, job, node) = (row.id("tenant")?, row.id("job")?, row.int("node")?);
                Ok(Running { tenant, job, class: row.text("class")?, node, runs: row.small("n")? })
            })
            .collect()
    }

    /// Runs that the tenant has begun within this minute; counted only while it has a limit of them.
    pub async fn started_within_minute(&mut self, tenant: Id, now: Timestamp) -> Result<u32> {
        let rows = self.rows_for(&STARTED, &[args![tenant, now.minute()]]).await?;
        rows.first().map_or(Ok(0), |row| row.small("runs"))
    }
}

/// What a class is locked by, beside the project's own number: FNV of its name. Two classes of one number would only wait for
/// each other.
fn lock_number(class: &str) -> i64 {
    let hash = class.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    i64::from(hash.cast_signed())
}
