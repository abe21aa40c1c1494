//! A server with three tenants whose past is known: alpha does well, epsilon's runs die, zeta is paused. Some of their
//! words are hostile.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use serde_json::{Value, json};
use windlass::app::{App, Who};
use windlass::clock::{Clock, Timestamp};
use windlass::config::Settings;
use windlass::domain::attempt::{Counts, Outcome};
use windlass::domain::backlog::Measurement;
use windlass::domain::health::Health;
use windlass::domain::job::{Job, JobSpec};
use windlass::domain::log::{Call, Level, Line};
use windlass::domain::retry::{Budget, Decision};
use windlass::domain::run::{Final, NewRun, Progress, Reason, fingerprint};
use windlass::domain::schedule::Schedule;
use windlass::domain::tenant::{Tenant, TenantLimits};
use windlass::domain::trigger::{Cause, TriggerSpec};
use windlass::error::Problem;
use windlass::id::Id;
use windlass::objects::Objects;
use windlass::plugin::{Answer, Executor, Sandbox, Work};
use windlass::store::Store;
use windlass::store::backlog::Sample;
use windlass::store::claim::{Claimed, Lane, Want};
use windlass::store::health::JobHealth;
use windlass::store::log::LogChunk;
use windlass::store::record::Finished;
use windlass::vault::Vault;
use windlass::web::{self, Options};

use crate::database;

pub const HOSTILE: &str = "<script>alert('not run')</script> & \"quoted\"";
pub const CODE: &str = "ABCD-EFGH-JKMN";

pub struct World {
    pub app: App,
    pub router: Router,
    pub alpha: Job,
    /// Of epsilon, the last one.
    pub dead: Id,
    pub running: Id,
    _folder: tempfile::TempDir,
}

struct NoGuests;

impl Executor for NoGuests {
    fn execute(&self, _: Work) -> Answer<Outcome> {
        Box::pin(async { Outcome::Lost })
    }

    fn measure(&self, _: Work) -> Answer<Result<Measurement, String>> {
        Box::pin(async { Err("no guests here".into()) })
    }

    fn check(&self, _: &str, _: String) -> Answer<Result<(), Vec<Problem>>> {
        Box::pin(async { Ok(()) })
    }

    fn has(&self, _: &str) -> bool {
        false
    }
}

impl World {
    /// No tenant, no member.
    pub async fn empty(clock: Arc<dyn Clock>) -> (App, Router, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(database::fresh(folder.path()), clock.clone()).await.unwrap();
        let vault = Arc::new(Vault::open(&folder.path().join("key"), None).unwrap());
        let sandbox = Sandbox::new(windlass::plugin::Settings {
            threads: 1,
            runs: 1,
            data_dir: folder.path().to_owned(),
            compiler: crate::compiler(),
            egress: windlass::egress::Egress::of(&windlass::config::Settings::default(), Vec::new(), clock.clone()).unwrap(),
            clock: clock.clone(),
        });
        let catalog = sandbox.unwrap().catalog().clone();
        let objects = Objects::in_folder(folder.path().join("artifacts")).unwrap();
        let settings = Arc::new(Settings::default());
        let app = App { store, executor: Arc::new(NoGuests), catalog, clock, settings, vault, objects };
        let options = Options { setup_code: Some(CODE.into()), ..Options::default() };
        (app.clone(), web::router(app, options), folder)
    }

