//! The node's configuration: windlass.toml, with `WINDLASS_…` from the environment over it. `docs/configuration.md` is its
//! reference. What a tenant may configure stands in its own file (`domain::tenant`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Problem, Result};
use crate::span::Span;

mod alert;
mod artifacts;
mod class;
pub mod document;
mod environment;
mod machine;
mod origin;
mod otel;
mod plugins;
mod probes;
mod roles;
mod target;
mod words;
mod worker;

pub use alert::{AlertKind, AlertRule, Heartbeat, Mail, Sink, secrets_in, without_mail};
pub use artifacts::Artifacts;
pub use class::{Class, PRIORITIES};
use document::Document;
use environment::{named, overlay};
pub use origin::{Origin, Origins, Setting, flat, plain, shown};
pub use otel::Otel;
pub use plugins::Plugins;
pub use probes::Probes;
pub use roles::{Role, Roles};
pub use target::Target;
pub use worker::Worker;

/// Read when `--config` and `WINDLASS_CONFIG` name no other file and it is there.
pub const DEFAULT_FILE: &str = "windlass.toml";

/// Effective settings of this process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// SQLite file, key file, compiled plugins, admin token.
    pub data_dir: PathBuf,
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// Where people reach the dashboard, when that is not `listen`: scheme, host and port, without a slash at the end.
    pub public_url: Option<String>,
    /// Networks of proxies whose `X-Forwarded-For` is believed.
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Option<Vec<IpNet>>,
    /// `sqlite:` and a file, relative to `data_dir`; or `postgres://user@host/database`, which many nodes may share.
    pub database_url: String,
    pub roles: Roles,
    pub worker: Worker,
    /// By name; jobs say which is theirs. One that is not here has no limits.
    pub classes: BTreeMap<String, Class>,
    pub lease: Lease,
    pub network: Network,
    pub retention: Retention,
    pub metrics: Metrics,
    pub artifacts: Artifacts,
    pub plugins: Plugins,
    pub probes: Probes,
    /// Who is told of what happens to any tenant, and to the server.
    #[serde(rename = "alert")]
    pub alerts: Vec<AlertRule>,
    pub mail: Option<Mail>,
    pub heartbeat: Option<Heartbeat>,
    pub otel: Option<Otel>,
    /// Windlass itself, which compiles plugins in processes of their own. No key: it is the binary that runs, in tests another.
    #[serde(skip, default = "own_binary")]
    pub binary: PathBuf,
    /// Who says what.
    #[serde(skip)]
    pub origins: Origins,
}

/// A binary that was replaced meanwhile is still there under this name, as it was started.
fn own_binary() -> PathBuf {
    let own = PathBuf::from("/proc/self/exe");
    if own.exists() { own } else { std::env::current_exe().unwrap_or_else(|_| "windlass".into()) }
}

/// How nodes on one PostgreSQL know that another is dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lease {
    /// How often a node says that it lives.
    pub heartbeat: Span,
    /// Without a word for so long it is dead, and others take its runs. It stops its own guests at two thirds.
    pub lease: Span,
    /// A node whose clock is further from the database's than this claims nothing.
    pub skew: Span,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Private networks that tenants' ceilings may name, in CIDR form. Absent: whatever a server admin writes into a ceiling.
    #[serde(deserialize_with = "networks")]
    pub allow: Option<Vec<IpNet>>,
    /// Certificates in PEM that guests' HTTPS trusts beside Mozilla's.
    pub extra_ca: Vec<PathBuf>,
    pub target: Target,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// `/metrics` for whoever reaches this address; without it, for who has a token.
    #[serde(deserialize_with = "some_address")]
    pub listen: Option<SocketAddr>,
}

