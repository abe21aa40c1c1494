//! Desired state in files: what differs, what nobody names any more, and files that are watched.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::json;

use super::{as_holder, windlass};
use crate::api::world::Served;
use crate::harness::{Server, command, wait};
use windlass::clock::Clock;
use windlass::domain::attempt::{Class, Outcome};
use windlass::domain::member::Role;

const SOON: Duration = Duration::from_secs(30);

fn text(tenant: &str, farm: &str, more: &str) -> String {
    format!("tenant = \"{tenant}\"\nlabels = {{ farm = \"{farm}\" }}\n[[job]]\nname = \"haul\"\nplugin = \"noop\"\n{more}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_each_value_as_it_was_and_as_it_would_be() {
    let served = Served::new().await;
    served.app.push_embedded().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gamma.toml");
    let path = file.to_str().unwrap();
    let apply = async |args: &[&str]| as_holder(&served, &served.admin, &[&["apply", path], args].concat(), "").await;
    std::fs::write(&file, text("gamma", "a", "total_limit = \"1h\"\n")).unwrap();
    assert_eq!(apply(&[]).await.code, 0);
    std::fs::write(&file, text("gamma", "b", "time_limit = \"90s\"\nconfig = { n = [1] }\n")).unwrap();
    let dry = apply(&["--dry-run"]).await;
    let right = "updated             tenant gamma\n\
                 \x20                   labels.farm: \"a\" → \"b\"\n\
                 updated             job gamma/haul\n\
                 \x20                   config.n: none → [1]\n\
                 \x20                   time_limit: \"1m\" → \"1m 30s\"\n\
                 \x20                   total_limit: \"1h\" → none\n\
                 nothing was changed: --dry-run\n";
    assert_eq!((dry.code, dry.out.as_str()), (0, right), "{}", dry.err);
    let told: serde_json::Value = serde_json::from_str(&apply(&["--json"]).await.out).unwrap();
    assert_eq!(told["changes"][0]["what"], json!(["labels.farm"]));
    assert_eq!(told["changes"][0]["diff"], json!([{ "key": "labels.farm", "old": "a", "new": "b" }]));
    assert!(
        apply(&["--dry-run"]).await.out.starts_with("already up to date  tenant gamma\nalready up to date  job gamma/haul\n")
    );

    let shown = as_holder(&served, &served.admin, &["job", "show", "gamma/haul", "--effective"], "").await;
    let line = |what: &str| {
        shown.out.lines().find(|line| line.starts_with(what)).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("Time limit"), "Time limit 1 min 30 s an attempt job");
    assert_eq!(line("Attempts"), "Attempts 5 server default");
    assert_eq!(line("ceiling.memory"), "ceiling.memory 64 MiB server default");
    assert_eq!(line("open_requests"), "open_requests 16 server default");
    let shown = as_holder(&served, &served.admin, &["job", "show", "gamma/haul", "--effective", "--json"], "").await;
    let shown: serde_json::Value = serde_json::from_str(&shown.out).unwrap();
    assert!(shown.as_array().unwrap().contains(&json!({ "what": "Weight", "value": "1", "from": "server default" })), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn w13_a_pruned_tenant_loses_its_jobs_and_keeps_its_history() {
    let served = Served::new().await;
    served.app.push_embedded().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (tenant, farm) in [("one", "wbaas"), ("two", "wbaas"), ("three", "other")] {
        std::fs::write(dir.path().join(format!("{tenant}.toml")), text(tenant, farm, "")).unwrap();
    }
    let folder = dir.path().to_str().unwrap();
    let as_admin = async |args: &[&str]| as_holder(&served, &served.admin, args, "").await;
    assert_eq!(as_admin(&["apply", folder]).await.code, 0);
    let runner = served.world.start().await;
    assert_eq!(as_admin(&["job", "run", "two/haul", "--wait"]).await.code, 0);
    runner.drain().await;
    for gone in ["two", "three"] {
        std::fs::remove_file(dir.path().join(format!("{gone}.toml"))).unwrap();
    }
    let prune = ["apply", folder, "--prune", "--label", "farm=wbaas"];
    let right = "already up to date  tenant one\nalready up to date  job one/haul\nremoved             job two/haul\n";
    let dry = as_admin(&[&prune[..], &["--dry-run"]].concat()).await;
    assert_eq!(dry.out, format!("{right}nothing was changed: --dry-run\n"), "{}", dry.err);
    let pruned = as_admin(&prune).await;
    assert_eq!((pruned.code, pruned.out.as_str()), (0, right));
    let again = as_admin(&prune).await;
    assert!(!again.out.contains("removed"), "{}", again.out);
    let jobs = as_admin(&["job", "list"]).await.out;
    assert!(jobs.contains("one/haul") && jobs.contains("three/haul") && !jobs.contains("two/haul"), "{jobs}");
    let runs = as_admin(&["run", "list", "--tenant", "two"]).await;
    assert!(runs.code == 0 && runs.out.contains("succeeded"), "its history can be read: {}", runs.out);

    // Without a label it would be everybody; two of one name are nobody; and a tenant's own admin sees no other.
    for wrong in [
        &["apply", folder, "--prune"][..],
        &["apply", folder, "--label", "farm=wbaas"],
        &["apply", folder, "--prune", "--label", "farm"],
    ] {
        assert_eq!(windlass(wrong, None, "").code, 2, "{wrong:?}");
    }
    let both = as_admin(&[&prune[..], &["--label", "farm=other"]].concat()).await;
    assert!(both.code == 2 && both.err.contains("farm=wbaas and --label farm=other"), "{}", both.err);
    let own = served.token(Role::Admin, Some("one")).await;
    let refused =
        as_holder(&served, &own, &["apply", &format!("{folder}/one.toml"), "--prune", "--label", "farm=other"], "").await;
    assert!(refused.code == 3 && refused.err.contains("pruning belongs to the whole server"), "{}", refused.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn w13_a_tenant_that_is_renamed_goes_on_under_its_new_name_and_leaves_its_dead_runs() {
    let served = Served::new().await;
    served.app.push_embedded().await.unwrap();
    let world = &served.world;
    world.guests.script("haul", |_| std::future::ready(Outcome::failed(Class::Permanent, "400 bad")));
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(format!("{name}.toml"));
    let polled = "[[job.triggers]]\nschedule = \"* * * * *\"\n";
    std::fs::write(file("old"), text("old", "wbaas", "") + polled).unwrap();
    let prune = ["apply", dir.path().to_str().unwrap(), "--prune", "--label", "farm=wbaas"];
    let as_admin = async |args: &[&str]| as_holder(&served, &served.admin, args, "").await;
    let applied = as_admin(&prune).await;
    assert_eq!(applied.code, 0, "{}", applied.err);
    let runner = world.start().await;
    let runs = async |tenant: &str, state: &str| {
        served.get(&format!("tenants/{tenant}/runs?state={state}")).await.body["items"].as_array().map_or(0, Vec::len)
    };
    let second = std::time::Duration::from_secs(1);
    world.until("the old one has a dead run", second * 5, async || (runs("old", "dead").await > 0).then_some(())).await;
    std::fs::remove_file(file("old")).unwrap();
    std::fs::write(file("new"), text("new", "wbaas", "") + polled).unwrap();
    let applied = as_admin(&prune).await;
    assert!(applied.code == 0 && applied.out.contains("removed") && applied.out.contains("job old/haul"), "{}", applied.out);
    let changed = world.clock.now();
    let all = async |tenant: &str| served.get(&format!("tenants/{tenant}/runs")).await.body["count"]["value"].as_u64().unwrap();
    let before = all("old").await;
    world.until("the new one runs", second, async || (all("new").await > 0).then_some(())).await;
    let times = served.get("tenants/new/jobs/haul/occurrences").await.body;
    let first = times["items"].as_array().unwrap().last().unwrap()["due_at"].as_str().unwrap().to_owned();
    assert!(first <= changed.plus(second * 60).rfc3339(), "within an interval: {first}");
    for _ in 0..30 {
        world.clock.advance(second * 10);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(all("old").await, before, "nobody calls the old one");
    assert!(served.get("tenants/old/dead").await.body["count"]["value"].as_u64().unwrap() > 0, "its dead runs can be read");
    runner.drain().await;
}

/// `windlass apply --watch`, what it has said so far, and its end.
struct Watcher {
    child: Child,
    said: std::path::PathBuf,
}

impl Watcher {
    fn start(server: &Server, folder: &Path) -> Self {
        let said = server.dir().join("watcher.log");
        let log = std::fs::File::create(&said).unwrap();
        let mut command = command(server.dir());
        command.args(["apply", "--watch", "--prune", "--label", "farm=a"]).arg(folder);
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Self { child, said }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap()
    }

    fn says(&self, words: &str) {
        wait(words, SOON, || self.said().contains(words).then_some(()));
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("---- the watcher said\n{}\n----", self.said());
        }
    }
}

#[test]
fn a_watched_folder_is_what_the_server_does_whatever_happens() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(&dir.path().join("data"));
    let folder = dir.path().join("tenants");
    std::fs::create_dir(&folder).unwrap();
    let write =
        |tenant: &str, more: &str| std::fs::write(folder.join(format!("{tenant}.toml")), text(tenant, "a", more)).unwrap();
    write("acme", "");
    write("bolt", "");
    let watcher = Watcher::start(&server, &folder);
    watcher.says("created             job acme/haul");

    // What is refused is said once, and the old state stands.
    write("acme", "time_limt = \"2m\"\n");
    watcher.says("time_limt: there is no such key (did you mean \"time_limit\"?)");
    assert_eq!(server.json(&["job", "show", "acme/haul"])["spec"]["time_limit"], "1m");
    write("acme", "time_limit = \"2m\"\n");
    watcher.says("time_limit: \"1m\" → \"2m\"");
    assert_eq!(watcher.said().matches("there is no such key").count(), 1);

    // A server that is away is waited for, also at another address.
    server.kill();
    write("acme", "time_limit = \"3m\"\n");
    watcher.says("nothing was changed; the files are watched on");
    server.restart();
    watcher.says("time_limit: \"2m\" → \"3m\"");

    std::fs::remove_file(folder.join("bolt.toml")).unwrap();
    watcher.says("removed             job bolt/haul");
    let jobs = server.json(&["job", "list"]);
    assert_eq!(jobs["items"].as_array().unwrap().len(), 1, "{jobs}");
}
