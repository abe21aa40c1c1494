//! SQLite and PostgreSQL side by side: the same tables, and the same states after the same operations. These need both, so
//! they do their work when the suite runs with WINDLASS_TEST_DATABASE=postgres.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use sqlx::{ConnectOptions, Row};
use windlass::clock::ManualClock;
use windlass::domain::job::{Job, JobSpec};
use windlass::domain::retry::{Budget, Decision};
use windlass::domain::run::{Final, Idempotency, NewRun, Reason};
use windlass::id::Id;
use windlass::store::claim::{Claimed, Lane, Want};
use windlass::store::dead::DeadQuery;
use windlass::store::record::Finished;
use windlass::store::run::RunQuery;
use windlass::store::{Database, Store, moving};

use crate::database;
use crate::world::{TEN, new_run, tenant};

#[test]
fn both_databases_have_the_same_migrations() {
    let names = |folder: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(folder);
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<BTreeSet<_>>()
    };
    assert_eq!(names("sqlite"), names("postgres"));
}

#[tokio::test]
async fn both_databases_have_the_same_tables() {
    let Some((sqlite, postgres, _folder)) = both().await else { return };
    let (Database::Sqlite(path), Database::Postgres(options)) = (sqlite.database(), postgres.database()) else { unreachable!() };
    let mut file = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    let mut server = options.connect().await.unwrap();
    let columns = "SELECT m.name AS \"table\", c.name AS \"column\", lower(c.type) AS type, c.\"notnull\" OR c.pk > 0 AS filled FROM sqlite_master m \
                   JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE '\\_sqlx%' ESCAPE '\\' AND m.name NOT LIKE 'sqlite%'";
    let here: BTreeSet<_> = sqlx::query(columns)
        .fetch_all(&mut file)
        .await
        .unwrap()
        .iter()
        .map(|row| {
            let kind: String = row.get("type");
            let kind = if kind == "integer" { "bigint".into() } else { kind };
            (row.get::<String, _>("table"), row.get::<String, _>("column"), kind, row.get::<i64, _>("filled") != 0)
        })
        .collect();
    let columns = "SELECT CAST(table_name AS TEXT) AS \"table\", CAST(column_name AS TEXT) AS \"column\", CAST(data_type AS TEXT) AS type, is_nullable = 'NO' AS filled \
                   FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE '\\_sqlx%'";
    let there: BTreeSet<_> = sqlx::query(columns)
        .fetch_all(&mut server)
        .await
        .unwrap()
        .iter()
        .map(|row| {
            let kind: String = row.get("type");
            let kind = if kind == "bytea" { "blob".into() } else { kind };
            (row.get::<String, _>("table"), row.get::<String, _>("column"), kind, row.get::<bool, _>("filled"))
        })
        .collect();
    assert!(here.len() > 200, "only {} columns were found", here.len());
    assert_eq!(here.difference(&there).collect::<Vec<_>>(), there.difference(&here).collect::<Vec<_>>());

    let indexes = "SELECT name FROM sqlite_master WHERE type = 'index' AND name NOT LIKE 'sqlite%'";
    let here: BTreeSet<String> = sqlx::query_scalar(indexes).fetch_all(&mut file).await.unwrap().into_iter().collect();
    let indexes = "SELECT CAST(indexname AS TEXT) FROM pg_indexes WHERE schemaname = 'public' AND indexname NOT LIKE '%\\_pkey' AND indexname NOT LIKE '%\\_key'";
    let there: BTreeSet<String> = sqlx::query_scalar(indexes).fetch_all(&mut server).await.unwrap().into_iter().collect();
    assert_eq!(here, there);
}

/// Two stores that are told the same, by a seed: enqueues with and without keys and slots, claims, ends of every kind, late
/// ends, cancels, time.
#[tokio::test]
async fn the_same_operations_lead_to_the_same_states() {
    for seed in 1..=6 {
        let Some((sqlite, postgres, _folder)) = both().await else { return };
        let (here, there) = (play(&sqlite, seed).await, play(&postgres, seed).await);
        assert!(here.len() > 100, "seed {seed}: only {} lines", here.len());
        for (n, (here, there)) in here.iter().zip(&there).enumerate() {
            assert_eq!(here, there, "seed {seed}, line {n}");
        }
        assert_eq!(here.len(), there.len(), "seed {seed}");
    }
}