    #[expect(clippy::too_many_lines, reason = "one small world, told from its beginning to its end")]
    pub async fn new(clock: Arc<dyn Clock>) -> Self {
        let now = clock.now();
        let (app, router, folder) = Self::empty(clock).await;
        let store = &app.store;
        let hour = |n: u64| Duration::from_secs(3600 * n);
        let alpha = job(store, "alpha", "drain-jobs", now.minus(hour(30))).await;
        let epsilon = job(store, "epsilon", "drain-jobs", now.minus(hour(30))).await;
        let zeta = job(store, "zeta", "import", now.minus(hour(30))).await;
        samples(store, &alpha, now, |step| 861 - step * 8).await;
        samples(store, &epsilon, now, |step| 100 + step * 15).await;

        for n in (1..=12).rev() {
            let run = claimed(store, &alpha, Cause::Backlog, None, now.minus(Duration::from_secs(60 * n))).await;
            let counts = Counts { taken: 500, done: 500 - n % 3, failed: n % 3, left: Some(214) };
            end(
                store,
                &run,
                Decision::End(Final::Succeeded),
                "500 jobs",
                Some(counts),
                now.minus(Duration::from_secs(60 * n - 20)),
            )
            .await;
        }
        let mut dead = Id(0);
        for n in (1..=3).rev() {
            let run = claimed(
                store,
                &epsilon,
                Cause::Backlog,
                Some(json!({ "page_id": 9_007_199_254_740_993_u64, "note": HOSTILE })),
                now.minus(hour(n)),
            )
            .await;
            dead = run.run.id;
            let message = format!("POST /w/index.php: 400 Invalid or stale signature {n}\n{HOSTILE}");
            end(
                store,
                &run,
                Decision::End(Final::Dead(Reason::Permanent)),
                &message,
                None,
                now.minus(hour(n)).plus(Duration::from_secs(5)),
            )
            .await;
        }
        let retry = claimed(store, &alpha, Cause::Manual, None, now.minus(Duration::from_secs(40))).await;
        let again = Decision::Again {
            due_at: now.plus(Duration::from_secs(40)),
            delay: std::time::Duration::from_secs(64),
            why: "next attempt after 64s: transient".into(),
            spent: Budget::Failed,
        };
        end(store, &retry, again, "503 from the wiki: maxlag 6.2 s", None, now.minus(Duration::from_secs(30))).await;
        let working = claimed(store, &alpha, Cause::Schedule, None, now.minus(Duration::from_secs(11))).await;
        writes(store, &working, now).await;

        let mut tx = store.begin().await.unwrap();
        let health = |job: &Job, health, why: &str| JobHealth {
            job: job.id,
            tenant: job.tenant,
            health,
            why: why.into(),
            since: now.minus(hour(2)),
        };
        let said = [
            health(&alpha, Health::Ok, "retrying: next attempt after 64s: transient"),
            health(&epsilon, Health::Stuck, "5 jobs, none runnable: the last 3 runs could take none of them; next try in 4 min"),
        ];
        tx.put_healths(&said).await.unwrap();
        tx.pause_job(zeta.tenant, zeta.id, "ann", None, now.minus(hour(2))).await.unwrap();
        tx.commit().await.unwrap();
        app.set_first_password("ann", "correct horse battery").await.unwrap();
        Self { app, router, alpha, dead, running: working.run.id, _folder: folder }
    }

    /// The cookie of a login, and the token that its forms hold.
    pub async fn log_in(&self) -> String {
        self.app.log_in("ann", "correct horse battery").await.unwrap()
    }

    /// A tenant with so many dead runs of one cause.
    pub async fn dies(&self, tenant: &str, runs: usize) {
        let (store, now) = (&self.app.store, self.app.now());
        let job = job(store, tenant, "drain-jobs", now).await;
        for _ in 0..runs {
            let run = claimed(store, &job, Cause::Manual, None, now).await;
            end(store, &run, Decision::End(Final::Dead(Reason::Permanent)), "400 bad", None, now).await;
        }
    }

    /// A batch of each operation, as the runner does it.
    pub async fn work(&self) {
        let mut tx = self.app.store.begin().await.unwrap();
        for operation in tx.open_operations().await.unwrap() {
            tx.work_on(&operation, self.app.now()).await.unwrap();
        }
        tx.commit().await.unwrap();
    }

    pub fn operator() -> Who {
        Who::server()
    }
}

async fn job(store: &Store, tenant: &str, name: &str, at: Timestamp) -> Job {
    let mut tx = store.begin().await.unwrap();
    let owner = Tenant {
        id: store.new_id(),
        name: tenant.into(),
        zone: chrono_tz::Tz::Europe__Berlin,
        weight: 1,
        labels: Default::default(),
        limits: TenantLimits { running: 4, ..TenantLimits::default() },
        retention: Default::default(),
        ceiling: Default::default(),
        alerts: Vec::new(),
        created_at: at,
        updated_at: at,
    };
    tx.put_tenant(&owner, at).await.unwrap();
    let spec: JobSpec = serde_json::from_value(json!({
        "name": name, "plugin": "mediawiki-jobs@1", "max_live": 0, "total_limit": "30m",
        "config": { "api": "http://127.0.0.1:8091/w/api.php", "note": HOSTILE },
        "triggers": [
            { "backlog": { "probe": "plugin", "every": "15s", "per_run": 500, "max_parallel": 1, "lag_limit": "180s" } },
            { "schedule": "30 2 * * *" },
        ],
        "grant": { "http": [{ "host": "http://127.0.0.1:8091", "methods": ["GET", "POST"] }],
                   "secrets": [{ "name": "wiki-key", "use": "sign", "algorithm": "hmac-sha1", "begins_with": "async=0&" }] },
    }))
    .unwrap();
    let job = tx.put_job(owner.id, &spec, "sha256:b1946ac92492d2347c6235b4d2611184", "ann", at).await.unwrap();
    let due = |spec: &TriggerSpec| match spec {
        TriggerSpec::Schedule(spec) => {
            Schedule::parse(&spec.schedule, owner.zone, Id(1)).ok()?.after(at.plus(Duration::from_secs(30 * 3600)))
        }
        _ => None,
    };
    tx.put_triggers(owner.id, job.id, &spec.triggers, at, due).await.unwrap();
    tx.commit().await.unwrap();
    job
}

