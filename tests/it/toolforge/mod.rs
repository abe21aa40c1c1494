//! The shipped `toolforge-deploy` and the import, as their user has them: a real server, real guests, and a stand-in of the
//! jobs API that times out, answers late, and answers after having done the work.

mod converge;
mod stand_in;

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Server, wait};
use stand_in::{Fault, JobsApi};

/// Long enough for a machine that is busy with all other tests.
const SOON: Duration = Duration::from_secs(60);

struct Scene {
    server: Server,
    api: JobsApi,
    _dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { server: Server::start(&dir.path().join("data")), api: JobsApi::start(), _dir: dir }
    }

    /// A job `deploy` of these components, applied.
    fn apply(&self, components: &[String], more: &str) {
        let (api, origin) = (self.api.url(), self.api.origin());
        let components = components.join(", ");
        let text = format!(
            "tenant = \"gazette\"\n[ceiling]\nhosts = [\"{origin}\"]\nnetworks = [\"127.0.0.0/8\"]\n\
             [[job]]\nname = \"deploy\"\nplugin = \"toolforge-deploy@1\"\nitems = {{ order = \"strict\" }}\n\
             config = {{ api = \"{api}\", tool = \"gazette\", timeout = \"300ms\", components = [{components}] }}\n\
             retry = {{ attempts = 5, base = \"50ms\" }}\n{more}\n[job.grant]\n\
             http = [{{ host = \"{origin}\", methods = [\"GET\", \"POST\", \"PATCH\", \"DELETE\"] }}]\n"
        );
        std::fs::write(self.server.dir().join("gazette.toml"), text).unwrap();
        let applied = self.server.cli(&["apply", "gazette.toml"]);
        assert_eq!(applied.code, 0, "{applied:?}");
    }

    /// Runs the job to its end; answers the run.
    fn run(&self, job: &str) -> Value {
        let ended = self.server.cli(&["job", "run", &format!("gazette/{job}"), "--wait", "--timeout", "60s", "--json"]);
        serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"))
    }

    /// State and message of each item, in order.
    fn words(&self, run: &Value) -> Vec<(String, String)> {
        let items = self.server.api_get(&format!("tenants/gazette/runs/{}/items", run["id"].as_str().unwrap()));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        items["items"].as_array().unwrap().iter().map(|item| (text(&item["state"]), text(&item["message"]))).collect()
    }

    fn attempts(&self, run: &Value) -> Vec<(String, String)> {
        let run = self.server.api_get(&format!("tenants/gazette/runs/{}", run["id"].as_str().unwrap()));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        run["attempts"].as_array().unwrap().iter().rev().map(|one| (text(&one["outcome"]), text(&one["message"]))).collect()
    }
}

fn service(name: &str, more: &str) -> String {
    format!(
        "{{ name = \"{name}\", type = \"continuous\", command = \"serve {name}\", image = \"tool-gazette/{name}:latest\"{more} }}"
    )
}

fn services(n: usize) -> Vec<String> {
    (1..=n).map(|at| service(&format!("step-{at:02}"), "")).collect()
}

fn done(message: &str) -> (String, String) {
    ("done".to_owned(), message.to_owned())
}

#[test]
fn t1_a_deployment_whose_api_is_slow_twice_is_done_by_itself() {
    let scene = Scene::new();
    scene.apply(&services(3), "");
    for _ in 0..2 {
        scene.api.plan("PATCH", "step-02", Fault::Late(Duration::from_millis(700)));
    }
    let run = scene.run("deploy");
    assert_eq!((&run["state"], &run["attempt"], &run["failed"]), (&json!("succeeded"), &json!(3), &json!(2)), "{run}");
    let slow = format!("step-02: PATCH {}/tool/gazette/jobs/: no answer in time", scene.api.url());
    let attempts = scene.attempts(&run);
    assert_eq!(attempts[..2], [("transient".to_owned(), slow.clone()), ("transient".to_owned(), slow)]);
    assert_eq!(scene.words(&run)[0], done("created"));
    // What was done before is not done again, and what is done late is done once.
    let first = scene.api.came().iter().filter(|came| *came == "PATCH step-01").count();
    assert_eq!((first, scene.api.jobs().len()), (1, 3));
    let effects = scene.api.effects();
    assert_eq!(effects.iter().filter(|effect| *effect == "created step-02").count(), 1, "{effects:?}");
}

