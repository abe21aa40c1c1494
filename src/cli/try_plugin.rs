//! `windlass plugin run` and `windlass plugin inspect`: a component on this machine, without a server.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;

use super::local::items::{self, Desk};
use super::local::shelf::{Kept, Shelf};
use super::plugin::component;
use super::serve::runtime;
use super::show::{say, say_json};
use super::stop::{BAD, Done, Stop};
use super::{Global, local};
use crate::config::Settings;
use crate::domain::attempt::Outcome;
use crate::domain::grant::{Ceiling, Grant, HttpGrant, Origin};
use crate::domain::item::NewItem;
use crate::domain::limits::Limits;
use crate::domain::log::{Call, Line};
use crate::error::{Error, Result};
use crate::plugin::{Described, Executor, StatePort, Work};
use crate::span::Size;

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

#[derive(Args)]
pub struct Run {
    /// A WebAssembly component
    file: PathBuf,
    /// JSON
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = json)]
    input: Value,
    /// JSON object: the job's configuration. (--config is the node's, as for every command)
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = json)]
    job_config: Value,
    /// The hard stop; should-stop turns true a tenth before
    #[arg(long, value_name = "SPAN", default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Of the whole instance
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size)]
    memory: Size,
    /// An origin that may be asked, such as http://127.0.0.1:8091; without one, no request goes out
    #[arg(long, value_name = "URL", value_parser = origin)]
    allow: Vec<String>,
    /// Items that the run has already: a JSON array of names, or of {"name", "input"}, or a file with it
    #[arg(long, value_name = "JSON|FILE", value_parser = written_items)]
    items: Option<Items>,
    /// A folder to write into, at /scratch, with room for so much
    #[arg(long, value_name = "SIZE", value_parser = size)]
    scratch: Option<Size>,
    /// That folder: it finds what lies there, and what it leaves stays. Without this it is empty, and gone afterwards
    #[arg(long, value_name = "DIR", requires = "scratch")]
    scratch_dir: Option<PathBuf>,
    /// Where the files go that it leaves behind: an empty folder, or one that is not there
    #[arg(long, value_name = "DIR")]
    artifacts: Option<PathBuf>,
    /// Files that other runs have left: the artifact NAME of the run ID is its file ID/NAME
    #[arg(long, value_name = "DIR")]
    artifact_source: Option<PathBuf>,
}

#[derive(Debug, Clone)]
struct Items(Vec<NewItem>);

#[derive(Args)]
pub struct Inspect {
    /// A WebAssembly component
    pub file: PathBuf,
}

/// What one attempt came to.
#[derive(Serialize)]
struct Ran {
    /// succeeded, failed, timed_out, out_of_memory, trapped, cancelled
    outcome: &'static str,
    /// failed: transient, permanent, snoozed, undecodable
    class: Option<&'static str>,
    message: String,
    output: Value,
    log: Vec<Line>,
    /// Lines over the limit.
    dropped: u64,
    calls: Vec<Call>,
    items: Vec<items::Told>,
    artifacts: Vec<Kept>,
    ms: u64,
    /// Bytes.
    peak_memory: u64,
}

/// Exit code 0 when it succeeded, else 1.
pub fn run(run: Run, global: &Global) -> Done {
    let (bytes, settings) = (component(&run.file)?, global.node()?);
    let ran = runtime()?.block_on(local::in_a_folder("run", |folder| attempt(&settings, folder, bytes, run)))?;
    if global.json {
        say_json(&ran)?;
    } else {
        tell(&ran)?;
    }
    if ran.outcome == "succeeded" { Ok(()) } else { Err(Stop::silent(BAD)) }
}

fn tell(ran: &Ran) -> Done {
    for line in &ran.log {
        say(format_args!("{:>5}  {}", format!("{:?}", line.level).to_lowercase(), line.message))?;
    }
    for item in &ran.items {
        say(format_args!("{:>7}  {}  {}", item.state.word(), item.name, item.message))?;
    }
    for Kept { media_type, bytes, file, .. } in &ran.artifacts {
        say(format_args!("{}  {}, {media_type}", file.display(), Size(*bytes)))?;
    }
    say(format_args!("{} in {} ms, with {} of memory: {}", ran.outcome, ran.ms, Size(ran.peak_memory), ran.message))?;
    if ran.output.is_null() { Ok(()) } else { say(&ran.output) }
}

