//! `limits.waiting`: how many runs of a tenant wait, for the tenants that have such a limit. A count of all of them for every
//! enqueue would cost more than the enqueue: what was counted is kept, with what was added since, and counted anew when
//! that says the limit is reached. It is never less than the truth on SQLite; another node's runs are seen at the next count.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::sql::{Dialect, Sql, args};
use super::tx::Tx;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::Id;

/// A tenant at its limit is counted so often at most.
const AT_LIMIT: Duration = Duration::from_secs(1);
/// Counting a row takes about a hundredth of this: of a large crowd the writer counts more seldom.
const A_ROW: Duration = Duration::from_micros(10);
/// And this often where others may add to it.
const SHARED: Duration = Duration::from_secs(10);

static LIMITS: Sql = Sql::new("SELECT id, name, max_waiting FROM tenant WHERE max_waiting > 0 AND removed_at IS NULL");
static READY: Sql = Sql::new(
    "SELECT count(*) AS n FROM (SELECT 1 FROM ready WHERE job IN (SELECT j.id FROM job j WHERE j.tenant = $1) LIMIT $2) x",
);
static LATER: Sql = Sql::new("SELECT count(*) AS n FROM (SELECT 1 FROM later WHERE tenant = $1 LIMIT $2) x");

/// What is known of the tenants with a limit.
#[derive(Default)]
pub(super) struct Crowds(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// Of the definitions when the limits were read.
    version: Option<u64>,
    limits: HashMap<Id, (String, u64)>,
    /// Runs that wait, and when they were counted.
    counts: HashMap<Id, (u64, Timestamp)>,
}

/// Room for more waiting runs, by tenant; who is not in it has no limit.
#[derive(Default)]
pub(super) struct Room(HashMap<Id, Left>);

struct Left {
    left: u64,
    most: u64,
    tenant: String,
}

impl Room {
    /// Takes a place.
    ///
    /// # Errors
    /// `TooMany` when there is none.
    pub fn take(&mut self, tenant: Id) -> Result<()> {
        let Some(Left { left, most, tenant }) = self.0.get_mut(&tenant) else { return Ok(()) };
        *left = left.checked_sub(1).ok_or_else(|| {
            Error::TooMany(format!(
                "{tenant} has {most} runs waiting, as many as limits.waiting = {most} of its file allows; try again when some have run, or ask a \
                 server admin to raise it"
            ))
        })?;
        Ok(())
    }
}

/// Whether a count is believed, now that so many more shall wait.
fn is_good((waiting, at): (u64, Timestamp), (most, more): (u64, u64), shared: bool, now: Timestamp) -> bool {
    let age = match (waiting + more > most, shared) {
        (true, _) => AT_LIMIT,
        (false, true) => SHARED,
        (false, false) => Duration::MAX,
    };
    let age = age.max(A_ROW.saturating_mul(u32::try_from(waiting).unwrap_or(u32::MAX)));
    now >= at && now.since(at) < age
}

impl Tx {
    /// Room for runs of these tenants. Costs no statement as long as none of them has a limit, or is far from it.
    pub(super) async fn room_for(&mut self, runs: impl Iterator<Item = Id>, now: Timestamp) -> Result<Room> {
        self.read_limits().await?;
        let mut room = Room::default();
        if self.crowds().limits.is_empty() {
            return Ok(room);
        }
        let mut wanted: HashMap<Id, u64> = HashMap::new();
        for tenant in runs {
            *wanted.entry(tenant).or_default() += 1;
        }
        for (tenant, more) in wanted {
            let Some((name, most)) = self.crowds().limits.get(&tenant).cloned() else { continue };
            let kept = self.crowds().counts.get(&tenant).copied();
            let shared = self.dialect() == Dialect::Postgres;
            let waiting = match kept.filter(|kept| is_good(*kept, (most, more), shared, now)) {
                Some((waiting, _)) => waiting,
                None => {
                    let waiting = self.count_waiting(tenant, most).await?;
                    self.crowds().counts.insert(tenant, (waiting, now));
                    waiting
                }
            };
            room.0.insert(tenant, Left { left: most.saturating_sub(waiting), most, tenant: name });
        }
        Ok(room)
    }

    /// How many runs of these tenants, one after the other, may wait; and what the next one has no place in.
    pub(super) async fn places_for(&mut self, runs: &[Id], now: Timestamp) -> Result<(usize, Option<String>)> {
        let mut room = self.room_for(runs.iter().copied(), now).await?;
        let fit = runs.iter().take_while(|tenant| room.take(**tenant).is_ok()).count();
        let full = runs.get(fit).and_then(|tenant| room.0.get(tenant));
        Ok((fit, full.map(|Left { most, tenant, .. }| format!("limits.waiting of {tenant} ({most} of {most})"))))
    }

    /// So many runs of these tenants wait from now on.
    pub(super) fn crowd(&self, tenants: impl Iterator<Item = Id>) {
        let mut kept = self.crowds();
        if kept.counts.is_empty() {
            return;
        }
        for tenant in tenants {
            if let Some((waiting, _)) = kept.counts.get_mut(&tenant) {
                *waiting += 1;
            }
        }
    }

    async fn read_limits(&mut self) -> Result<()> {
        let version = *self.signals.definitions().borrow();
        if self.crowds().version == Some(version) {
            return Ok(());
        }
        let rows = self.rows(&LIMITS, args![]).await?;
        let limits = rows.iter().map(|row| Ok((row.id("id")?, (row.text("name")?, row.count("max_waiting")?))));
        let limits = limits.collect::<Result<HashMap<_, _>>>()?;
        let mut kept = self.crowds();
        kept.counts.retain(|tenant, _| limits.contains_key(tenant));
        (kept.version, kept.limits) = (Some(version), limits);
        Ok(())
    }

    /// Not beyond the limit.
    async fn count_waiting(&mut self, tenant: Id, most: u64) -> Result<u64> {
        let mut waiting = 0;
        for sql in [&READY, &LATER] {
            let limit = i64::try_from(most.saturating_sub(waiting)).unwrap_or(i64::MAX);
            waiting += self.row(sql, args![tenant, limit]).await?.map_or(Ok(0), |row| row.count("n"))?;
        }
        Ok(waiting)
    }

    fn crowds(&self) -> MutexGuard<'_, Kept> {
        self.known.crowds.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_crowd_is_counted_seldom_and_a_small_one_each_second() {
        let good = |waiting, shared, seconds: u64| {
            let now = Timestamp(1_000_000_000);
            is_good((waiting, now), (1_000_000, 1), shared, now.plus(Duration::from_secs(seconds)))
        };
        assert!(good(7, false, 3_600), "far from its limit, and nobody else adds to it");
        assert_eq!((good(7, true, 9), good(7, true, 10)), (true, false), "others may have added to it");
        assert_eq!((good(1_000_000, false, 9), good(1_000_000, false, 10)), (true, false));
        let small = |ms| is_good((5, Timestamp(0)), (5, 1), false, Timestamp(ms));
        assert_eq!((small(999), small(1_000)), (true, false));
        assert!(!is_good((5, Timestamp(10)), (9, 1), false, Timestamp(9)), "the clock was set back");
    }
}
