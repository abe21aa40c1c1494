//! `windlass plugin test`: a component against written cases, without a server and without the network.

mod cases;
mod items;
mod judge;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use self::cases::{Case, Cases};
use super::plugin::component;
use super::serve::runtime;
use super::show::{say, say_json};
use super::stop::{BAD, Done, Stop, WRONG};
use super::{Global, local, try_plugin};
use crate::clock::ManualClock;
use crate::config::Settings;
use crate::domain::attempt::Outcome;
use crate::domain::grant::{Ceiling, Grant};
use crate::domain::span::Size;
use crate::error::{Error, Result};
use crate::plugin::tape::{Header, Recordings, Script};
use crate::plugin::{Executor, Sandbox, Secret, Tape, Work};

#[derive(Args)]
pub struct Test {
    /// A component, or a folder with a file of cases
    path: PathBuf,
    /// cases.toml beside the component or in the folder, when absent
    #[arg(long, value_name = "FILE")]
    cases: Option<PathBuf>,
    /// Ask the real targets of cases that name a recording, and write it
    #[arg(long)]
    record: bool,
}

#[derive(Serialize)]
struct Report {
    cases: Vec<CaseReport>,
    passed: usize,
    failed: usize,
}

#[derive(Serialize)]
struct CaseReport {
    name: String,
    passed: bool,
    differences: Vec<String>,
    outcome: String,
    message: String,
    ms: u64,
    /// Bytes.
    peak_memory: u64,
    /// What the guest executed, in wasmtime's units: the same each time.
    fuel: Option<u64>,
}

/// Exit code 0 when all passed, else 1.
pub fn run(asked: &Test, global: &Global) -> Done {
    let settings = global.node()?;
    let cases_file = match &asked.cases {
        Some(file) => file.clone(),
        None if asked.path.is_dir() => asked.path.join("cases.toml"),
        None => asked.path.with_file_name("cases.toml"),
    };
    let cases = cases::read(&cases_file)?;
    let folder = cases_file.parent().unwrap_or(Path::new(".")).to_owned();
    let bytes = component(&file(asked, &cases, &folder)?)?;
    let ran = local::in_a_folder("test", |data| all(&settings, data, bytes, &cases, &folder, asked.record));
    let reports = runtime()?.block_on(ran)?;
    let failed = reports.iter().filter(|report| !report.passed).count();
    let report = Report { passed: reports.len() - failed, failed, cases: reports };
    if global.json {
        say_json(&report)?
    } else {
        tell(&report)?
    }
    if failed == 0 { Ok(()) } else { Err(Stop::silent(BAD)) }
}

/// The component: as it was named, as the file of cases names it, or the only one in the folder.
fn file(asked: &Test, cases: &Cases, folder: &Path) -> Done<PathBuf> {
    if !asked.path.is_dir() {
        return Ok(asked.path.clone());
    }
    if let Some(file) = &cases.plugin {
        return Ok(folder.join(file));
    }
    let entries =
        std::fs::read_dir(&asked.path).map_err(|wrong| Stop::new(WRONG, format!("{}: {wrong}", asked.path.display())))?;
    let mut found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    found.retain(|file| file.extension().is_some_and(|extension| extension == "wasm"));
    match found.as_slice() {
        [one] => Ok(one.clone()),
        found => {
            let why = format!(
                "{} has {} files *.wasm: write plugin = \"….wasm\" into its cases.toml, or name the component",
                asked.path.display(),
                found.len()
            );
            Err(Stop::new(WRONG, why))
        }
    }
}

async fn all(
    settings: &Settings,
    data: PathBuf,
    bytes: Vec<u8>,
    cases: &Cases,
    folder: &Path,
    record: bool,
) -> Result<Vec<CaseReport>> {
    let mut reports = Vec::new();
    for case in &cases.cases {
        // The times in its log are those of the case; the code was compiled for the first.
        let sandbox = local::counting(settings, data.clone(), ManualClock::at(case.now))?;
        let digest = sandbox.catalog().add(bytes.clone()).await?.digest;
        reports.push(Trial { sandbox: &sandbox, digest: &digest, cases, case, folder, record }.run().await?);
    }
    Ok(reports)
}

/// One case under way.
struct Trial<'a> {
    sandbox: &'a Sandbox,
    digest: &'a str,
    cases: &'a Cases,
    case: &'a Case,
    folder: &'a Path,
    record: bool,
}

