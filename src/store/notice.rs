//! What happened that a job shall have a run for: notifications of webhooks, ends of runs that it follows. They wait as rows until
//! the first of them is due and the job may have another run; then all that fit are that run's input.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::enqueue::{DEDUPE, DEDUPE_MS, DEDUPE_OF};
use super::schedule::trigger;
use super::sql::{Arg, Sql, args};
use super::tx::{Tx, expect_rows};
use crate::clock::Timestamp;
use crate::domain::follow::On;
use crate::domain::hook::{RUN_BYTES, RUN_LIMIT, WAITING_LIMIT};
use crate::domain::run::Final;
use crate::error::{Error, Result};
use crate::id::Id;

/// Triggers that are read at a time.
const PAGE: i64 = 1_000;

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

/// A notification to take in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNotice {
    pub tenant: Id,
    pub job: Id,
    /// One that was seen within 24 h changes nothing.
    pub key: Option<String>,
    /// JSON.
    pub payload: String,
    pub due_at: Timestamp,
}

/// A notice that a run gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub id: Id,
    /// JSON.
    pub payload: String,
    /// So many after it were not written down one by one.
    pub more: u64,
}

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
/// Along the primary key, so that a page is a seek.
static GROUPS: Sql = Sql::new(
    "SELECT n.job, n.trigger_id, min(t.kind) AS kind, min(n.due_at) AS first_at, min(j.max_live) AS most, \
     (SELECT count(*) FROM live l WHERE l.job = n.job) AS live FROM notice n JOIN trigger t ON t.id = n.trigger_id JOIN job j ON j.id = n.job \
     WHERE (n.job, n.trigger_id) > ($1, $2) GROUP BY n.job, n.trigger_id ORDER BY n.job, n.trigger_id LIMIT $3",
);
static HOOKS: Sql =
    Sql::new("SELECT job, id FROM trigger WHERE (job) IN (VALUES {1}) AND kind = 'webhook' ORDER BY job, position DESC");