/// `windlass move`: everything is there, and a second time is refused.
#[tokio::test]
async fn a_file_moves_to_postgres_as_a_whole() {
    let Some((sqlite, postgres, folder)) = both().await else { return };
    let mut before = Play::new(&sqlite, 9).await;
    before.go(120).await;
    before.told.clear();
    before.look().await;
    let (jobs, lines) = (before.jobs.clone(), std::mem::take(&mut before.told));
    let from = sqlite.database().clone();
    sqlite.close().await;
    // The one that `both` opened has a node in it, and is not empty.
    let refused = moving::copy(&from, postgres.database(), |_| {}).await.unwrap_err();
    assert!(refused.to_string().contains("not empty"), "{refused}");

    let to = database::fresh(folder.path());
    let mut heard = 0;
    let copied = moving::copy(&from, &to, |_| heard += 1).await.unwrap();
    assert_eq!(heard, copied.len());
    assert!(copied.iter().any(|table| table.table == "done" && table.rows > 10), "{copied:?}");
    let store = Store::open(to, Arc::new(ManualClock::at(TEN))).await.unwrap();
    let mut after = Play { store: &store, jobs, ..Play::empty(&store) };
    after.look().await;
    assert_eq!(after.told, lines);
}

async fn both() -> Option<(Store, Store, tempfile::TempDir)> {
    if !database::is_postgres() {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(TEN));
    let sqlite = Store::open(Database::Sqlite(folder.path().join("windlass.db")), clock).await.unwrap();
    let clock = Arc::new(ManualClock::at(TEN));
    let postgres = Store::open(database::fresh(folder.path()), clock).await.unwrap();
    Some((sqlite, postgres, folder))
}

struct Play<'a> {
    store: &'a Store,
    random: StdRng,
    now: windlass::clock::Timestamp,
    jobs: Vec<Job>,
    running: Vec<Claimed>,
    /// Reported once already.
    over: Vec<Claimed>,
    told: Vec<String>,
}

async fn play(store: &Store, seed: u64) -> Vec<String> {
    let mut play = Play::new(store, seed).await;
    play.go(120).await;
    play.told
}

impl<'a> Play<'a> {
    fn empty(store: &'a Store) -> Self {
        let random = StdRng::seed_from_u64(0);
        Self { store, random, now: TEN, jobs: Vec::new(), running: Vec::new(), over: Vec::new(), told: Vec::new() }
    }

    /// Two tenants with two jobs each.
    async fn new(store: &'a Store, seed: u64) -> Self {
        let jobs = two_tenants(store).await;
        Self { random: StdRng::seed_from_u64(seed), jobs, ..Self::empty(store) }
    }

    async fn go(&mut self, steps: usize) {
        for step in 0..steps {
            match self.random.random_range(0..10) {
                0..3 => self.enqueue().await,
                3..5 => self.claim().await,
                5..8 => self.record().await,
                8 => self.cancel().await,
                _ => self.pass_time().await,
            }
            if step % 30 == 29 {
                self.look().await;
            }
        }
    }
}

async fn two_tenants(store: &Store) -> Vec<Job> {
    let mut tx = store.begin().await.unwrap();
    let mut jobs = Vec::new();
    for name in ["alpha", "beta"] {
        let id = tx.new_id();
        let mut tenant = tenant(id, name);
        // On SQLite the ring alone keeps limits.
        tenant.limits.running = 10_000;
        tx.put_tenant(&tenant, TEN).await.unwrap();
        for (name, live) in [("one", 1), ("many", 1_000)] {
            let spec: JobSpec = serde_json::from_value(json!({"name": name, "plugin": "noop", "max_live": live})).unwrap();
            jobs.push(tx.put_job(id, &spec, "sha256:none", "test", TEN).await.unwrap());
        }
    }
    tx.commit().await.unwrap();
    jobs
}

