//! A Windlass with one tenant, whose jobs have the triggers of the test.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Output, Server, wait};
use crate::service::tls;

/// Of a probe, and of what follows from it.
const SOON: Duration = Duration::from_secs(60);

pub struct Scene {
    pub server: Server,
    folder: TempDir,
    ceiling: String,
}

/// A job's name and its backlog trigger, without `{ }` and `every`.
pub type Job<'a> = (&'a str, String);

impl Scene {
    /// `kind`: the probe that the ceiling allows. `hosts`: where to.
    pub fn start(kind: &str, hosts: &[String]) -> Self {
        Self::start_with(kind, hosts, &[])
    }

    /// The same with settings of the server.
    pub fn start_with(kind: &str, hosts: &[String], env: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let roots = format!("[{:?}]", tls("ca.pem"));
        let env = [&[("WINDLASS_NETWORK__EXTRA_CA", roots.as_str())], env].concat();
        let server = Server::start_with(&folder.path().join("data"), &env);
        let ceiling = format!("[ceiling]\nhosts = {hosts:?}\nnetworks = [\"127.0.0.0/8\"]\nprobes = [{kind:?}]\n");
        let scene = Self { server, folder, ceiling };
        // The tenant is there before its secrets.
        scene.apply(&[]);
        scene
    }

    pub fn file(&self, jobs: &[Job<'_>]) -> PathBuf {
        let mut text = format!("tenant = \"probes\"\n\n{}", self.ceiling);
        for (name, trigger) in jobs {
            text += &format!(
                "\n[[job]]\nname = \"{name}\"\nplugin = \"noop@1\"\ntriggers = [{{ backlog = {{ every = \"1s\", {trigger} }} }}]\n"
            );
        }
        let file = self.folder.path().join("probes.toml");
        fs::write(&file, text).unwrap();
        file
    }

    pub fn apply(&self, jobs: &[Job<'_>]) {
        let file = self.file(jobs);
        self.server.json(&["apply", file.to_str().unwrap()]);
    }

    /// What the command line says to a file that is refused.
    pub fn refused(&self, jobs: &[Job<'_>]) -> String {
        let file = self.file(jobs);
        let Output { code, stdout, stderr } = self.server.cli(&["apply", file.to_str().unwrap()]);
        assert_eq!(code, 2, "{stdout} {stderr}");
        stderr + &stdout
    }

    pub fn secret(&self, name: &str, value: &str) {
        let set = self.server.cli_with(&["secret", "set", &format!("probes/{name}")], value.as_bytes());
        assert_eq!(set.code, 0, "{set:?}");
    }

    pub fn backlog(&self, job: &str) -> Value {
        let list = self.server.api_get("tenants/probes/backlogs");
        list["items"].as_array().unwrap().iter().find(|backlog| backlog["job"] == job).cloned().unwrap_or_default()
    }

    /// Waits until so much is measured and a run was made for it; shows both on the job's page.
    pub fn measures(&mut self, job: &str, size: u64) -> Value {
        let backlog = self.backlog_is(job, |backlog| backlog["size"] == size && backlog["error"].is_null());
        let of_backlog = |run: &Value| run["trigger"]["kind"] == "backlog" && run["trigger"]["size"] == size;
        wait(&format!("a run of {job}"), SOON, || self.runs(job).into_iter().find(of_backlog));
        self.page_says(job, &format!("<b>{size}</b> waiting"));
        backlog
    }

    /// Waits until its probe failed with these words: no size, and no run, and the page and the command line say why.
    pub fn fails(&mut self, job: &str, says: &str) {
        let backlog = self.backlog_is(job, |backlog| !backlog["error"].is_null());
        let error = backlog["error"].as_str().unwrap();
        assert!(error.contains(says), "{job}: {error}");
        assert!(backlog["size"].is_null(), "never zero: {backlog}");
        assert_eq!(self.runs(job), Vec::<Value>::new(), "{job}");
        self.page_says(job, "The last poll failed");
        let table = self.server.cli(&["backlog", "--tenant", "probes"]).stdout;
        let line = table.lines().find(|line| line.contains(&format!("probes/{job} "))).unwrap_or_default();
        assert!(line.contains('?'), "{table}");
    }

    /// Pages may be a moment behind.
    fn page_says(&mut self, job: &str, words: &str) {
        let path = format!("/t/probes/jobs/{job}");
        wait(&format!("{path} says {words}"), SOON, || self.server.page(&path).text.contains(words).then_some(()));
    }

    pub fn backlog_is(&self, job: &str, holds: impl Fn(&Value) -> bool) -> Value {
        wait(&format!("the backlog of {job}; now {}", self.backlog(job)), SOON, || Some(self.backlog(job)).filter(&holds))
    }

    fn runs(&self, job: &str) -> Vec<Value> {
        self.server.api_get(&format!("tenants/probes/runs?job={job}"))["items"].as_array().unwrap().clone()
    }
}