async fn samples(store: &Store, job: &Job, now: Timestamp, size: impl Fn(u64) -> u64) {
    let mut tx = store.begin().await.unwrap();
    for step in 0..=96 {
        let at = now.minus(Duration::from_secs(900 * (96 - step)));
        tx.put_sample(job.tenant, job.id, &Sample { at, size: Some(size(step)), age_ms: None, error: None }).await.unwrap();
    }
    let mut probe = tx.probes_of(job.id).await.unwrap().remove(0);
    (probe.size, probe.sampled_at, probe.clear_at) =
        (Some(size(96)), Some(now.minus(Duration::from_secs(8))), Some(now.minus(Duration::from_secs(400))));
    tx.put_probe(&probe).await.unwrap();
    tx.commit().await.unwrap();
}

async fn claimed(store: &Store, job: &Job, cause: Cause, input: Option<Value>, at: Timestamp) -> Claimed {
    let run = NewRun {
        tenant: job.tenant,
        job: job.id,
        revision: job.revision,
        cause,
        input,
        due_at: None,
        start_by: None,
        parent: None,
        requested_by: (cause == Cause::Manual).then(|| "ann".into()),
        max_live: 0,
        idempotency: None,
    };
    let mut tx = store.begin().await.unwrap();
    tx.enqueue(&[vec![run]], at).await.unwrap().remove(0).remove(0).unwrap();
    tx.commit().await.unwrap();
    let mut tx = store.begin().await.unwrap();
    let lanes = vec![Lane { tenant: job.tenant, job: job.id, runs: 1, ..Lane::default() }];
    let claimed = tx.claim(&[Want { lanes }], at).await.unwrap().remove(0).runs.remove(0);
    tx.commit().await.unwrap();
    claimed
}

pub async fn end(store: &Store, claimed: &Claimed, decision: Decision, message: &str, counts: Option<Counts>, at: Timestamp) {
    let outcome = match decision {
        Decision::End(Final::Succeeded) | Decision::Outside => "succeeded",
        Decision::Again { .. } => "transient",
        Decision::End(_) => "permanent",
    };
    let finished = Finished {
        print: (outcome == "permanent").then(|| fingerprint(claimed.run.job, Reason::Permanent, message)),
        counts,
        output: (outcome == "succeeded").then(|| json!({ "done": 500 }).to_string()),
        ..Finished::new(claimed.run.clone(), decision, outcome, message)
    };
    let mut tx = store.begin().await.unwrap();
    tx.record(&[vec![finished]], at).await.unwrap();
    tx.commit().await.unwrap();
}

/// What a run that works leaves behind: log, calls, progress.
async fn writes(store: &Store, claimed: &Claimed, now: Timestamp) {
    let run = &claimed.run;
    let line = |level, message: &str, ago: u64| Line {
        at: now.minus(Duration::from_secs(ago)),
        level,
        message: message.into(),
        fields: vec![("type".into(), "refreshLinks".into())],
    };
    let lines = vec![
        line(Level::Info, "attempt 1, 214 jobs wait", 10),
        line(Level::Warn, "the wiki answered 503, asks for 5 s", 8),
        line(Level::Error, HOSTILE, 5),
        line(Level::Debug, "批量作业 done", 2),
    ];
    let call = Call {
        number: 0,
        at: now,
        method: "POST".into(),
        url: format!("http://127.0.0.1:8091/w/index.php?title={HOSTILE}"),
        status: Some(503),
        sent_bytes: 412,
        received_bytes: 18_204,
        duration_ms: 5010,
        error: None,
        waited_ms: 40,
        reused: true,
        secrets: vec!["wiki-key".into()],
    };
    let chunk =
        LogChunk { tenant: run.tenant, run: run.id, attempt: 1, seq: 0, first_line: 1, lines, dropped: 0, calls: vec![call] };
    let progress =
        Progress { done: 312, total: Some(500), message: "refreshLinks".into(), at: now.minus(Duration::from_secs(1)) };
    let mut tx = store.begin().await.unwrap();
    tx.append_logs(&[chunk]).await.unwrap();
    tx.put_progress(&[(run.tenant, run.id, progress)]).await.unwrap();
    tx.commit().await.unwrap();
}

/// One more line, and progress.
pub async fn more(store: &Store, tenant: Id, run: Id, now: Timestamp) {
    let lines = vec![Line { at: now, level: Level::Info, message: "one more line".into(), fields: Vec::new() }];
    let chunk = LogChunk { tenant, run, attempt: 1, seq: 1, first_line: 5, lines, dropped: 0, calls: Vec::new() };
    let progress = Progress { done: 400, total: Some(500), message: "refreshLinks".into(), at: now };
    let mut tx = store.begin().await.unwrap();
    tx.append_logs(&[chunk]).await.unwrap();
    tx.put_progress(&[(tenant, run, progress)]).await.unwrap();
    tx.commit().await.unwrap();
}
