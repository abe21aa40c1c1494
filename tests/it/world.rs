//! A small world for tests: a real store in a folder of its own, a clock that is moved by hand, guests that follow a script.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use windlass::clock::{Clock, ManualClock, Timestamp};
use windlass::config::Settings;
use windlass::domain::attempt::{Class, Counts, Outcome};
use windlass::domain::backlog::Measurement;
use windlass::domain::item::ItemCounts;
use windlass::domain::job::{Job, JobSpec};
use windlass::domain::rollout::{Rollout, Stage, Tally};
use windlass::domain::run::{NewRun, Run};
use windlass::domain::tenant::Tenant;
use windlass::domain::trigger::Cause;
use windlass::egress::Egress;
use windlass::error::Problem;
use windlass::id::Id;
use windlass::objects::Objects;
use windlass::plugin::{Answer, Executor, Work};
use windlass::runner::{Context, Runner};
use windlass::span::{Size, Span};
use windlass::store::Store;
use windlass::store::claim::{Claimed, Lane, Want};
use windlass::vault::Vault;

use crate::database;

/// Sunday 22 November 2026, 10:00 UTC.
pub const TEN: Timestamp = Timestamp(1_795_341_600_000);

type Finish = Box<dyn Fn(&Work, ItemCounts) -> Outcome + Send + Sync>;
type Script = Box<dyn Fn(&Work) -> Answer<Outcome> + Send + Sync>;

/// Guests as the test wants them, by job.
#[derive(Default)]
pub struct Scripted {
    scripts: Mutex<HashMap<String, Script>>,
    /// What `finish` does, by job; with the totals it is told.
    pub finishing: Mutex<HashMap<String, Finish>>,
    /// What probes measure, by job.
    pub backlog: Mutex<HashMap<String, std::result::Result<u64, String>>>,
    /// Jobs whose measurement never ends.
    pub hung: Mutex<HashSet<String>>,
    /// Digests that this node has not got.
    pub lacks: Mutex<HashSet<String>>,
    /// Measurements made, by job.
    pub measured: Mutex<Vec<String>>,
    /// Attempts made: (job, run, attempt).
    pub made: Mutex<Vec<(String, Id, u32)>>,
}

impl Scripted {
    pub fn script<F: Future<Output = Outcome> + Send + 'static>(
        &self,
        job: &str,
        of: impl Fn(&Work) -> F + Send + Sync + 'static,
    ) {
        self.scripts.lock().unwrap().insert(job.to_owned(), Box::new(move |work| Box::pin(of(work))));
    }

    pub fn attempts(&self, job: &str) -> usize {
        self.made.lock().unwrap().iter().filter(|(of, _, _)| of == job).count()
    }
}

impl Executor for Scripted {
    fn execute(&self, work: Work) -> Answer<Outcome> {
        self.made.lock().unwrap().push((work.job.clone(), work.run, work.attempt));
        match self.scripts.lock().unwrap().get(&work.job) {
            Some(script) => {
                let outcome = script(&work);
                // The guest holds what it was given until it ends.
                Box::pin(async move {
                    let outcome = outcome.await;
                    drop(work);
                    outcome
                })
            }
            None => Box::pin(std::future::ready(well(None))),
        }
    }

    fn finish(&self, work: Work, totals: ItemCounts) -> Answer<Outcome> {
        let outcome = self.finishing.lock().unwrap()[&work.job](&work, totals);
        Box::pin(std::future::ready(outcome))
    }

    fn finishes(&self, _: &str) -> bool {
        !self.finishing.lock().unwrap().is_empty()
    }

    fn measure(&self, work: Work) -> Answer<std::result::Result<Measurement, String>> {
        self.measured.lock().unwrap().push(work.job.clone());
        if self.hung.lock().unwrap().contains(&work.job) {
            return Box::pin(std::future::pending());
        }
        let found = self.backlog.lock().unwrap().get(&work.job).cloned().unwrap_or(Ok(0));
        Box::pin(std::future::ready(found.map(|size| Measurement { size, age_ms: None })))
    }

    fn check(&self, _: &str, _: String) -> Answer<std::result::Result<(), Vec<Problem>>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn has(&self, digest: &str) -> bool {
        !self.lacks.lock().unwrap().contains(digest)
    }
}

pub fn well(counts: Option<Counts>) -> Outcome {
    Outcome::Succeeded { summary: "done".into(), data: None, counts }
}

pub fn transient(message: &str) -> Outcome {
    Outcome::failed(Class::Transient, message)
}

pub struct World {
    pub clock: ManualClock,
    pub store: Store,
    pub guests: Arc<Scripted>,
    pub tenant: Tenant,
    pub dir: TempDir,
}

impl World {
    pub async fn new() -> Self {
        let clock = ManualClock::at(TEN);
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(database::fresh(dir.path()), Arc::new(clock.clone())).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        let id = tx.new_id();
        let tenant: Tenant = tenant(id, "alpha");
        tx.put_tenant(&tenant, TEN).await.unwrap();
        tx.commit().await.unwrap();
        Self { clock, store, guests: Arc::default(), tenant, dir }
    }

    /// The same database, after a process that died: what ran is still leased.
    pub async fn reopened(self) -> Self {
        let Self { clock, store, guests, tenant, dir } = self;
        let database = store.database().clone();
        store.close().await;
        let store = Store::open(database, Arc::new(clock.clone())).await.unwrap();
        Self { clock, store, guests, tenant, dir }
    }