static LAST: Sql = Sql::new("SELECT trigger_id, max(id) AS id FROM notice WHERE (job) IN (VALUES {1}) GROUP BY trigger_id");
static MORE: Sql = Sql::new(
    "UPDATE notice SET more = notice.more + v.column4 FROM (VALUES {4}) v WHERE notice.job = v.column1 AND notice.trigger_id = v.column2 \
     AND notice.id = v.column3",
);
static ANY: Sql = Sql::new("SELECT id FROM notice LIMIT 1");
static OF: Sql = Sql::new("SELECT id, payload, more FROM notice WHERE job = $1 AND trigger_id = $2 ORDER BY id LIMIT $3");
static REMOVE: Sql = Sql::new("DELETE FROM notice WHERE (job, trigger_id, id) IN (VALUES {3})");

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
        let mut told: BTreeMap<Id, Vec<Told>> = BTreeMap::new();
        for (job, run, end) in ended {
            for follower in followers.get(job).into_iter().flatten().filter(|follower| follower.on.follows(*end)) {
                let payload = serde_json::json!({ "job": follower.followed, "run": run, "state": word(*end) }).to_string();
                let (tenant, trigger) = (follower.tenant, follower.trigger);
                told.entry(follower.job).or_default().push(Told { tenant, trigger, payload });
            }
        }
        let jobs: Vec<Id> = told.keys().copied().collect();
        let full = self.notices_waiting(&jobs).await?.into_iter().filter(|(_, waiting)| *waiting >= WAITING_LIMIT);
        let full: BTreeMap<Id, Vec<Told>> = full.filter_map(|(job, _)| Some((job, told.remove(&job)?))).collect();
        let row = |job: Id, Told { tenant, trigger, payload }| args![job, self.new_id(), trigger, tenant, now, payload];
        let rows = told.into_iter().flat_map(|(job, told)| told.into_iter().map(move |one| (job, one)));
        let rows = rows.map(|(job, one)| row(job, one)).collect();
        self.put_notices(rows).await?;
        self.tell_more(full, now).await
    }

    /// So many wait for these jobs already: further ends are counted on the last that waits.
    async fn tell_more(&mut self, told: BTreeMap<Id, Vec<Told>>, now: Timestamp) -> Result<()> {
        if told.is_empty() {
            return Ok(());
        }
        let mut last: HashMap<Id, Id> = HashMap::new();
        for row in self.rows_for(&LAST, &told.keys().map(|job| args![*job]).collect::<Vec<_>>()).await? {
            last.insert(row.id("trigger_id")?, row.id("id")?);
        }
        // In the same order on every node: two that count for the same jobs do not wait for each other.
        let (mut more, mut first): (BTreeMap<(Id, Id), i64>, Vec<_>) = (BTreeMap::new(), Vec::new());
        for (job, told) in told {
            for Told { tenant, trigger, payload } in told {
                match last.get(&trigger) {
                    Some(_) => *more.entry((job, trigger)).or_default() += 1,
                    None => {
                        let id = self.new_id();
                        last.insert(trigger, id);
                        first.push(args![job, id, trigger, tenant, now, payload]);
                    }
                }
            }
        }
        self.put_notices(first).await?;
        let rows: Vec<_> = more.into_iter().map(|((job, trigger), n)| args![job, trigger, last[&trigger], n]).collect();
        let expected = rows.len();
        expect_rows(self.exec_rows(&MORE, rows).await?, expected, "notices counted")
    }

    /// Takes notifications in; answers each. One that was seen within 24 h changes nothing; it is `Unavailable` when too many
    /// wait for its job.
    pub(super) async fn notice(&mut self, new: &[NewNotice], now: Timestamp) -> Result<Vec<Result<Noticed>>> {
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let jobs: Vec<Id> = new.iter().map(|one| one.job).collect::<BTreeSet<_>>().into_iter().collect();
        let keys: Vec<_> = jobs.iter().map(|job| args![*job]).collect();
        let hooks = self.rows_for(&HOOKS, &keys).await?;
        // Of several the first: the last that is put.
        let hooks: HashMap<Id, Id> = hooks.iter().map(|row| Ok((row.id("job")?, row.id("id")?))).collect::<Result<_>>()?;
        let mut waiting = self.notices_waiting(&jobs).await?;
        let keys: Vec<_> = new.iter().filter_map(|one| Some(args![one.job, one.key.as_ref()?])).collect();
        let mut seen: HashMap<(Id, String), Id> = HashMap::new();
        for row in self.rows_for(&DEDUPE_OF, &keys).await? {
            if row.time("expires_at")? > now {
                seen.insert((row.id("job")?, row.text("key")?), row.id("run")?);
            }
        }
        let (mut known, mut rows) = (Vec::new(), Vec::new());
        let mut take = |one: &NewNotice| {
            let key = one.key.as_ref().map(|key| (one.job, key.clone()));
            if let Some(id) = key.as_ref().and_then(|key| seen.get(key)) {
                return Ok(Noticed { id: *id, repeated: true });
            }
            let changed = || Error::Conflict("the job was changed at this moment; try again".into());
            let hook = *hooks.get(&one.job).ok_or_else(changed)?;
            let waiting = waiting.entry(one.job).or_default();
            if *waiting >= WAITING_LIMIT {
                let message = format!("{waiting} notifications wait for this job already; try again when it has had a run");
                return Err(Error::Unavailable(message));
            }
            *waiting += 1;
            let id = self.new_id();
            if let Some(key) = key {
                known.push(args![one.job, &key.1, "", id, now.0 + DEDUPE_MS]);
                seen.insert(key, id);
            }
            rows.push(args![one.job, id, hook, one.tenant, one.due_at, &one.payload]);
            Ok(Noticed { id, repeated: false })
        };
        let answers = new.iter().map(&mut take).collect();
        self.exec_rows(&DEDUPE, known).await?;
        self.put_notices(rows).await?;
        Ok(answers)
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

    /// Triggers with notices whose jobs may have another run, the first due first: all of them, so that those that cannot have
    /// theirs keep nobody waiting.
    pub async fn free_notices(&mut self) -> Result<Vec<Free>> {
        let (mut free, mut after) = (Vec::new(), (Id(i64::MIN), Id(i64::MIN)));
        loop {
            let rows = self.rows(&GROUPS, args![after.0, after.1, PAGE]).await?;
            for row in &rows {
                let (job, trigger) = (row.id("job")?, row.id("trigger_id")?);
                after = (job, trigger);
                let (most, live) = (row.int("most")?, row.int("live")?);
                if most == 0 || live < most {
                    free.push(Free { job, trigger, kind: row.text("kind")?, due_at: row.time("first_at")? });
                }
            }
            if rows.len() < PAGE.unsigned_abs() as usize {
                break;
            }
        }
        free.sort_by_key(|free| free.due_at);
        Ok(free)
    }

    pub async fn has_notices(&mut self) -> Result<bool> {
        Ok(self.row(&ANY, args![]).await?.is_some())
    }

    /// The oldest of a trigger's notices that fit into one run.
    pub async fn notices_of(&mut self, free: &Free) -> Result<Vec<Notice>> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        for row in self.rows(&OF, args![free.job, free.trigger, RUN_LIMIT]).await? {
            let payload = row.text("payload")?;
            bytes += payload.len();
            if bytes > RUN_BYTES && !taken.is_empty() {
                break;
            }
            taken.push(Notice { id: row.id("id")?, payload, more: row.count("more")? });
        }
        Ok(taken)
    }

    /// They are in a run now.
    pub async fn remove_notices(&mut self, of: &Free, notices: &[Notice]) -> Result<()> {
        let keys: Vec<_> = notices.iter().map(|notice| args![of.job, of.trigger, notice.id]).collect();
        expect_rows(self.exec_keys(&REMOVE, &keys).await?, notices.len(), "notices taken")
    }
}

/// What a follower is told.
struct Told {
    tenant: Id,
    trigger: Id,
    payload: String,
}

fn word(end: Final) -> &'static str {
    match end {
        Final::Succeeded => "succeeded",
        Final::Dead(_) => "dead",
        Final::Cancelled => "cancelled",
    }
}
