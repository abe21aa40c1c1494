use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::config::{Mail, Network, Settings};
use crate::domain::attempt::Outcome as Attempted;
use crate::domain::backlog::Measurement;
use crate::domain::plugin::Plugin;
use crate::domain::run::NewRun;
use crate::domain::trigger::Cause;
use crate::objects::Objects;
use crate::plugin::{Answer, Executor, Sandbox, Work};
use crate::span::Size;
use crate::store::plugin::SERVER;
use crate::store::{Database, Store};
use crate::vault::Vault;

use crate::app::tenant_file::tests::GOOD as FILE;

/// Has every plugin, and something against a configuration with `bad` in it.
struct Judge;

impl Executor for Judge {
    fn execute(&self, _: Work) -> Answer<Attempted> {
        Box::pin(std::future::ready(Attempted::Cancelled))
    }

    fn measure(&self, _: Work) -> Answer<Result<Measurement, String>> {
        Box::pin(std::future::ready(Err("nothing is measured here".into())))
    }

    fn check(&self, _: &str, config: String) -> Answer<Result<(), Vec<Problem>>> {
        let bad = config.contains("\"bad\"");
        Box::pin(std::future::ready(if bad { Err(vec![Problem::new("bad", "there is no such key; write api")]) } else { Ok(()) }))
    }

    fn has(&self, _: &str) -> bool {
        true
    }
}

/// An application with a store, a clock by hand, and two plugins that have no bytes.
pub(in crate::app) struct Place {
    pub app: App,
    clock: ManualClock,
    /// Its threads run what the catalog asks of plugins.
    _sandbox: Sandbox,
    _dir: tempfile::TempDir,
}

impl Place {
    pub async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    async fn with(mut settings: Settings) -> Self {
        let mail = || Mail { smtp: "smtp://127.0.0.1:25".into(), from: "windlass@example.org".into() };
        settings.mail.get_or_insert_with(mail);
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp(1_795_327_200_000));
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let store = Store::open(Database::Sqlite(dir.path().join("windlass.db")), shared.clone()).await.unwrap();
        let sandbox = Sandbox::new(crate::plugin::Settings {
            threads: 1,
            runs: 1,
            data_dir: dir.path().to_owned(),
            compiler: crate::plugin::Compiler::Here,
            egress: crate::egress::Egress::of(&crate::config::Settings::default(), Vec::new(), shared.clone()).unwrap(),
            clock: shared.clone(),
        })
        .unwrap();
        let app = App {
            store,
            executor: Arc::new(Judge),
            catalog: sandbox.catalog().clone(),
            clock: shared,
            settings: Arc::new(settings),
            vault: Arc::new(Vault::open(&dir.path().join("key"), None).unwrap()),
            objects: Objects::in_folder(dir.path().join("artifacts")).unwrap(),
        };
        let place = Self { app, clock, _sandbox: sandbox, _dir: dir };
        place
            .plugin(
                "mediawiki-jobs",
                "1.4.2",
                &["http", "log", "sign"],
                &["windlass:plugin/job@1.0.0", "windlass:plugin/backlog@1.0.0"],
            )
            .await;
        place.plugin("noop", "1.0.0", &[], &["windlass:plugin/job@1.0.0"]).await;
        place
    }

    pub(in crate::app) async fn plugin(&self, name: &str, version: &str, wants: &[&str], exports: &[&str]) {
        let plugin = Plugin {
            name: name.into(),
            version: version.into(),
            digest: format!("sha256:{name}-{version}"),
            tenant: SERVER,
            bytes: 1,
            exports: exports.iter().map(|name| (*name).to_owned()).collect(),
            imports: Vec::new(),
            description: json!({ "wants": wants }),
            pushed_at: self.app.now(),
            pushed_by: "test".into(),
            signature: None,
        };
        let mut tx = self.app.store.begin().await.unwrap();
        assert!(tx.put_plugin(&plugin, vec![0]).await.unwrap());
        tx.commit().await.unwrap();
    }

    async fn apply_as(&self, text: &str, who: &Who) -> Result<Vec<String>> {
        let source = Source { path: "alpha.toml".into(), text: text.into() };
        Ok(self.app.apply(vec![source], false, who).await?.iter().map(ToString::to_string).collect())
    }

    async fn apply(&self, text: &str) -> Result<Vec<String>> {
        self.apply_as(text, &Who::server()).await
    }

    /// The problems of the documented file with one text in it replaced.
    async fn refused(&self, good: &str, bad: &str) -> Vec<String> {
        assert!(FILE.contains(good), "{good}");
        let wrong = self.apply(&FILE.replacen(good, bad, 1)).await.unwrap_err();
        wrong.to_string().lines().map(str::to_owned).collect()
    }

    async fn jobs(&self) -> HashMap<String, Job> {
        let jobs = self.app.store.read().await.unwrap().jobs().await.unwrap();
        jobs.into_iter().map(|job| (job.spec.name.clone(), job)).collect()
    }
}