async fn attempt(settings: &Settings, folder: PathBuf, bytes: Vec<u8>, run: Run) -> Result<Ran> {
    let sandbox = local::sandbox(settings, folder)?;
    if let Some(folder) = &run.scratch_dir {
        sandbox.scratch_in(scratch_folder(folder)?);
    }
    let mut shelf = Shelf::new(run.artifacts.clone(), Limits::default())?.with_sources(run.artifact_source.clone());
    let mut desk = Desk::with(run.items.clone().map(|items| items.0).unwrap_or_default());
    let digest = sandbox.catalog().add(bytes).await?.digest;
    let (state, state_calls) = mpsc::channel(16);
    let (port, item_calls) = mpsc::channel(16);
    let (files, artifact_calls) = mpsc::channel(16);
    let mut work = work(run, digest, state);
    (work.items, work.artifacts) = (Some(port), Some(files));
    let (journal, stop) = (work.journal.clone(), work.stop.clone());
    let began = Instant::now();
    let outcome = sandbox.execute(work);
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.now.store(true, Ordering::Release);
        }
        std::future::pending::<std::convert::Infallible>().await
    };
    let outcome = tokio::select! {
        outcome = outcome => outcome,
        never = local::keep_state(state_calls) => match never {},
        never = desk.serve(item_calls) => match never {},
        never = shelf.serve(artifact_calls) => match never {},
        never = interrupted => match never {},
    };
    let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let taken = journal.take();
    let (word, class) = words(&outcome);
    let message = outcome.message();
    let output = match outcome {
        Outcome::Succeeded { data: Some(data), .. } => serde_json::from_str(&data)?,
        _ => Value::Null,
    };
    Ok(Ran {
        outcome: word,
        class,
        message,
        output,
        log: taken.lines,
        dropped: taken.dropped,
        calls: taken.calls,
        items: desk.told(),
        artifacts: shelf.end().await,
        ms,
        peak_memory: journal.peak_memory(),
    })
}

/// What the guest is asked to do, and what it may do.
fn work(run: Run, digest: String, state: StatePort) -> Work {
    let job = run.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut work = local::work(&job, digest, run.timeout, state);
    (work.input, work.config) = (run.input.to_string(), run.job_config.to_string());
    let methods = METHODS.map(str::to_owned).to_vec();
    let http = run.allow.iter().map(|host| HttpGrant { host: host.clone(), methods: methods.clone() }).collect();
    let (memory, scratch) = (run.memory, run.scratch.unwrap_or_default());
    work.grant = Arc::new(Grant { http, memory, scratch, ..Grant::default() });
    // Whoever types an origin means its address, wherever it is; what belongs to the machine's cloud stays closed.
    let networks = vec!["0.0.0.0/0".into(), "::/0".into()];
    work.ceiling = Arc::new(Ceiling { hosts: run.allow, networks, memory, scratch, ..Ceiling::default() });
    work
}

/// Made when it is not there. What is no folder is said now: the guest could not tell why it has none.
fn scratch_folder(folder: &Path) -> Result<PathBuf> {
    let wrong = |wrong: std::io::Error| Error::invalid("--scratch-dir", format!("{}: {wrong}", folder.display()));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(wrong)?;
    folder.canonicalize().map_err(wrong)
}

/// One of six words that a script can tell apart, and for a failure its class.
pub fn words(outcome: &Outcome) -> (&'static str, Option<&'static str>) {
    match outcome {
        Outcome::Succeeded { .. } | Outcome::TimedOut { .. } | Outcome::OutOfMemory { .. } => (outcome.word(), None),
        Outcome::Trapped { .. } | Outcome::Cancelled => (outcome.word(), None),
        _ => ("failed", Some(outcome.word())),
    }
}

pub fn inspect(Inspect { file }: &Inspect, global: &Global) -> Done {
    let (bytes, settings) = (component(file)?, global.node()?);
    let found = runtime()?.block_on(local::in_a_folder("inspect", |folder| async {
        local::sandbox(&settings, folder)?.catalog().add(bytes).await
    }))?;
    let kind = if found.is_command { "WASI program" } else { "job" };
    let Described { digest, bytes, version, summary, config, exports, imports, .. } = found;
    if global.json {
        return say_json(&serde_json::json!({
            "digest": digest, "bytes": bytes, "kind": kind, "version": version, "summary": summary, "exports": exports,
            "imports": imports, "config": config,
        }));
    }
    say(format_args!("{kind}  {version}  {}  {digest}\n{summary}", Size(bytes)))?;
    say(format_args!("exports\n  {}\nimports\n  {}", exports.join("\n  "), imports.join("\n  ")))
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|wrong| format!("it is no JSON: {wrong}"))
}

/// An array begins with a bracket; anything else is a file.
fn written_items(text: &str) -> Result<Items, String> {
    let read = |file: &str| std::fs::read_to_string(file).map_err(|wrong| format!("{file}: {wrong}"));
    let text = if text.trim_start().starts_with('[') { text.to_owned() } else { read(text)? };
    items::parse(&text).map(Items)
}

fn size(text: &str) -> Result<Size, String> {
    let size: Result<Size, serde_json::Error> = serde_json::from_value(Value::from(text));
    size.map_err(|wrong| wrong.to_string())
}

fn origin(text: &str) -> Result<String, String> {
    let text = text.trim_end_matches('/');
    Origin::parse(text).map(|_| text.to_owned())
}