/// How long what is over is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Runs that succeeded or were cancelled.
    pub succeeded: Span,
    /// Dead runs.
    pub dead: Span,
    /// Logs of runs; they go with their run at the latest.
    pub logs: Span,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: "windlass-data".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 7171)),
            public_url: None,
            trusted_proxies: None,
            database_url: "sqlite:windlass.db".into(),
            roles: Roles::default(),
            worker: Worker::default(),
            classes: BTreeMap::new(),
            lease: Lease::default(),
            network: Network::default(),
            retention: Retention::default(),
            metrics: Metrics::default(),
            artifacts: Artifacts::default(),
            plugins: Plugins::default(),
            probes: Probes::default(),
            alerts: Vec::new(),
            mail: None,
            heartbeat: None,
            otel: None,
            binary: own_binary(),
            origins: Origins::default(),
        }
    }
}

impl Default for Lease {
    fn default() -> Self {
        Self { heartbeat: Span::secs(2), lease: Span::secs(10), skew: Span::secs(5) }
    }
}

impl Default for Retention {
    fn default() -> Self {
        let week = Span::secs(7 * 24 * 3600);
        Self { succeeded: week, dead: week, logs: week }
    }
}

impl Settings {
    /// The defaults, the file over them, the environment over both. Paths in the file are relative to the file, those in the
    /// environment to the working folder.
    ///
    /// # Errors
    /// `Invalid` with everything that is wrong: file, line and key, or the variable's name. `NotFound` without the file.
    pub fn load(file: Option<&Path>, env: impl Iterator<Item = (String, String)>) -> Result<Self> {
        let mut document = Document::empty();
        if let Some(file) = file {
            let text = std::fs::read_to_string(file)
                .map_err(|wrong| Error::NotFound(format!("the configuration {} cannot be read: {wrong}", file.display())))?;
            document = Document::parse(&file.display().to_string(), &text);
        }
        let variables = overlay(&mut document.value, env)?;
        let mut read = document.read::<Self>();
        let mut problems: Vec<Problem> =
            std::mem::take(&mut read.problems).into_iter().map(|problem| named(problem, &variables)).collect();
        let Some(mut settings) = read.value.take() else { return Err(Error::Invalid(problems)) };
        settings.origins = Origins::read(&document, &variables);
        let folder = file.and_then(Path::parent).unwrap_or(Path::new(""));
        if !variables.contains_key("data_dir") && document.value.get("data_dir").is_some() {
            settings.data_dir = folder.join(&settings.data_dir);
        }
        if !variables.contains_key("network.extra_ca") {
            settings.network.extra_ca.iter_mut().for_each(|path| *path = folder.join(&*path));
        }
        if let Some(url) = &mut settings.public_url {
            url.truncate(url.trim_end_matches('/').len());
        }
        // What was refused stands as its default, or is short of it: that is nothing that somebody wrote.
        let written = settings.contradictions().into_iter().filter(|problem| read.is_whole(&problem.field));
        problems.extend(written.map(|problem| {
            let problem = if file.is_some() { document.placed(problem) } else { problem };
            named(problem, &variables)
        }));
        if problems.is_empty() { Ok(settings) } else { Err(Error::Invalid(problems)) }
    }

    /// The certificates of `network.extra_ca`, one after the other.
    ///
    /// # Errors
    /// When a file cannot be read any more.
    pub fn extra_roots(&self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        for file in &self.network.extra_ca {
            all.extend(std::fs::read(file)?);
            all.push(b'\n');
        }
        Ok(all)
    }

    /// Once more, after the command line has changed something.
    ///
    /// # Errors
    /// `Invalid` with everything that is wrong.
    pub fn check(&self) -> Result<()> {
        let problems = self.contradictions();
        if problems.is_empty() { Ok(()) } else { Err(Error::Invalid(problems)) }
    }