fn line_of(text: &str) -> usize {
    FILE.lines().position(|line| line.contains(text)).unwrap() + 1
}

const UP_TO_DATE: [&str; 3] =
    ["tenant alpha: already up to date", "job alpha/drain-jobs: already up to date", "job alpha/nightly: already up to date"];

#[tokio::test]
async fn a_file_makes_a_tenant_once_and_again_nothing() {
    let place = Place::new().await;
    let first = place.apply(FILE).await.unwrap();
    assert_eq!(first, ["tenant alpha: created", "job alpha/drain-jobs: created", "job alpha/nightly: created"]);
    let made = place.jobs().await;
    assert_eq!(made["drain-jobs"].digest, "sha256:mediawiki-jobs-1.4.2");
    let commits = *place.app.store.signals().changes().borrow();
    place.clock.advance(Duration::from_secs(60));
    assert_eq!(place.apply(FILE).await.unwrap(), UP_TO_DATE);
    assert_eq!(place.jobs().await, made, "no new revision");
    assert_eq!(*place.app.store.signals().changes().borrow(), commits, "nothing was written");
    let reordered = FILE.replace(
        "api = \"http://127.0.0.1:8091/w/api.php\", index = \"http://127.0.0.1:8091/w/index.php\"",
        "index = \"http://127.0.0.1:8091/w/index.php\", api = \"http://127.0.0.1:8091/w/api.php\"",
    );
    assert_eq!(place.apply(&reordered).await.unwrap(), UP_TO_DATE, "the order of keys is no change");
}

#[tokio::test]
async fn new_schedules_know_when_they_are_due_and_standing_triggers_stay() {
    let place = Place::new().await;
    place.apply(FILE).await.unwrap();
    let job = place.jobs().await.remove("drain-jobs").unwrap();
    let mut tx = place.app.store.read().await.unwrap();
    let before = tx.triggers_of(job.id).await.unwrap();
    // 2026-11-22 06:00 in UTC is 07:00 in Berlin; ~ 3 is a minute after 3 that the job decides.
    let next = tx.next_due().await.unwrap().unwrap();
    assert_eq!(next.rfc3339(), "2026-11-23T01:30:00.000Z");
    drop(tx);
    let changed =
        place.apply(&FILE.replace("every = \"15s\"", "every = \"20s\"").replace("weight = 1 ", "weight = 3 ")).await.unwrap();
    assert_eq!(changed[..2], ["tenant alpha: updated (weight)", "job alpha/drain-jobs: updated (triggers[0].backlog.every)"]);
    let after = place.app.store.read().await.unwrap().triggers_of(job.id).await.unwrap();
    assert_eq!(after[0].id, before[0].id, "one that was changed is still the same");
    assert_ne!(after[0].spec, before[0].spec);
    assert_eq!(after[1], before[1], "the schedule keeps its id and what it knows");
}