impl Trial<'_> {
    async fn run(&self) -> Result<CaseReport> {
        let case = self.case;
        let (state, state_calls) = mpsc::channel(16);
        let (port, item_calls) = mpsc::channel(16);
        let mut work = self.work(state);
        work.items = Some(port);
        let (tape, written) = self.tape(&work)?;
        work.tape = tape.clone();
        let (journal, secrets) = (work.journal.clone(), work.secrets.clone());
        let mut kept: local::Kept =
            case.state.iter().map(|(key, value)| (key.clone(), (value.clone().into_bytes(), 1))).collect();
        let mut desk = items::Desk::default();
        let began = Instant::now();
        let outcome = tokio::select! {
            outcome = self.sandbox.execute(work) => outcome,
            never = local::keep_state_in(&mut kept, state_calls) => match never {},
            never = desk.serve(item_calls) => match never {},
        };
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let (Some(file), Some(recording)) = (written, tape.recording(&outcome)) {
            std::fs::write(&file, Recordings(vec![recording]).write(&secrets)?)?;
        }
        let (word, class) = try_plugin::words(&outcome);
        let message = outcome.message();
        let output = match &outcome {
            Outcome::Succeeded { data: Some(data), .. } => serde_json::from_str(data)?,
            _ => Value::Null,
        };
        let text = |(key, (value, _)): (String, (Vec<u8>, u64))| (key, String::from_utf8_lossy(&value).into_owned());
        let (unexpected, left) = match &*tape {
            Tape::Scripted(script) => (script.unexpected(), script.left()),
            _ => (Vec::new(), Vec::new()),
        };
        let log = journal.take().lines;
        let came = judge::Came {
            outcome: word,
            class,
            message: &message,
            output: &output,
            log: &log,
            items: desk.states(),
            state: kept.into_iter().map(text).collect(),
            unexpected,
            left,
        };
        let differences = judge::differences(&case.expect, &came);
        Ok(CaseReport {
            name: case.name.clone(),
            passed: differences.is_empty(),
            differences,
            outcome: word.to_owned(),
            message,
            ms,
            peak_memory: journal.peak_memory(),
            fuel: journal.fuel(),
        })
    }

    fn work(&self, state: crate::plugin::StatePort) -> Work {
        let case = self.case;
        let mut work = local::work("test", self.digest.to_owned(), case.time_limit.0, state);
        let mut config: Map<String, Value> = self.cases.config.clone();
        config.extend(case.config.clone());
        work.config = Value::Object(config).to_string();
        work.input = if case.input.is_null() { "{}".into() } else { case.input.to_string() };
        work.attempt = case.attempt;
        // The case's own stand before the file's.
        let fakes: BTreeMap<&str, &cases::FakeSecret> =
            self.cases.secrets.iter().chain(&case.secrets).map(|secret| (secret.name.as_str(), secret)).collect();
        let value = |secret: &&cases::FakeSecret| (secret.name.clone(), Secret(Arc::from(secret.value.as_bytes())));
        work.secrets = Arc::new(fakes.values().map(value).collect::<HashMap<_, _>>());
        let secrets = fakes.values().map(|secret| secret.grant()).collect();
        work.grant = Arc::new(Grant { http: case.grants(), memory: case.memory, secrets, ..Grant::default() });
        // Whoever names an origin means its address, wherever it is.
        let networks = vec!["0.0.0.0/0".into(), "::/0".into()];
        work.ceiling = Arc::new(Ceiling { hosts: case.allow.clone(), networks, memory: case.memory, ..Ceiling::default() });
        work
    }

    /// Where the answers come from, and the file that a recording goes to.
    fn tape(&self, work: &Work) -> Result<(Arc<Tape>, Option<PathBuf>)> {
        let case = self.case;
        let Some(file) = case.recording.as_ref().map(|file| self.folder.join(file)) else {
            return Ok((Arc::new(Tape::Scripted(Script::new(case.now, SEED, case.script()?))), None));
        };
        if self.record {
            return Ok((Arc::new(Tape::record(Header::new(work, None, case.now))), Some(file)));
        }
        let missing = |wrong: std::io::Error| {
            let why = format!("{}: {wrong}; windlass plugin test --record writes it", file.display());
            Error::invalid(format!("case {:?}: recording", case.name), why)
        };
        let recordings = Recordings::read(&std::fs::read(&file).map_err(missing)?)?;
        let answers = recordings.0.iter().flat_map(crate::plugin::tape::Recording::answers).collect();
        let seed = recordings.0.first().map_or(SEED, |recording| recording.header.seed);
        Ok((Arc::new(Tape::Scripted(Script::new(case.now, seed, answers))), None))
    }
}

/// What random numbers are made of: every time the same.
const SEED: [u8; 32] = *b"the same random numbers each run";

fn tell(report: &Report) -> Done {
    for case in &report.cases {
        let word = if case.passed { "ok    " } else { "FAILED" };
        let fuel = case.fuel.map(|fuel| format!(", {fuel} fuel")).unwrap_or_default();
        say(format_args!("{word}  {}  ({} ms, {}{fuel})", case.name, case.ms, Size(case.peak_memory)))?;
        for line in &case.differences {
            say(format_args!("        {line}"))?;
        }
    }
    say(format_args!("{} passed, {} failed", report.passed, report.failed))
}
