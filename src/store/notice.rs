//! What happened that a job shall have a run for: notifications of webhooks, ends of runs that it follows. They wait as rows until
//! the first of them is due and the job may have another run; then all that fit are that run's input.

use std::collections::HashMap;
use std::sync::Arc;

use super::schedule::trigger;
use super::sql::{Arg, Row, Sql, args};
use super::tx::{Tx, expect_rows};
use crate::clock::Timestamp;
use crate::domain::follow::On;
use crate::domain::hook::{RUN_BYTES, RUN_LIMIT, WAITING_LIMIT};
use crate::domain::run::Final;
use crate::error::{Error, Result};
use crate::id::Id;

/// A notification is known by its id for so long, in ms (24 h).
const KNOWN_MS: i64 = 24 * 3600 * 1000;

/// A job that follows another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follower {
    pub trigger: Id,
    pub tenant: Id,
    pub job: Id,
    /// The name of the one it follows.
    pub followed: String,
    pub on: On,
}

/// By the job that is followed.
pub type Followers = HashMap<Id, Vec<Follower>>;

/// Notices of one trigger whose job may have another run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Free {
    pub job: Id,
    pub trigger: Id,
    /// `webhook` or `after`.
    pub kind: String,
    /// Of the first of them.
    pub due_at: Timestamp,
}

/// A notification that is new, or was seen before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noticed {
    pub id: Id,
    pub repeated: bool,
}

static FOLLOWERS: Sql = Sql::new(
    "SELECT t.id, t.tenant, t.job, t.position, t.spec, j.id AS followed FROM trigger t JOIN job j ON j.tenant = t.tenant AND j.name = t.follows \
     WHERE t.follows IS NOT NULL AND j.removed_at IS NULL",
);
static PUT: Sql = Sql::new("INSERT INTO notice (job, id, trigger_id, tenant, due_at, payload) VALUES {6}");
static WAITING: Sql = Sql::new("SELECT job, count(*) AS n FROM notice WHERE (job) IN (VALUES {1}) GROUP BY job");
static FREE: Sql = Sql::new(
    "SELECT * FROM (SELECT n.job, n.trigger_id, t.kind, min(n.due_at) AS first_at, min(j.max_live) AS most, \
     (SELECT count(*) FROM live l WHERE l.job = n.job) AS live FROM notice n JOIN trigger t ON t.id = n.trigger_id JOIN job j ON j.id = n.job \
     GROUP BY n.job, n.trigger_id, t.kind) x WHERE x.most = 0 OR x.live < x.most ORDER BY x.first_at LIMIT 256",
);
static ANY: Sql = Sql::new("SELECT id FROM notice LIMIT 1");
static OF: Sql = Sql::new("SELECT id, payload FROM notice WHERE job = $1 AND trigger_id = $2 ORDER BY id LIMIT $3");
static REMOVE: Sql = Sql::new("DELETE FROM notice WHERE (job, trigger_id, id) IN (VALUES {3})");
static SEEN: Sql = Sql::new("SELECT run FROM dedupe WHERE job = $1 AND key = $2 AND expires_at > $3");
static KNOW: Sql = Sql::new(
    "INSERT INTO dedupe (job, key, request_hash, run, expires_at) VALUES ($1, $2, '', $3, $4) ON CONFLICT (job, key) DO UPDATE SET \
     run = excluded.run, expires_at = excluded.expires_at",
);

impl Tx {
    pub(super) async fn followers(&mut self) -> Result<Arc<Followers>> {
        let mut followers = Followers::new();
        for row in self.rows(&FOLLOWERS, args![]).await? {
            let trigger = trigger(&row)?;
            let Some(after) = trigger.spec.after() else { continue };
            let (trigger_id, followed) = (trigger.id, after.job.clone());
            let follower = Follower { trigger: trigger_id, tenant: trigger.tenant, job: trigger.job, followed, on: after.on };
            followers.entry(row.id("followed")?).or_default().push(follower);
        }
        Ok(Arc::new(followers))
    }