#[tokio::test]
async fn another_zone_of_the_tenant_moves_its_schedules() {
    let place = Place::new().await;
    place.apply(FILE).await.unwrap();
    let changed = place.apply(&FILE.replace("zone = \"Europe/Berlin\"", "zone = \"UTC\"")).await.unwrap();
    let expected = [
        "tenant alpha: updated (zone)",
        "job alpha/drain-jobs: updated (triggers[1].zone)",
        "job alpha/nightly: updated (triggers[0].zone)",
    ];
    assert_eq!(changed, expected);
    let next = place.app.store.read().await.unwrap().next_due().await.unwrap().unwrap();
    assert_eq!(next.rfc3339(), "2026-11-23T02:30:00.000Z");
}

#[tokio::test]
async fn a_newer_plugin_is_an_update_of_jobs_that_ask_for_its_line() {
    let place = Place::new().await;
    place.apply(FILE).await.unwrap();
    place
        .plugin("mediawiki-jobs", "1.5.0", &["http", "sign"], &["windlass:plugin/job@1.0.0", "windlass:plugin/backlog@1.0.0"])
        .await;
    assert_eq!(place.apply(FILE).await.unwrap()[1], "job alpha/drain-jobs: updated (plugin)");
    assert_eq!(place.jobs().await["drain-jobs"].digest, "sha256:mediawiki-jobs-1.5.0");
    assert_eq!(place.apply(FILE).await.unwrap(), UP_TO_DATE);
}

#[tokio::test]
async fn a_job_that_the_file_does_not_name_any_more_is_removed_and_its_waiting_runs_cancelled() {
    let place = Place::new().await;
    place.apply(FILE).await.unwrap();
    let job = place.jobs().await.remove("nightly").unwrap();
    let run = place
        .app
        .run_now("alpha", "nightly", crate::app::enqueue::Request::default(), Cause::Manual, &Who::server())
        .await
        .unwrap();
    let cut = FILE.find("[[job]]\nname = \"nightly\"").unwrap();
    assert_eq!(place.apply(&FILE[..cut]).await.unwrap(), [UP_TO_DATE[0], UP_TO_DATE[1], "job alpha/nightly: removed"]);
    assert!(!place.jobs().await.contains_key("nightly"));
    let mut tx = place.app.store.read().await.unwrap();
    assert_eq!(tx.need_run(job.tenant, run.id()).await.unwrap().state.word(), "cancelled");
    drop(tx);
    assert_eq!(place.apply(FILE).await.unwrap()[2], "job alpha/nightly: created");
    assert_eq!(place.jobs().await["nightly"].id, job.id, "its history is its own again");
}

#[tokio::test]
async fn a_dry_run_answers_the_same_and_changes_nothing() {
    let place = Place::new().await;
    let source = Source { path: "alpha.toml".into(), text: FILE.into() };
    let changes = place.app.apply(vec![source], true, &Who::server()).await.unwrap();
    assert!(changes.iter().all(|change| change.result == Outcome::Created));
    assert!(place.jobs().await.is_empty());
}

#[tokio::test]
async fn nothing_changes_when_one_of_the_files_is_refused() {
    let place = Place::new().await;
    let sources = [("a.toml", FILE), ("b.toml", "tenant = \"b\"\nlimit = 1\n"), ("c.toml", "\ntenant = \"alpha\"\n")];
    let sources = sources.map(|(path, text)| Source { path: path.into(), text: text.into() }).to_vec();
    let wrong = place.app.apply(sources, false, &Who::server()).await.unwrap_err().to_string();
    assert!(wrong.contains("b.toml:2: limit: there is no such key (did you mean \"limits\"?)"), "{wrong}");
    assert!(wrong.contains("c.toml:2: tenant: \"alpha\" stands in a.toml already; a tenant has one file"), "{wrong}");
    assert!(place.jobs().await.is_empty());
}

