//! A small cluster under load: nodes, the database they share, the witness, and the account at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Server, wait};
use crate::postgres::Cluster;
use crate::witness::{Effect, Witness};

/// How long the work of a run takes.
const WORK_MS: u64 = 300;
/// Items of a run of the other job.
pub const IMAGES: usize = 16;
/// Until every accepted run is over, after the last blow.
const PATIENCE: Duration = Duration::from_secs(90);

/// Which database, and how many nodes share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One node, one file.
    Sqlite,
    /// Two nodes.
    Postgres,
}

pub struct Scene {
    pub nodes: Vec<Server>,
    pub cluster: Option<Cluster>,
    /// Of the shared database; empty on SQLite.
    pub url: String,
    pub witness: Witness,
    /// Accepted runs.
    accepted: Vec<String>,
    keys: u64,
    _folder: TempDir,
}

/// What is true in the end. The last three must be 0.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Account {
    pub runs: usize,
    /// Beginnings of work that the witness heard of.
    pub executions: usize,
    /// Attempts that were claimed and hit before the guest's first word.
    pub never_begun: usize,
    /// Accepted, and not succeeded with its effect at the target.
    pub lost: usize,
    pub recorded_twice: usize,
    /// Executions that no lost or handed back attempt explains, and effects of an attempt after its successor began.
    pub unexplained: usize,
}

impl Account {
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.recorded_twice == 0 && self.unexplained == 0
    }
}

impl Scene {
    /// `env` is for every node, beside the database and the key that they share.
    pub fn new(kind: Kind, env: &[(&str, &str)]) -> Self {
        Self::through(kind, env, &[], |url| url.to_owned())
    }

    /// One node whose file lies in this folder.
    pub fn on(disk: &Path, env: &[(&str, &str)]) -> Self {
        let nodes = vec![Server::start_with(&disk.join("one"), env)];
        let folder = tempfile::tempdir().expect("a temporary folder");
        let scene = Self {
            nodes,
            cluster: None,
            url: String::new(),
            witness: Witness::start(),
            accepted: Vec::new(),
            keys: 0,
            _folder: folder,
        };
        scene.set_up();
        scene
    }