    /// A job of tenant alpha; `spec` is merged over name and plugin.
    pub async fn job(&self, name: &str, spec: serde_json::Value) -> Job {
        self.job_of(self.tenant.id, name, spec).await
    }

    /// The same of another tenant.
    pub async fn job_of(&self, tenant: Id, name: &str, spec: serde_json::Value) -> Job {
        let mut whole = json!({"name": name, "plugin": "noop"});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let spec: JobSpec = serde_json::from_value(whole).unwrap();
        let mut tx = self.store.begin().await.unwrap();
        let job = tx.put_job(tenant, &spec, "sha256:none", "test", self.clock.now()).await.unwrap();
        let now = self.clock.now();
        let seed = job.id;
        let next = |trigger: &windlass::domain::trigger::TriggerSpec| match trigger {
            windlass::domain::trigger::TriggerSpec::Schedule(spec) => {
                windlass::domain::schedule::Schedule::parse(&spec.schedule, spec.zone.unwrap_or(chrono_tz::Tz::UTC), seed)
                    .unwrap()
                    .after(now)
            }
            _ => None,
        };
        tx.put_triggers(tenant, job.id, &job.spec.triggers, now, next).await.unwrap();
        tx.commit().await.unwrap();
        job
    }

    pub async fn enqueue(&self, job: &Job) -> Id {
        let answers = self.store.enqueue(vec![new_run(job)]).await.unwrap();
        answers.into_iter().next().unwrap().unwrap().id()
    }

    /// Up to `n` runs of a job of tenant alpha.
    pub async fn claim(&self, job: Id, n: u32) -> Vec<Claimed> {
        let lanes = vec![Lane { tenant: self.tenant.id, job, runs: n, ..Lane::default() }];
        self.store.claim(Want { lanes }).await.unwrap().runs
    }

    pub fn context(&self) -> Arc<Context> {
        self.context_with(|_| {})
    }

    pub fn context_with(&self, change: impl FnOnce(&mut Settings)) -> Arc<Context> {
        let vault = Vault::open(&self.dir.path().join("secret.key"), None).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let mut settings = Settings::default();
        // What waits, and for what, does not hang on the machine that tests.
        settings.worker.memory_budget = Some(Size::mib(64 * 1024));
        change(&mut settings);
        // The clock is ours, the database's is the machine's.
        settings.lease.skew = Span::secs(u32::MAX.into());
        Context::new(
            self.store.clone(),
            self.guests.clone(),
            self.egress(),
            clock,
            Arc::new(settings),
            Arc::new(vault),
            self.objects(),
        )
    }

    pub fn egress(&self) -> Arc<Egress> {
        Egress::of(&Settings::default(), Vec::new(), Arc::new(self.clock.clone())).unwrap()
    }

    /// In this world's folder.
    pub fn objects(&self) -> Objects {
        Objects::in_folder(self.dir.path().join("artifacts")).unwrap()
    }

    pub async fn start(&self) -> Runner {
        Runner::start(self.context()).await.unwrap()
    }

    pub async fn run(&self, id: Id) -> Run {
        self.store.read().await.unwrap().need_run(self.tenant.id, id).await.unwrap()
    }

    /// Moves the clock in small steps, with time for everybody to act, until it holds.
    pub async fn until<T>(&self, what: &str, step: Duration, mut found: impl AsyncFnMut() -> Option<T>) -> T {
        // Half a minute of real time and more: a machine may be busy with other things.
        for _ in 0..3_000 {
            if let Some(found) = found().await {
                return found;
            }
            self.clock.advance(step);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it never came to this: {what}");
    }

    /// Waits, the clock moving by `step`, until the run is over.
    pub async fn ended(&self, id: Id, step: Duration) -> Run {
        self.until("the run is over", step, async || Some(self.run(id).await).filter(|run| run.state.is_final())).await
    }
}

pub fn tenant(id: Id, name: &str) -> Tenant {
    Tenant {
        id,
        name: name.to_owned(),
        zone: chrono_tz::Tz::UTC,
        weight: 1,
        labels: std::collections::BTreeMap::new(),
        limits: windlass::domain::tenant::TenantLimits::default(),
        retention: windlass::domain::tenant::TenantRetention::default(),
        ceiling: windlass::domain::grant::Ceiling::default(),
        alerts: Vec::new(),
        created_at: TEN,
        updated_at: TEN,
    }
}

pub fn new_run(job: &Job) -> NewRun {
    NewRun {
        tenant: job.tenant,
        job: job.id,
        revision: job.revision,
        cause: Cause::Manual,
        input: None,
        due_at: None,
        start_by: None,
        parent: None,
        requested_by: None,
        max_live: job.spec.max_live,
        idempotency: None,
    }
}

/// A new version that `share` of 1,000,000 runs take since ten.
pub fn rollout(job: &Job, old: &str, new: &str, share: u32, tally: Tally) -> Rollout {
    Rollout {
        job: job.id,
        tenant: job.tenant,
        old: old.into(),
        new: new.into(),
        share,
        stage: Stage::Running,
        moved: false,
        why: None,
        began_at: TEN,
        changed_at: TEN,
        changed_by: "ann".into(),
        tally,
    }
}