#[tokio::test]
async fn what_was_not_granted_is_refused() {
    let place = Place::new().await;
    let line = line_of("http = [{ host");
    let wrong = place.refused("http = [{ host = \"http://127.0.0.1:8091\"", "http = [{ host = \"http://10.0.0.1\"").await;
    let says =
        "http://10.0.0.1 is not within the tenant's ceiling; a server admin may add it: [ceiling] hosts = [\"http://10.0.0.1\"]";
    assert_eq!(wrong, [format!("alpha.toml:{line}: job[0].grant.http[0].host: {says}")]);
    for (good, bad, says) in [
        ("memory = \"64 MiB\"", "memory = \"1 GiB\"", "job[0].grant.memory: 1.0 GiB is above the tenant's ceiling of 256.0 MiB"),
        (
            "probes = [\"plugin\"]",
            "probes = [\"http\"]",
            "job[0].triggers[0].backlog.probe: probes of the kind \"plugin\" are not within the tenant's ceiling",
        ),
        (
            "http = [{ host = \"http://127.0.0.1:8091\", methods = [\"GET\", \"POST\"] }]",
            "",
            "job[0].grant.http: mediawiki-jobs 1.4.2 asks for \"http\" and the job grants none",
        ),
        (
            "mediawiki-jobs@1\"",
            "mediawiki-jobs@2\"",
            "job[0].plugin: there is no mediawiki-jobs@2; of this plugin there are 1.4.2",
        ),
        (
            "mediawiki-jobs@1\"",
            "mediawiki-job\"",
            "job[0].plugin: there is no plugin mediawiki-job (did you mean \"mediawiki-jobs\"?); push it: windlass plugin push FILE",
        ),
        (
            "mediawiki-jobs@1\"",
            "noop\"",
            "job[0].triggers[0].backlog.probe: noop 1.0.0 has no backlog export and cannot measure one",
        ),
        ("outside = false", "outside = true", "job[0].items.outside: mediawiki-jobs 1.4.2 declares no items"),
        ("parallel = 1", "parallel = 4", "job[0].items.parallel: mediawiki-jobs 1.4.2 declares no items"),
        ("chunk = 10, outside = false", "chunk = 0, outside = false", "job[0].items.chunk: 0 is not possible; write 1 to 1000"),
        (
            "parallel = 1, chunk = 10, outside = false",
            "parallel = 2, outside = true",
            "job[0].items.parallel: 2 guests at a time and outside = true do not go together",
        ),
        ("max_deliver = 2", "max_deliver = 0", "job[0].items.max_deliver: 0 is not possible; write 1 to 100"),
        (
            "order = \"any\", parallel = 1, chunk = 10, outside = false",
            "order = \"strict\", outside = true",
            "job[0].items.outside: workers outside take several",
        ),
        ("batch = 500", "bad = 1", "job[0].config.bad: there is no such key; write api"),
    ] {
        let wrong = place.refused(good, bad).await;
        assert!(wrong.iter().any(|wrong| wrong.starts_with("alpha.toml:") && wrong.contains(says)), "{bad}: {wrong:#?}");
    }
    assert!(place.jobs().await.is_empty(), "nothing was changed");
}

#[tokio::test]
async fn a_tenants_admin_stays_inside_the_ceiling_and_the_tenant() {
    let place = Place::new().await;
    place.apply(FILE).await.unwrap();
    let tenant = place.app.store.read().await.unwrap().need_tenant("alpha").await.unwrap().id;
    let who = Who { name: "ada".into(), role: Role::Admin, tenant: Some(tenant) };
    assert_eq!(place.apply_as(FILE, &who).await.unwrap(), UP_TO_DATE, "an unchanged ceiling may stand in the file");
    let wrong = place.apply_as(&FILE.replace("256 MiB", "1 GiB"), &who).await.unwrap_err().to_string();
    assert_eq!(
        wrong,
        format!(
            "alpha.toml:{}: ceiling: only a server admin may change this; leave it as it is, or ask one to apply this file",
            line_of("[ceiling]")
        )
    );
    assert!(
        place
            .apply_as(&FILE.replace("weight = 1 ", "weight = 9 "), &who)
            .await
            .unwrap_err()
            .to_string()
            .contains(": weight: only a server admin")
    );
    assert!(matches!(place.apply_as("tenant = \"beta\"\n", &who).await, Err(Error::NotFound(_))));
    let operator = Who { role: Role::Operator, ..who };
    assert!(matches!(place.apply_as(FILE, &operator).await, Err(Error::Forbidden(_))));
}

