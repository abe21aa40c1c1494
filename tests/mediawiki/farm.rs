//! The farm of real wikis, by its script (README.md): one for all tests of this process, each wiki for one test at a time.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::harness::wait;

/// Pages that use the template of `seed`.
pub const PAGES: u64 = 300;
/// Three for what takes several; delta for poison, which stays in a queue for an hour; epsilon for what takes long.
const NAMES: [&str; 5] = ["alpha", "beta", "gamma", "delta", "epsilon"];
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mediawiki/farm");

struct Farm {
    folder: PathBuf,
    wikis: [Mutex<()>; NAMES.len()],
    secrets: Vec<String>,
    port: u16,
}

/// A wiki in a known state: it serves, nothing is ready in its queue, nothing of a test before is switched on.
pub struct Wiki {
    pub name: &'static str,
    /// `http://127.0.0.1:<port>`
    pub origin: String,
    /// Its `$wgSecretKey`.
    pub key: String,
    folder: &'static Path,
    _taken: MutexGuard<'static, ()>,
}

/// Requests to run jobs, since the farm is up.
#[derive(Debug, Deserialize)]
pub struct Requests {
    pub total: u64,
    pub open: u64,
    /// At once.
    pub most: u64,
    /// Requests to index.php that only read.
    pub page_views: u64,
}

/// Jobs in a wiki's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Queue {
    /// That a drain would take.
    pub ready: u64,
    /// That failed, or run: nobody can take them for an hour.
    pub claimed: u64,
}

/// Waits until no other test has these wikis, and takes them.
pub fn take<const N: usize>(names: [&'static str; N]) -> [Wiki; N] {
    assert!(names.is_sorted_by_key(position), "taken in another order, two tests could wait for each other");
    static FARM: OnceLock<Farm> = OnceLock::new();
    let farm = FARM.get_or_init(Farm::up);
    names.map(|name| Wiki::take(farm, name))
}

fn position(name: &&str) -> usize {
    NAMES.iter().position(|known| known == name).expect("a wiki of the farm")
}

impl Farm {
    fn up() -> Self {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = parent.join(format!("windlass-farm-{}", std::process::id()));
        let port = free_ports();
        down_when_this_process_ends(&folder);
        run(&folder, &["up", &NAMES.len().to_string(), &PAGES.to_string(), &port.to_string()]);
        let secrets = NAMES.iter().map(|name| run(&folder, &["secret", name]).trim().to_owned()).collect();
        Self { folder, wikis: [const { Mutex::new(()) }; NAMES.len()], secrets, port }
    }
}

impl Wiki {
    fn take(farm: &'static Farm, name: &'static str) -> Self {
        let at = position(&name);
        // A test that failed has let go of it all the same, and what it switched on is switched off here.
        let taken = farm.wikis[at].lock().unwrap_or_else(PoisonError::into_inner);
        let origin = format!("http://127.0.0.1:{}", farm.port + u16::try_from(at).unwrap());
        let wiki = Self { name, origin, key: farm.secrets[at].clone(), folder: &farm.folder, _taken: taken };
        ["read-only", "private", "cached"].into_iter().for_each(|what| wiki.switch(what, false));
        wiki.change_key(&wiki.key);
        // A server that was killed may have left a drain behind, which goes on or is only about to begin.
        let (mut total, mut since) = (0, Instant::now());
        wait("no drain goes on in the wiki", Duration::from_secs(60), || {
            let requests = wiki.requests();
            if requests.open > 0 || requests.total != total {
                (total, since) = (requests.total, Instant::now());
            }
            (since.elapsed() > Duration::from_millis(500)).then_some(())
        });
        wiki.drain();
        wiki
    }

    /// Has all pages join a category, as soon as jobs run: a few jobs more than there are pages.
    pub fn seed(&self, category: &str) {
        self.seed_beside_drains(category);
        assert!(self.queue().ready >= PAGES, "{} has a backlog", self.name);
    }

    /// The same while a server watches this wiki: it may have taken the first jobs before anybody can count them.
    pub fn seed_beside_drains(&self, category: &str) {
        self.run("seed", &[category]);
    }

    /// One anonymous user's edit over HTTP: the page "Noted" joins the category, when its job has run.
    pub fn edit(&self, category: &str) {
        self.run("edit", &[category]);
    }

    /// Members of a category, as readers see it.
    pub fn visible(&self, category: &str) -> u64 {
        self.run("visible", &[category]).trim().parse().unwrap()
    }

    /// Queues so many jobs that always fail.
    pub fn poison(&self, jobs: u64) {
        self.run("poison", &[&jobs.to_string()]);
    }

    /// Drains it without Windlass. The wiki may say that it has no more while it has: it looks at random.
    pub fn drain(&self) {
        while self.queue().ready > 0 {
            self.run("drain", &[]);
        }
    }

    pub fn requests(&self) -> Requests {
        serde_json::from_str(&self.run("requests", &[])).unwrap()
    }

    pub fn queue(&self) -> Queue {
        serde_json::from_str(&self.run("queue", &[])).unwrap()
    }

    pub fn switch(&self, what: &str, on: bool) {
        self.run(what, &[if on { "on" } else { "off" }]);
    }

    pub fn change_key(&self, key: &str) {
        self.run("secret", &[key]);
    }

    fn run(&self, command: &str, more: &[&str]) -> String {
        run(self.folder, &[&[command, self.name], more].concat())
    }
}

/// The script's answer; it must do well.
fn run(folder: &Path, args: &[&str]) -> String {
    let done = Command::new(SCRIPT).env("FARM", folder).args(args).stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "farm {args:?}: {}{}", String::from_utf8_lossy(&done.stderr), done.status);
    String::from_utf8(done.stdout).unwrap()
}

/// However this process ends, its end of a pipe closes, and that is the sign: nothing that is static is ever dropped.
fn down_when_this_process_ends(folder: &Path) {
    let script = "cat; exec \"$0\" down";
    let mut guard = Command::new("bash");
    guard.args(["-c", script, SCRIPT]).env("FARM", folder).process_group(0);
    let guard = guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::mem::forget(guard);
}

/// The first of as many free ports in a row as there are wikis.
fn free_ports() -> u16 {
    let wikis = u16::try_from(NAMES.len()).unwrap();
    let free = |first: &u16| (*first..first + wikis).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    // Tests of other checkouts begin elsewhere.
    let begin = 20_000 + u16::try_from(std::process::id() % 1_000).unwrap() * 10;
    (begin..begin + 2_000).step_by(10).find(free).expect("free ports")
}
