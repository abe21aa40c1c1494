//! A server with one tenant for each wiki, set up as an operator would: files, secrets, `windlass apply`.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::farm::{PAGES, Wiki};
use crate::harness::{Server, wait};

/// How the wikis' jobs are set up.
#[derive(Clone, Copy)]
pub struct Setup {
    /// Between two polls.
    pub every: &'static str,
    /// Jobs of one request.
    pub batch: u64,
    pub schedule: Option<&'static str>,
}

/// Polls come thick, to keep the tests short; what each scenario promises is measured all the same.
pub const QUICK: Setup = Setup { every: "2s", batch: 500, schedule: None };
/// As in the documents.
pub const USUAL: Setup = Setup { every: "15s", ..QUICK };

pub struct Scene {
    pub server: Server,
    began: Instant,
    _folder: TempDir,
    tenants: PathBuf,
}

impl Scene {
    pub fn start() -> Self {
        let (folder, began) = (tempfile::tempdir().unwrap(), Instant::now());
        let tenants = folder.path().join("tenants");
        fs::create_dir(&tenants).unwrap();
        Self { server: Server::start(&folder.path().join("data")), began, _folder: folder, tenants }
    }

    /// A server whose jobs drain these wikis, with their right keys.
    pub fn draining(wikis: &[Wiki], setup: Setup) -> Self {
        let scene = Self::start();
        let keys: Vec<_> = wikis.iter().map(|wiki| (wiki, wiki.key.as_str())).collect();
        scene.apply(&keys, setup);
        scene
    }

    pub fn apply(&self, wikis: &[(&Wiki, &str)], setup: Setup) {
        for (wiki, _) in wikis {
            fs::write(self.tenants.join(format!("{}.toml", wiki.name)), tenant_file(wiki, setup)).unwrap();
        }
        self.server.json(&["apply", self.tenants.to_str().unwrap()]);
        // A tenant must be there before it can have a secret; its first poll may have been.
        wikis.iter().for_each(|(wiki, key)| self.set_key(wiki, key));
    }

    pub fn set_key(&self, wiki: &Wiki, key: &str) {
        let set = self.server.cli_with(&["secret", "set", &format!("{}/wiki-key", wiki.name)], key.as_bytes());
        assert_eq!(set.code, 0, "{set:?}");
    }

    /// Runs of a wiki, newest first.
    pub fn runs(&self, wiki: &Wiki) -> Vec<Run> {
        let list = self.server.json(&["run", "list", "--tenant", wiki.name, "-n", "200"]);
        serde_json::from_value(list["items"].clone()).unwrap()
    }

    /// What is known of a wiki's backlog, and how its job does.
    pub fn backlog(&self, wiki: &Wiki) -> Backlog {
        let list = self.server.json(&["backlog", "--tenant", wiki.name]);
        serde_json::from_value(list["items"][0].clone()).unwrap()
    }

    /// Waits until a backlog is as wanted.
    pub fn backlog_is(&self, wiki: &Wiki, what: &str, at_most: Duration, wanted: impl Fn(&Backlog) -> bool) -> Backlog {
        wait(&format!("{}: {what}", wiki.name), at_most, || {
            let backlog = self.backlog(wiki);
            wanted(&backlog).then_some(backlog)
        })
    }

    /// Waits until every queue is empty and readers see all pages in the category; answers how long that took from `since`.
    pub fn drained(&self, wikis: &[Wiki], category: &str, since: Instant, at_most: Duration) -> Duration {
        for wiki in wikis {
            wait(&format!("{}: queue 0, {} members of {category}", wiki.name, PAGES + 1), at_most, || {
                let queue = wiki.queue();
                (queue.ready + queue.claimed == 0 && wiki.visible(category) == PAGES + 1).then_some(())
            });
        }
        let took = since.elapsed();
        assert!(took <= at_most, "{took:?}");
        took
    }

    /// Since the server was started.
    pub fn began(&self) -> Instant {
        self.began
    }
}

#[derive(Debug, Clone, serde::Deserialize)]
pub struct Run {
    pub id: String,
    pub state: String,
    pub page_state: String,
    pub why: Option<String>,
    pub attempt: u32,
    pub failed: u32,
    pub lost: u32,
    pub snoozed: u32,
    pub cause: Option<String>,
    pub error: Option<String>,
    pub counts: Option<Counts>,
}

#[derive(Debug, Clone, Copy, serde::Deserialize)]
pub struct Counts {
    pub taken: u64,
    pub done: u64,
    pub failed: u64,
}

#[derive(Debug, Clone, serde::Deserialize)]
pub struct Backlog {
    /// `None`: never measured.
    pub size: Option<u64>,
    pub health: String,
    pub why: String,
    pub sampled_at: Option<String>,
    pub error: Option<String>,
}

fn tenant_file(wiki: &Wiki, setup: Setup) -> String {
    let (Wiki { name, origin, .. }, Setup { every, batch, schedule }) = (wiki, setup);
    let schedule = schedule.map(|line| format!("{{ schedule = \"{line}\" }},")).unwrap_or_default();
    format!(
        r#"tenant = "{name}"

[ceiling]
hosts = ["{origin}"]
networks = ["127.0.0.0/8"]

[[job]]
name = "drain-jobs"
plugin = "mediawiki-jobs"
config = {{ api = "{origin}/w/api.php", index = "{origin}/w/index.php", batch = {batch} }}
time_limit = "60s"
triggers = [
  {{ backlog = {{ probe = "plugin", every = "{every}", per_run = 500, lag_limit = "180s" }} }},
  {schedule}
]

[job.grant]
http = [{{ host = "{origin}", methods = ["GET", "POST"] }}]
secrets = [{{ name = "wiki-key", use = "sign", algorithm = "hmac-sha1", begins_with = "async=0&maxjobs=" }}]
"#
    )
}
