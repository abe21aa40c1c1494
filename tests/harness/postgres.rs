//! A throw-away PostgreSQL of this test process, and databases on it. `tests/postgres/cluster` starts it and ends with us.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

/// A running server. It ends when this is dropped, or with the process.
pub struct Cluster {
    url: String,
    talk: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    _child: Child,
}

impl Cluster {
    /// Starts one with these settings (`name=value`).
    pub fn start(settings: &[&str]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/postgres/cluster");
        let mut child = Command::new(script)
            .args(settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/postgres/cluster");
        let stdin = child.stdin.take().expect("piped");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut url = String::new();
        stdout.read_line(&mut url).expect("the URL of the throw-away PostgreSQL");
        assert!(url.starts_with("postgres://"), "tests/postgres/cluster did not start; is Debian's postgresql installed?");
        Self { url: url.trim().to_owned(), talk: Mutex::new((stdin, stdout)), _child: child }
    }

    /// One for all tests of this process. What they write need not survive a power cut.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&["fsync=off", "synchronous_commit=off", "full_page_writes=off"]))
    }

    /// Of a new, empty database.
    pub fn database(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("w{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0"));
        self.url_of(&name)
    }

    fn url_of(&self, database: &str) -> String {
        format!("{}/{database}", self.url.trim_end_matches("/postgres"))
    }

    /// What `psql` prints for this statement, unaligned.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        let out = Command::new("psql")
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql, &self.url_of(database)])
            .output()
            .expect("psql");
        assert!(out.status.success(), "{sql}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    /// `stop`, `crash`, `start` or `restart`; returns when it is done.
    pub fn order(&self, order: &str) {
        let mut talk = self.talk.lock().expect("nobody panicked while talking");
        writeln!(talk.0, "{order}").expect("the cluster listens");
        let mut answer = String::new();
        talk.1.read_line(&mut answer).expect("the cluster answers");
        assert_eq!(answer.trim(), "ok", "{order}");
    }
}