#[test]
fn t5_t6_what_follows_a_failed_component_is_skipped_and_made_up_for() {
    let scene = Scene::new();
    scene.apply(&services(17), "");
    scene.api.plan("PATCH", "step-09", Fault::Says(400, "", "the image tool-gazette/step-09:latest does not exist"));
    let run = scene.run("deploy");
    assert_eq!((&run["state"], &run["cause"], &run["attempt"]), (&json!("dead"), &json!("items_failed"), &json!(1)), "{run}");
    let words = scene.words(&run);
    assert!(words[..8].iter().all(|word| *word == done("created")), "{words:?}");
    let (state, says) = &words[8];
    assert!(state == "failed" && says.contains("HTTP 400: the image tool-gazette/step-09:latest does not exist"), "{words:?}");
    let skipped = ("skipped".to_owned(), "previous failure (step 9)".to_owned());
    assert!(words[9..].iter().all(|word| *word == skipped), "{words:?}");

    scene.api.came();
    let again = scene.server.json(&["run", "rerun", &format!("gazette/{}", run["id"].as_str().unwrap())]);
    let path = format!("tenants/gazette/runs/{}", again["id"].as_str().unwrap());
    let again = wait("it converges", SOON, || {
        Some(scene.server.api_get(&path)).filter(|run| !["waiting", "running"].contains(&run["state"].as_str().unwrap()))
    });
    assert_eq!(again["state"], "succeeded", "{again}");
    let came = scene.api.came();
    assert_eq!(came, (9..=17).map(|at| format!("PATCH step-{at:02}")).collect::<Vec<_>>(), "only what was not done");
    let words = scene.words(&again);
    assert!(words[..8].iter().all(|word| *word == done("already up to date")), "{words:?}");
    assert!(words[8..].iter().all(|word| *word == done("created")), "{words:?}");
}

/// A re-run carries what the run before had declared; what is deployed is what the configuration says by then.
#[test]
fn t6_a_rerun_deploys_what_the_configuration_says_now() {
    let scene = Scene::new();
    scene.apply(&services(3), "");
    scene.api.plan("PATCH", "step-02", Fault::Says(400, "", "the image tool-gazette/step-02:latest does not exist"));
    let run = scene.run("deploy");
    assert_eq!(&run["state"], &json!("dead"), "{run}");
    let mended = service("step-02", "").replace("step-02:latest", "step-02:mended");
    scene.apply(&[service("step-01", ""), mended, service("step-04", "")], "");
    let again = scene.server.json(&["run", "rerun", &format!("gazette/{}", run["id"].as_str().unwrap())]);
    let path = format!("tenants/gazette/runs/{}", again["id"].as_str().unwrap());
    let again = wait("it converges", SOON, || {
        Some(scene.server.api_get(&path)).filter(|run| !["waiting", "running"].contains(&run["state"].as_str().unwrap()))
    });
    assert_eq!(again["state"], "succeeded", "{again}");
    let gone = done("not in the configuration any more");
    assert_eq!(scene.words(&again), [done("already up to date"), done("created"), gone, done("created")]);
    let jobs = scene.api.jobs();
    assert_eq!(jobs.keys().collect::<Vec<_>>(), ["step-01", "step-02", "step-04"]);
    assert!(jobs["step-02"].to_string().contains("step-02:mended"), "{}", jobs["step-02"]);
}

#[test]
fn t8_an_update_that_was_done_and_not_told_has_one_effect() {
    let scene = Scene::new();
    scene.apply(&[service("web", "")], "");
    assert_eq!(scene.words(&scene.run("deploy")), [done("created")]);
    // With a key that it knows, and without.
    for (replicas, says) in [(2, "updated, restarted"), (3, "already up to date, restarted")] {
        scene.apply(&[service("web", &format!(", replicas = {replicas}"))], "");
        scene.api.effects();
        scene.api.plan("PATCH", "web", Fault::Done);
        let run = scene.run("deploy");
        assert_eq!((&run["state"], &run["attempt"]), (&json!("succeeded"), &json!(2)), "{run}");
        assert_eq!(scene.words(&run), [done(says)]);
        assert_eq!(scene.api.effects(), ["updated web", "restarted web"]);
        scene.api.forget_keys();
    }
    assert_eq!(scene.words(&scene.run("deploy")), [done("already up to date")], "and that is all");
    assert!(scene.api.effects().is_empty());
}