    fn contradictions(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut refuse = |key: &str, message: String| problems.push(Problem::new(key, message));
        if let Some(wrong) = wrong_database(&self.database_url) {
            refuse("database_url", wrong);
        }
        if let Some(url) = &self.public_url
            && !is_origin(url)
        {
            refuse(
                "public_url",
                format!("{url:?} is not possible; write scheme and host without a path, as in \"https://jobs.example.org\""),
            );
        }
        for (key, wrong) in self.worker.contradictions() {
            refuse(&format!("worker.{key}"), wrong);
        }
        for (name, class) in &self.classes {
            if let Some((key, wrong)) = class.contradiction() {
                refuse(&format!("classes.{name}.{key}"), wrong);
            }
        }
        for (n, file) in self.network.extra_ca.iter().enumerate() {
            if let Err(wrong) = std::fs::File::open(file) {
                refuse(
                    &format!("network.extra_ca[{n}]"),
                    format!("{} cannot be read ({wrong}); write the path of a PEM file", file.display()),
                );
            }
        }
        for (key, wrong) in self.plugins.contradictions() {
            refuse(&format!("plugins.{key}"), wrong);
        }
        problems.extend(self.roles.contradictions(&self.database_url));
        problems.extend(self.network.target.contradictions());
        problems.extend(self.probes.contradictions(&self.data_dir));
        problems.extend(self.otel.iter().flat_map(Otel::contradictions));
        problems.extend(alert::contradictions(&self.alerts, self.mail.as_ref(), self.heartbeat.as_ref()));
        let mut refuse = |key: &str, message: String| problems.push(Problem::new(key, message));
        for (key, wrong) in self.artifacts.contradictions() {
            refuse(&format!("artifacts.{key}"), wrong);
        }
        let Lease { heartbeat, lease, .. } = self.lease;
        if heartbeat.0 < Duration::from_millis(100) {
            refuse("lease.heartbeat", format!("{heartbeat} is not possible; write at least \"100ms\", as in \"2s\""));
        }
        if heartbeat.0 >= lease.0 / 2 {
            refuse(
                "lease.heartbeat",
                format!(
                    "lease.heartbeat = {heartbeat} is not below half of lease.lease = {lease}: one late heartbeat would cost a node \
                     its runs; write a longer lease, or a shorter heartbeat such as \"2s\" of \"10s\""
                ),
            );
        }
        let Retention { succeeded, dead, logs } = self.retention;
        for (key, span) in [("succeeded", succeeded), ("dead", dead), ("logs", logs)] {
            if span < Span::secs(60) {
                refuse(&format!("retention.{key}"), format!("{span} is not possible; write at least \"1m\", as in \"7d\""));
            }
        }
        problems
    }
}

fn wrong_database(url: &str) -> Option<String> {
    let right = "write \"sqlite:windlass.db\", a file relative to data_dir, or \"postgres://user@host/database\"";
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return None;
    }
    match url.strip_prefix("sqlite:").map(|file| file.trim_start_matches("//")) {
        None => Some(format!("{url:?} names no database; {right}")),
        Some("" | ":memory:") => Some(format!("{url:?} names no file, and nothing would outlive the process; {right}")),
        Some(file) if Path::new(file).components().count() != 1 || file == ".." => {
            Some(format!("{url:?} leads out of the data folder, and what keeps a second server out is there; {right}"))
        }
        Some(file) if file.contains('?') => Some(format!("{url:?} has options, and Windlass sets its own; {right}")),
        Some(_) => None,
    }
}

fn is_origin(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']))
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    parse_address(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

fn some_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| parse_address(&text)).transpose().map_err(serde::de::Error::custom)
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let right = "write IP and port, as in \"127.0.0.1:7171\" or \"[::]:7171\"";
    text.parse().map_err(|_| format!("{text:?} is no address; {right}"))
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<IpNet>>, D::Error> {
    let Some(texts) = Option::<Vec<String>>::deserialize(deserializer)? else { return Ok(None) };
    texts.iter().map(|text| network(text).map_err(serde::de::Error::custom)).collect::<Result<_, _>>().map(Some)
}

/// A network in CIDR form.
///
/// # Errors
/// What would be right, for a person.
pub fn network(text: &str) -> Result<IpNet, String> {
    let wrong = || format!("{text:?} is no network; write it in CIDR form, as in \"10.20.0.0/16\" or \"fd12::/16\"");
    let network: IpNet = text.parse().map_err(|_| wrong())?;
    if network.addr() != network.network() {
        return Err(format!("{text:?} has bits beyond its mask; write \"{}\"", network.trunc()));
    }
    Ok(network)
}

#[cfg(test)]
mod tests;