    /// The same on a PostgreSQL with these settings, the second node by another way to the database.
    pub fn through(kind: Kind, env: &[(&str, &str)], settings: &[&str], way: impl FnOnce(&str) -> String) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let witness = Witness::start();
        let key = [("WINDLASS_SECRET_KEY", "d2luZGxhc3Mgd2luZGxhc3Mgd2luZGxhc3Mgd2luZGw=")];
        let env: Vec<(&str, &str)> = env.iter().chain(&key).copied().collect();
        let (cluster, url, nodes) = match kind {
            Kind::Sqlite => (None, String::new(), vec![Server::start_with(&folder.path().join("one"), &env)]),
            Kind::Postgres => {
                let cluster = Cluster::start(settings);
                let url = cluster.database();
                let node = |name: &str, url: &str| {
                    let env = [&env[..], &[("WINDLASS_DATABASE_URL", url)]].concat();
                    Server::start_with(&folder.path().join(name), &env)
                };
                let nodes = vec![node("one", &url), node("two", &way(&url))];
                (Some(cluster), url, nodes)
            }
        };
        let scene = Self { nodes, cluster, url, witness, accepted: Vec::new(), keys: 0, _folder: folder };
        scene.set_up();
        scene
    }

    fn set_up(&self) {
        let folder = self.nodes[0].dir().join("files");
        fs::create_dir_all(&folder).expect("a folder");
        let plugin = crate::guests::build(&["--package", "ledger"]).join("ledger.wasm");
        let pushed = self.nodes[0].cli(&["plugin", "push", path(&plugin)]);
        assert_eq!(pushed.code, 0, "{pushed:?}");
        let witness = &self.witness.url;
        let text = format!(
            "tenant = \"chaos\"\nlimits = {{ running = 8 }}\n[ceiling]\nhosts = [\"{witness}\"]\nnetworks = [\"127.0.0.0/8\"]\n\
             [[job]]\nname = \"ledger\"\nplugin = \"ledger@0\"\nmax_live = 100000\nconfig = {{ witness = \"{witness}\", ms = {WORK_MS} }}\n\
             time_limit = \"30s\"\nretry = {{ attempts = 5, base = \"100ms\" }}\n\
             [job.grant]\nhttp = [{{ host = \"{witness}\", methods = [\"POST\"] }}]\n\
             [[job]]\nname = \"images\"\nplugin = \"ledger@0\"\nmax_live = 100\nconfig = {{ witness = \"{witness}\", ms = {WORK_MS}, items = {IMAGES} }}\n\
             time_limit = \"30s\"\nretry = {{ attempts = 5, base = \"100ms\" }}\nitems = {{ parallel = 4, chunk = 2 }}\n\
             [job.grant]\nhttp = [{{ host = \"{witness}\", methods = [\"POST\"] }}]\n"
        );
        let file = folder.join("chaos.toml");
        fs::write(&file, text).expect("a file");
        let applied = self.nodes[0].cli(&["apply", path(&file)]);
        assert_eq!(applied.code, 0, "{applied:?}");
    }

    /// Another tenant, whose job of the same name has a secret.
    pub fn guard(&self) {
        let witness = &self.witness.url;
        let text = format!(
            "tenant = \"guarded\"\n[ceiling]\nhosts = [\"{witness}\"]\nnetworks = [\"127.0.0.0/8\"]\n\
             [[job]]\nname = \"ledger\"\nplugin = \"ledger@0\"\nconfig = {{ witness = \"{witness}\", ms = {WORK_MS} }}\n\
             [job.grant]\nhttp = [{{ host = \"{witness}\", methods = [\"POST\"] }}]\n\
             secrets = [{{ name = \"key\", use = \"sign\", algorithm = \"hmac-sha256\", begins_with = \"x\" }}]\n"
        );
        let file = self.nodes[0].dir().join("files/guarded.toml");
        fs::write(&file, text).expect("a file");
        let applied = self.nodes[0].cli(&["apply", path(&file)]);
        assert_eq!(applied.code, 0, "{applied:?}");
        let set = self.nodes[0].cli_with(&["secret", "set", "guarded/key"], b"a value");
        assert_eq!(set.code, 0, "{set:?}");
    }

    /// Accepts `n` runs, on any node that answers; a request that was not answered is repeated under the same key.
    pub fn enqueue(&mut self, n: usize) {
        for _ in 0..n {
            self.keys += 1;
            let (key, mut turn) = (format!("key-{}", self.keys), self.keys as usize);
            let id = wait("a run is accepted", PATIENCE, || {
                turn += 1;
                self.nodes[turn % self.nodes.len()].enqueue("chaos", "ledger", &key)
            });
            self.accepted.push(id);
        }
    }

    /// On this node alone.
    pub fn enqueue_on(&mut self, node: usize, n: usize) {
        for _ in 0..n {
            self.keys += 1;
            let key = format!("key-{}", self.keys);
            self.accepted.push(wait("a run is accepted", PATIENCE, || self.nodes[node].enqueue("chaos", "ledger", &key)));
        }
    }

    /// Waits until work has begun somewhere.
    pub fn until_under_way(&self, runs: usize) {
        wait("work is under way", PATIENCE, || (self.witness.under_way().len() >= runs).then_some(()));
    }

    /// Waits until everything that was under way goes on again, under a later attempt, or has ended; answers how long the
    /// slowest restart took.
    pub fn recovered(&self, under_way: &BTreeMap<String, u32>, since: Instant) -> Duration {
        wait("lost runs go on", PATIENCE, || {
            let effects = self.witness.effects();
            let again = |run: &String, attempt: &u32| {
                effects.iter().find(|e| e.run == *run && (e.ends && e.attempt == *attempt || e.attempt > *attempt))
            };
            let found: Option<Vec<&Effect>> = under_way.iter().map(|(run, attempt)| again(run, attempt)).collect();
            let restarts =
                found?.into_iter().filter(|effect| !effect.ends).map(|effect| effect.at.saturating_duration_since(since));
            Some(restarts.max().unwrap_or_default())
        })
    }

    /// Waits until these runs have ended: one that loses its node three times is dead, and rightly so.
    pub fn ended(&self, under_way: &BTreeMap<String, u32>) {
        wait("runs that were hit end", PATIENCE, || {
            let effects = self.witness.effects();
            under_way.keys().all(|run| effects.iter().any(|effect| effect.run == *run && effect.ends)).then_some(())
        });
    }

    /// Waits until all accepted runs are over, and accounts for them.
    pub fn account(&self) -> Account {
        let node = self.nodes.iter().find(|node| node.is_running()).expect("a node runs");
        wait("every accepted run is over", PATIENCE, || {
            let unfinished =
                |state| node.try_get(&format!("tenants/chaos/runs?state={state}&limit=1"))?["items"].as_array().map(Vec::len);
            (unfinished("waiting")? == 0 && unfinished("running")? == 0).then_some(())
        });
        let effects = self.witness.effects();
        let listed = listed(node);
        let mut account = Account { runs: self.accepted.len(), ..Account::default() };
        account.executions = effects.iter().filter(|effect| !effect.ends).count();
        account.recorded_twice = listed.len() - listed.iter().collect::<BTreeSet<_>>().len();
        for run in &self.accepted {
            let of_run: Vec<&Effect> = effects.iter().filter(|effect| effect.run == *run).collect();
            let shown = node.api_get(&format!("tenants/chaos/runs/{run}"));
            let well = shown["state"] == "succeeded" && of_run.iter().any(|effect| effect.ends);
            account.lost += usize::from(!well);
            let unexplained = unexplained(&of_run, &shown);
            if !well || unexplained > 0 {
                println!("run {run}: {shown:#}\n{of_run:#?}");
            }
            account.unexplained += unexplained;
            let claimed = shown["attempts"].as_array().map_or(0, Vec::len);
            let begun: BTreeSet<u32> = of_run.iter().map(|effect| effect.attempt).collect();
            account.never_begun += claimed.saturating_sub(begun.len());
        }
        // What nobody was told was accepted may be there all the same: it was asked for under a key and must have run well.
        account.lost += self.accepted.iter().filter(|run| !listed.contains(run)).count();
        account
    }
}