#[test]
fn t9_killed_between_delete_and_create_it_creates_and_claims_nothing_before() {
    let mut scene = Scene::new();
    scene.apply(&[service("web", "")], "");
    scene.run("deploy");
    let cron = "{ name = \"web\", type = \"scheduled\", schedule = \"5 * * * *\", command = \"serve web\", image = \"i\", replace = true }";
    scene.apply(&[cron.to_owned()], "");
    scene.api.effects();
    // It hangs there as long as it may, which is long enough to be killed.
    let config = std::fs::read_to_string(scene.server.dir().join("gazette.toml")).unwrap();
    std::fs::write(scene.server.dir().join("gazette.toml"), config.replace("300ms", "40s")).unwrap();
    assert_eq!(scene.server.cli(&["apply", "gazette.toml"]).code, 0);
    scene.api.plan("POST", "web", Fault::Deaf);
    let id = scene.server.enqueue("gazette", "deploy", "once").unwrap();
    wait("the old one is deleted and the new one asked for", SOON, || {
        scene.api.came().contains(&"POST web".to_owned()).then_some(())
    });
    let path = format!("tenants/gazette/runs/{id}");
    assert_eq!(scene.server.api_get(&path)["state"], "running");
    assert!(scene.api.jobs().is_empty(), "there is none now");
    scene.server.kill();
    scene.server.restart();
    let run = wait("the create follows", SOON, || {
        let run = scene.server.api_get(&path);
        let there = scene.api.jobs().contains_key("web");
        assert!(there || run["state"] != "succeeded", "claimed and not done: {run}");
        (run["state"] == "succeeded").then_some(run)
    });
    assert_eq!((&run["lost"], &run["failed"]), (&json!(1), &json!(0)), "{run}");
    assert_eq!(scene.words(&run), [done("replaced")]);
    assert_eq!(scene.api.effects(), ["deleted web", "created web"]);
}

#[test]
fn an_imported_job_starts_its_command_there_and_waits_for_its_end() {
    let scene = Scene::new();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/toolforge/components.yaml");
    let data = data.to_str().unwrap();
    let args = ["import", "toolforge", data, "--tenant", "gazette", "--api", &scene.api.url(), "--out", "gazette.toml"];
    let imported = scene.server.cli(&args);
    assert!(imported.code == 0 && imported.stdout.contains("not carried over:"), "{imported:?}");
    assert!(imported.stdout.contains("windlass apply --dry-run gazette.toml"), "{imported:?}");
    let again = scene.server.cli(&args);
    assert!(again.code == 2 && again.stderr.contains("exists"), "it is not written over: {again:?}");
    // A file that is printed is the same file.
    let printed = scene.server.cli(&args[..args.len() - 2]);
    let file = std::fs::read_to_string(scene.server.dir().join("gazette.toml")).unwrap();
    assert_eq!((printed.code, printed.stdout.trim_end()), (0, file.trim_end()));
    assert!(printed.stderr.contains("components.relay ("), "{printed:?}");
    let dry = scene.server.cli(&["apply", "--dry-run", "gazette.toml"]);
    assert!(dry.code == 0 && dry.stdout.contains("job gazette/mail-digest"), "{dry:?}");

    // The stand-in lives on a private address.
    let near = file
        .replace("[ceiling]\n", "[ceiling]\nnetworks = [\"127.0.0.0/8\"]\n")
        .replace("attempts = 3", "attempts = 3, base = \"50ms\"");
    std::fs::write(scene.server.dir().join("gazette.toml"), near).unwrap();
    assert_eq!(scene.server.cli(&["apply", "gazette.toml"]).code, 0);
    scene.api.plan("POST", "mail-digest", Fault::Says(503, "retry-after: 1\r\n", "down for a moment"));
    let run = scene.run("mail-digest");
    assert_eq!((&run["state"], &run["attempt"]), (&json!("succeeded"), &json!(1)), "{run}");
    assert_eq!(scene.words(&run), [done("completed: 'Completed'")]);
    assert_eq!(scene.api.effects(), ["created mail-digest", "deleted mail-digest"], "it is tidied away");

    // Its failure is the run's, which is tried again as often as Toolforge would have.
    scene.api.fail("mail-digest", true);
    let run = scene.run("mail-digest");
    assert_eq!((&run["state"], &run["failed"]), (&json!("dead"), &json!(3)), "{run}");
    let effects = scene.api.effects();
    assert_eq!(effects.iter().filter(|effect| *effect == "created mail-digest").count(), 3, "{effects:?}");
    // One that is deleted and still there is not taken for the one to come: nothing is created before it is gone.
    scene.api.came();
    scene.api.fail("mail-digest", false);
    scene.api.plan("DELETE", "mail-digest", Fault::Lingers(3));
    let again = scene.run("mail-digest");
    assert_eq!((&again["state"], &again["attempt"]), (&json!("succeeded"), &json!(1)), "{again}");
    assert_eq!(scene.api.effects(), ["deleted mail-digest", "created mail-digest", "deleted mail-digest"]);
    let came = scene.api.came();
    assert_eq!(came.iter().filter(|came| *came == "POST mail-digest").count(), 1, "none that was refused: {came:?}");
    let failed = "mail-digest: it failed: 'Failed'".to_owned();
    assert_eq!(scene.attempts(&run)[..2], [("transient".to_owned(), failed.clone()), ("transient".to_owned(), failed.clone())]);
    assert_eq!(scene.words(&run), [("failed".to_owned(), failed)]);
}
