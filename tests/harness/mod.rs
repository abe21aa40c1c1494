//! A real server for tests: the binary in a process of its own, a data folder, its command line, its API, its pages.
//! Whoever uses it says `#[path = "../harness/mod.rs"] mod harness;`.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::disallowed_methods, reason = "a test of real processes waits in real time")]

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a server may take to come up; the first start compiles the embedded plugins.
const UP: Duration = Duration::from_secs(60);
/// How long it may take to end after SIGTERM: its own grace and a little.
const DOWN: Duration = Duration::from_secs(30);
/// Lines of the log that a failed test shows.
const TAIL: usize = 60;
const OPERATOR: (&str, &str) = ("operator", "only for this test");

/// A running `windlass serve`, killed when dropped. Its log stands in `server.log` in the data folder, over all restarts.
pub struct Server {
    dir: PathBuf,
    child: Option<Child>,
    /// The address, "http://127.0.0.1:…"; another one after each start.
    pub url: String,
    pub token: String,
    agent: ureq::Agent,
    session: Option<String>,
    /// Settings of the environment.
    env: Vec<(String, String)>,
}

/// What a command of the command line came to.
#[derive(Debug)]
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// What the API or a page answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub text: String,
}

impl Server {
    /// Starts a server on this data folder, on a free port, and waits until it answers.
    pub fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[])
    }

    /// The same with settings in its environment, as in `("WINDLASS_DATABASE_URL", "postgres://…")`.
    pub fn start_with(dir: &Path, env: &[(&str, &str)]) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(Duration::from_secs(30)))
            .proxy(None)
            .build()
            .into();
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut server =
            Self { dir: dir.to_owned(), child: None, url: String::new(), token: String::new(), agent, session: None, env };
        server.restart();
        server
    }

    /// Starts it again on the same folder, after [`Self::kill`] or [`Self::terminate`].
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "the server still runs");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).unwrap();
        let log = OpenOptions::new().create(true).append(true).open(self.dir.join("server.log")).unwrap();
        let child = command(&self.dir)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let id = child.id();
        self.child = Some(child);
        let access = self.wait_for_access(id);
        self.url = access["server"].as_str().unwrap().to_owned();
        self.token = access["token"].as_str().unwrap().to_owned();
        wait("the server answers", UP, || (self.get("/readyz").status == 200).then_some(()));
    }

    /// Address and token that this very process wrote: those of the one before it lie there, too.
    fn wait_for_access(&mut self, id: u32) -> Value {
        let owner = format!("process {id} on ");
        wait("the server says where it is", UP, || {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("the server ended at its start: {status}");
            }
            let lock = fs::read_to_string(self.dir.join("windlass.lock")).ok()?;
            let access: Value = serde_json::from_str(&fs::read_to_string(self.dir.join("admin.json")).ok()?).ok()?;
            (lock.trim().strip_prefix(&owner)? == access["server"].as_str()?).then_some(access)
        })
    }

    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// SIGKILL, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// `STOP`, `CONT` …
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// SIGTERM; answers how it ended.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        let mut child = self.child.take().expect("the server runs");
        wait("the server ends", DOWN, || child.try_wait().unwrap())
    }

    /// `windlass ARGS…` against this server.
    pub fn cli(&self, args: &[&str]) -> Output {
        self.cli_with(args, b"")
    }

    /// The same with something on its standard input.
    pub fn cli_with(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child =
            command(&self.dir).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A command that does not read its input may have ended before.
        let _ = child.stdin.take().unwrap().write_all(input);
        let done = child.wait_with_output().unwrap();
        Output {
            code: done.status.code().unwrap_or(-1),
            stdout: String::from_utf8(done.stdout).unwrap(),
            stderr: String::from_utf8(done.stderr).unwrap(),
        }
    }

    /// The answer of a command that must do well, as JSON.
    pub fn json(&self, args: &[&str]) -> Value {
        let output = self.cli(&[args, &["--json"]].concat());
        assert_eq!(output.code, 0, "windlass {args:?}: {output:?}");
        serde_json::from_str(&output.stdout).unwrap_or_else(|wrong| panic!("windlass {args:?}: {wrong}: {output:?}"))
    }

    /// `/api/v1/` and the path, with the admin's token; must answer 200.
    pub fn api_get(&self, path: &str) -> Value {
        let request = self.agent.get(format!("{}/api/v1/{path}", self.url));
        answer(request.header("authorization", format!("Bearer {}", self.token)).call()).json()
    }

    /// The same while the server may be away: nothing then.
    pub fn try_get(&self, path: &str) -> Option<Value> {
        let request = self.agent.get(format!("{}/api/v1/{path}", self.url));
        let mut response = request.header("authorization", format!("Bearer {}", self.token)).call().ok()?;
        serde_json::from_str(&response.body_mut().read_to_string().ok()?).ok()
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// The same, whatever the status.
    pub fn api_post(&self, path: &str, body: &Value) -> Answer {
        let request = self.agent.post(format!("{}/api/v1/{path}", self.url));
        answer(request.header("authorization", format!("Bearer {}", self.token)).send_json(body))
    }

    /// Enqueues a run under an idempotency key; its id, or nothing if the server did not say.
    pub fn enqueue(&self, tenant: &str, job: &str, key: &str) -> Option<String> {
        let request = self.agent.post(format!("{}/api/v1/tenants/{tenant}/jobs/{job}/runs", self.url));
        let request = request.header("authorization", format!("Bearer {}", self.token)).header("idempotency-key", key);
        let mut response = request.send_json(serde_json::json!({})).ok()?;
        let text = response.body_mut().read_to_string().ok()?;
        let answered: Value = serde_json::from_str(&text).ok()?;
        answered["id"].as_str().map(ToOwned::to_owned)
    }

    /// A page as an operator sees it who has logged in.
    pub fn page(&mut self, path: &str) -> Answer {
        let session = self.session();
        answer(self.agent.get(format!("{}{path}", self.url)).header("cookie", session).call())
    }

    /// The cookie of an operator. The first time, sets the first password with the code that the log shows.
    pub fn session(&mut self) -> String {
        if let Some(session) = &self.session {
            return session.clone();
        }
        let (name, password) = OPERATOR;
        let log = self.log();
        let code = log.lines().filter_map(|line| Some(line.split_once("with the code ")?.1.trim())).next_back();
        let form = [("code", code.unwrap_or_default()), ("name", name), ("password", password)];
        let response = self.agent.post(format!("{}/first-start", self.url)).send_form(form).unwrap();
        assert_eq!(response.status(), 303, "the first password with the code {code:?}");
        let cookie = response.headers().get("set-cookie").unwrap().to_str().unwrap();
        let session = cookie.split(';').next().unwrap().to_owned();
        self.session = Some(session.clone());
        session
    }

    /// The status of a login; its session is the one of [`Self::page`] from then on.
    pub fn log_in(&mut self, name: &str, password: &str) -> u16 {
        let form = [("name", name), ("password", password)];
        let response = self.agent.post(format!("{}/login", self.url)).send_form(form).unwrap();
        let cookie = response.headers().get("set-cookie").and_then(|cookie| cookie.to_str().ok()?.split(';').next());
        self.session = cookie.map(str::to_owned).or(self.session.take());
        response.status().as_u16()
    }

    fn get(&self, path: &str) -> Answer {
        match self.agent.get(format!("{}{path}", self.url)).call() {
            Err(wrong) => Answer { status: 0, text: wrong.to_string() },
            answered => answer(answered),
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// All that it has logged, over all its starts.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("server.log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            println!("---- the end of the server's log\n{}\n----", lines[lines.len().saturating_sub(TAIL)..].join("\n"));
        }
        self.kill();
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        serde_json::from_str(&self.text).unwrap_or_else(|wrong| panic!("{wrong}: {self:?}"))
    }
}