#[tokio::test]
async fn the_server_bounds_the_networks_of_ceilings() {
    let allow = Some(vec!["10.20.0.0/16".parse().unwrap()]);
    let place = Place::with(Settings { network: Network { allow, ..Network::default() }, ..Settings::default() }).await;
    let wrong = place.apply(FILE).await.unwrap_err().to_string();
    assert!(wrong.contains(": ceiling.networks[0]: 127.0.0.0/8 is not among the networks that this server may reach"), "{wrong}");
    place.apply(&FILE.replace("127.0.0.0/8", "10.20.30.0/24")).await.unwrap();
}

#[tokio::test]
async fn what_could_never_fit_into_the_nodes_memory_is_refused() {
    let mut settings = Settings::default();
    settings.worker.memory_budget = Some(Size::mib(128));
    let place = Place::with(settings).await;
    let wrong = place.apply(&FILE.replace("memory = \"64 MiB\"", "memory = \"129 MiB\"")).await.unwrap_err().to_string();
    let says =
        "job[0].grant.memory: 129.0 MiB is above worker.memory_budget of windlass.toml, 128.0 MiB, and no run could ever start";
    assert!(wrong.contains(says), "{wrong}");
    place.apply(&FILE.replace("memory = \"64 MiB\"", "memory = \"128 MiB\"")).await.unwrap();
}

#[tokio::test]
async fn a_job_with_very_many_unfinished_runs_is_not_removed() {
    let place = Place::new().await;
    place.apply(&FILE.replace("name = \"nightly\"", "name = \"nightly\"\nmax_live = 0")).await.unwrap();
    let job = place.jobs().await.remove("nightly").unwrap();
    let run = || NewRun {
        tenant: job.tenant,
        job: job.id,
        revision: job.revision,
        cause: Cause::Api,
        input: None,
        due_at: None,
        start_by: None,
        parent: None,
        requested_by: None,
        max_live: 0,
        idempotency: None,
    };
    place.app.store.enqueue((0..=REMOVE_LIMIT).map(|_| run()).collect()).await.unwrap();
    let cut = FILE.find("[[job]]\nname = \"nightly\"").unwrap();
    let wrong = place.apply(&FILE[..cut]).await.unwrap_err().to_string();
    assert!(wrong.contains(": job: no file names the job nightly any more, which has more than 1000 unfinished runs"), "{wrong}");
    assert!(place.jobs().await.contains_key("nightly"));
}

#[tokio::test]
async fn an_alert_goes_only_where_the_ceiling_and_the_server_let_it() {
    let place = Place::new().await;
    let outside = FILE.replace("https://chat.example.org/hook", "https://chat.example.com/hook");
    let wrong = place.apply(&outside).await.unwrap_err().to_string();
    let says = "alert[0].webhook: https://chat.example.com is not within the tenant's ceiling; a server admin may add it: [ceiling] hosts = [\"https://chat.example.com\"]";
    assert!(wrong.contains(says), "{wrong}");
    let mut bare = place;
    bare.app.settings = Arc::new(Settings::default());
    let wrong = bare.apply(FILE).await.unwrap_err().to_string();
    assert!(wrong.contains("alert[1].mail: this server has no way for mail; windlass.toml may add it: mail = {"), "{wrong}");
}

#[tokio::test]
async fn artifacts_are_granted_of_jobs_that_the_file_has() {
    let place = Place::new().await;
    let wrong = place.apply(&FILE.replace("read = [\"nightly\"]", "read = [\"nightli\"]")).await.unwrap_err().to_string();
    assert!(wrong.contains("job[0].grant.artifacts.read[0]: there is no job \"nightli\" in this file"), "{wrong}");
}