/// Ids of all runs that succeeded, as the pages of the list show them.
fn listed(node: &Server) -> Vec<String> {
    let (mut ids, mut after) = (Vec::new(), String::new());
    loop {
        let page = node.api_get(&format!("tenants/chaos/runs?state=succeeded&limit=200{after}"));
        let items = page["items"].as_array().expect("items");
        ids.extend(items.iter().map(|item| item["id"].as_str().expect("an id").to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return ids,
        }
    }
}

/// Executions beyond the first that no lost, handed back or failed attempt explains, and effects that came too late.
fn unexplained(effects: &[&Effect], shown: &Value) -> usize {
    let outcome = |attempt: u32| {
        let attempts = shown["attempts"].as_array()?;
        attempts.iter().find(|a| a["attempt"] == attempt)?["outcome"].as_str().map(ToOwned::to_owned)
    };
    let starts: Vec<&&Effect> = effects.iter().filter(|effect| !effect.ends).collect();
    let last = starts.iter().map(|effect| effect.attempt).max().unwrap_or(0);
    let mut seen = BTreeSet::new();
    let twice = starts.iter().filter(|effect| !seen.insert(effect.attempt)).count();
    let unsaid = starts
        .iter()
        .filter(|effect| effect.attempt < last && outcome(effect.attempt).is_none_or(|outcome| outcome == "succeeded"))
        .count();
    let begun = |attempt: u32| starts.iter().filter(|start| start.attempt > attempt).map(|start| start.at).min();
    let late = effects.iter().filter(|effect| begun(effect.attempt).is_some_and(|next| effect.at > next)).count();
    twice + unsaid + late
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path of letters")
}