fn answer(answered: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    let mut response = answered.unwrap();
    Answer { status: response.status().as_u16(), text: response.body_mut().read_to_string().unwrap() }
}

/// The binary with a data folder, and nothing of the environment that is meant for it.
pub fn command(dir: &Path) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WINDLASS_") {
            command.env_remove(name);
        }
    }
    // Not this machine's user's: what these tests compile is theirs.
    command.env("XDG_CACHE_HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"));
    command.current_dir(dir).arg("--data-dir").arg(dir);
    command
}

/// The binary as it was when the tests began, for another build may replace it while they run.
pub fn binary() -> String {
    static BINARY: OnceLock<File> = OnceLock::new();
    let file = BINARY.get_or_init(|| File::open(env!("CARGO_BIN_EXE_windlass")).unwrap());
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}

/// Looks until there is something, or fails with what was waited for.
pub fn wait<T>(what: &str, at_most: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < at_most, "not within {at_most:?}: {what}");
        // Short waits are measured well, and long ones do not keep the machine busy with looking.
        std::thread::sleep((began.elapsed() / 20).clamp(Duration::from_millis(50), Duration::from_secs(1)));
    }
}

/// Files below a folder in which one of the texts stands, whatever else they are.
pub fn files_with(dir: &Path, texts: &[&str]) -> Vec<String> {
    let mut grep = Command::new("grep");
    grep.args(["-r", "-l", "-a", "-F"]);
    for text in texts {
        grep.arg("-e").arg(text);
    }
    let found = grep.arg("--").arg(dir).output().unwrap();
    assert!(found.status.code().is_some_and(|code| code < 2), "{found:?}");
    String::from_utf8(found.stdout).unwrap().lines().map(str::to_owned).collect()
}