    /// Runs (job, run) have ended: whoever follows their jobs is told.
    pub(super) async fn tell_followers(&mut self, ended: &[(Id, Id, Final)], now: Timestamp) -> Result<()> {
        let followers = self.known_followers().await?;
        if followers.is_empty() {
            return Ok(());
        }
        let mut told: HashMap<Id, Vec<Vec<Arg>>> = HashMap::new();
        for (job, run, end) in ended {
            for follower in followers.get(job).into_iter().flatten().filter(|follower| follower.on.follows(*end)) {
                let payload = serde_json::json!({ "job": follower.followed, "run": run, "state": word(*end) }).to_string();
                let row = args![follower.job, self.new_id(), follower.trigger, follower.tenant, now, payload];
                told.entry(follower.job).or_default().push(row);
            }
        }
        let jobs: Vec<Id> = told.keys().copied().collect();
        for (job, waiting) in self.notices_waiting(&jobs).await? {
            if waiting >= WAITING_LIMIT && told.remove(&job).is_some() {
                tracing::warn!(job.id = %job, waiting, "a job is not told of further runs that it follows: so many wait for it already");
            }
        }
        self.put_notices(told.into_values().flatten().collect()).await
    }

    /// Takes a notification in. One that was seen within 24 h changes nothing.
    ///
    /// # Errors
    /// `Unavailable` when too many wait.
    pub async fn notice(
        &mut self,
        (tenant, job, trigger): (Id, Id, Id),
        key: Option<&str>,
        payload: String,
        due_at: Timestamp,
        now: Timestamp,
    ) -> Result<Noticed> {
        if let Some(key) = key
            && let Some(seen) = self.row(&SEEN, args![job, key, now]).await?
        {
            return Ok(Noticed { id: seen.id("run")?, repeated: true });
        }
        let waiting = self.notices_waiting(&[job]).await?.get(&job).copied().unwrap_or(0);
        if waiting >= WAITING_LIMIT {
            let message = format!("{waiting} notifications wait for this job already; try again when it has had a run");
            return Err(Error::Unavailable(message));
        }
        let id = self.new_id();
        if let Some(key) = key {
            self.exec(&KNOW, args![job, key, id, now.0 + KNOWN_MS]).await?;
        }
        self.put_notices(vec![args![job, id, trigger, tenant, due_at, payload]]).await?;
        Ok(Noticed { id, repeated: false })
    }

    async fn put_notices(&mut self, rows: Vec<Vec<Arg>>) -> Result<()> {
        self.news.noticed |= !rows.is_empty();
        let expected = rows.len();
        expect_rows(self.exec_rows(&PUT, rows).await?, expected, "notice")
    }

    async fn notices_waiting(&mut self, jobs: &[Id]) -> Result<HashMap<Id, u64>> {
        let keys: Vec<_> = jobs.iter().map(|job| args![*job]).collect();
        self.rows_for(&WAITING, &keys).await?.iter().map(|row| Ok((row.id("job")?, row.count("n")?))).collect()
    }

    /// Triggers with notices whose jobs may have another run, the first due first; at most 256.
    pub async fn free_notices(&mut self) -> Result<Vec<Free>> {
        let free = |row: &Row| {
            let (job, trigger) = (row.id("job")?, row.id("trigger_id")?);
            Ok(Free { job, trigger, kind: row.text("kind")?, due_at: row.time("first_at")? })
        };
        self.rows(&FREE, args![]).await?.iter().map(free).collect()
    }

    pub async fn has_notices(&mut self) -> Result<bool> {
        Ok(self.row(&ANY, args![]).await?.is_some())
    }

    /// The oldest of a trigger's notices that fit into one run: ids and payloads (JSON).
    pub async fn notices_of(&mut self, free: &Free) -> Result<Vec<(Id, String)>> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        for row in self.rows(&OF, args![free.job, free.trigger, RUN_LIMIT]).await? {
            let payload = row.text("payload")?;
            bytes += payload.len();
            if bytes > RUN_BYTES && !taken.is_empty() {
                break;
            }
            taken.push((row.id("id")?, payload));
        }
        Ok(taken)
    }

    /// They are in a run now.
    pub async fn remove_notices(&mut self, of: &Free, notices: &[(Id, String)]) -> Result<()> {
        let keys: Vec<_> = notices.iter().map(|(id, _)| args![of.job, of.trigger, *id]).collect();
        expect_rows(self.exec_keys(&REMOVE, &keys).await?, notices.len(), "notices taken")
    }
}

fn word(end: Final) -> &'static str {
    match end {
        Final::Succeeded => "succeeded",
        Final::Dead(_) => "dead",
        Final::Cancelled => "cancelled",
    }
}