impl Play<'_> {
    fn some<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        (!of.is_empty()).then(|| of[self.random.random_range(0..of.len())].clone())
    }

    async fn enqueue(&mut self) {
        let mut runs = Vec::new();
        for _ in 0..self.random.random_range(1..12) {
            let job = self.some(&self.jobs.clone()).unwrap();
            let keyed = self.random.random_bool(0.3);
            let idempotency = keyed.then(|| Idempotency {
                key: format!("k{}", self.random.random_range(0..8)),
                request_hash: format!("h{}", self.random.random_range(0..2)),
            });
            let later =
                self.random.random_bool(0.3).then(|| self.now.plus(Duration::from_secs(self.random.random_range(1..200))));
            let input = self.random.random_bool(0.3).then(|| json!({"n": "nul \u{0} and ünïcode"}));
            runs.push(NewRun { idempotency, due_at: later, input, ..new_run(&job) });
        }
        let mut tx = self.store.begin().await.unwrap();
        let answers = tx.enqueue(&[runs], self.now).await.unwrap();
        tx.commit().await.unwrap();
        self.told.push(format!("{answers:?}"));
    }

    async fn claim(&mut self) {
        let mut lanes = Vec::new();
        for job in self.jobs.clone() {
            lanes.push(Lane { tenant: job.tenant, job: job.id, runs: self.random.random_range(0..6), ..Lane::default() });
        }
        let mut tx = self.store.begin().await.unwrap();
        let mut taken = tx.claim(&[Want { lanes }], self.now).await.unwrap().remove(0).runs;
        tx.commit().await.unwrap();
        taken.sort_by_key(|claimed| claimed.run.id);
        self.told
            .push(format!("{:?}", taken.iter().map(|c| (c.run.id, c.run.attempt, c.run.fence, &c.input)).collect::<Vec<_>>()));
        self.running.extend(taken);
    }

    async fn record(&mut self) {
        let mut ends = Vec::new();
        for _ in 0..self.random.random_range(1..6) {
            let Some(claimed) = self.some(&self.running.clone()) else { break };
            self.running.retain(|other| other.run.id != claimed.run.id);
            self.over.push(claimed.clone());
            ends.push(self.end(&claimed));
        }
        if self.random.random_bool(0.2) {
            let late = self.some(&self.over.clone());
            ends.extend(late.map(|claimed| self.end(&claimed)));
        }
        let mut tx = self.store.begin().await.unwrap();
        let recorded = tx.record(&[ends], self.now).await.unwrap();
        tx.commit().await.unwrap();
        self.told.push(format!("{recorded:?}"));
    }

    fn end(&mut self, claimed: &Claimed) -> Finished {
        let delay = Duration::from_secs(self.random.random_range(1..60));
        let again = |spent| Decision::Again { due_at: self.now.plus(delay), delay, why: "again".into(), spent };
        let decision = match self.random.random_range(0..6) {
            0 => Decision::End(Final::Dead(Reason::Permanent)),
            1 => Decision::End(Final::Cancelled),
            2 => again(Budget::Failed),
            3 => again(Budget::Snoozed),
            _ => Decision::End(Final::Succeeded),
        };
        let print = matches!(decision, Decision::End(Final::Dead(_))).then_some(7);
        let output = Some("{}".into());
        Finished { print, output, ..Finished::new(claimed.run.clone(), decision, "succeeded", "said nothing") }
    }

    async fn cancel(&mut self) {
        let job = self.some(&self.jobs.clone()).unwrap();
        let mut tx = self.store.begin().await.unwrap();
        let runs = tx.runs(job.tenant, &everything()).await.unwrap();
        let Some(run) = self.some(&runs) else { return };
        let answer = tx.cancel(job.tenant, run.id, "ann", self.now).await;
        self.told.push(format!("{:?}", answer.map_err(|wrong| wrong.to_string())));
        tx.commit().await.unwrap();
    }

    async fn pass_time(&mut self) {
        self.now = self.now.plus(Duration::from_secs(self.random.random_range(1..100)));
        let mut tx = self.store.begin().await.unwrap();
        let moved = tx.promote(self.now).await.unwrap();
        tx.commit().await.unwrap();
        self.told.push(format!("promoted {moved}"));
    }

    /// All that pages would show.
    async fn look(&mut self) {
        let mut tx = self.store.read().await.unwrap();
        let tenants: BTreeSet<Id> = self.jobs.iter().map(|job| job.tenant).collect();
        for tenant in tenants {
            self.told.push(format!(
                "{:?} {:?}",
                tx.state_counts(tenant).await.unwrap(),
                tx.failures(tenant, &DeadQuery::default(), self.now).await.unwrap()
            ));
            for run in tx.runs(tenant, &everything()).await.unwrap() {
                let (payload, attempts) = (tx.payload(tenant, run.id).await.unwrap(), tx.attempts_of(&run).await.unwrap());
                self.told.push(format!("{run:?} {payload:?} {attempts:?}"));
            }
        }
    }
}

fn everything() -> RunQuery {
    RunQuery { job: None, state: None, before: None, limit: 500 }
}
