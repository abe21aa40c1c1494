//! One case under way.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::cases::{Call, Case, Cases, FakeSecret};
use super::judge::{self, Came};
use super::{CaseReport, local};
use crate::cli::local::items::Desk;
use crate::cli::local::shelf::Shelf;
use crate::cli::try_plugin;
use crate::domain::attempt::Outcome;
use crate::domain::grant::{Ceiling, Grant};
use crate::domain::limits::Limits;
use crate::error::{Error, Result};
use crate::plugin::tape::{Header, Recordings, Script};
use crate::plugin::{Described, Executor, Journal, Sandbox, Secret, StatePort, Tape, Work};

/// What random numbers are made of: every time the same.
const SEED: [u8; 32] = *b"the same random numbers each run";

pub struct Trial<'a> {
    pub sandbox: &'a Sandbox,
    pub found: &'a Described,
    pub cases: &'a Cases,
    pub case: &'a Case,
    pub folder: &'a Path,
    pub record: bool,
}

impl Trial<'_> {
    pub async fn run(&self) -> Result<CaseReport> {
        let began = Instant::now();
        let (came, journal) = match self.case.call {
            Call::Run => self.ran().await?,
            Call::Measure => self.measured().await?,
            Call::Check => (self.checked().await, None),
            Call::Describe => (self.described(), None),
        };
        let differences = judge::differences(&self.case.expect, &came);
        Ok(CaseReport {
            name: self.case.name.clone(),
            passed: differences.is_empty(),
            differences,
            outcome: came.outcome.to_owned(),
            message: came.message,
            ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            peak_memory: journal.as_ref().map(|journal| journal.peak_memory()),
            fuel: journal.and_then(|journal| journal.fuel()),
        })
    }

    async fn ran(&self) -> Result<(Came, Option<Arc<Journal>>)> {
        let (state, state_calls) = mpsc::channel(16);
        let (port, item_calls) = mpsc::channel(16);
        let mut work = self.work(state);
        work.items = Some(port);
        // One that is to read artifacts may not write them: nothing would look at those.
        let (files, file_calls) = mpsc::channel(1);
        let sources = self.case.artifact_source.as_ref().map(|folder| self.folder.join(folder));
        work.artifacts = sources.is_some().then_some(files);
        let mut shelf = Shelf::new(None, Limits::default())?.with_sources(sources);
        let (tape, written) = self.tape()?;
        work.tape = tape.clone();
        let (journal, secrets) = (work.journal.clone(), work.secrets.clone());
        let (mut kept, mut desk) = (self.state(), Desk::default());
        let outcome = tokio::select! {
            outcome = self.sandbox.execute(work) => outcome,
            never = local::keep_state_in(&mut kept, state_calls) => match never {},
            never = desk.serve(item_calls) => match never {},
            never = shelf.serve(file_calls) => match never {},
        };
        let header = |began_at, seed| {
            let work = Work { items: Some(mpsc::channel(1).0), ..self.work(mpsc::channel(1).0) };
            Header::new(&work, None, began_at, seed)
        };
        if let Some(file) = written
            && let Some(recording) = tape.recording(&outcome, header)
        {
            std::fs::write(&file, Recordings(vec![recording]).write(&secrets)?)?;
        }
        let (outcome_word, class) = try_plugin::words(&outcome);
        let output = match &outcome {
            Outcome::Succeeded { data: Some(data), .. } => serde_json::from_str(data)?,
            _ => Value::Null,
        };
        let came = Came {
            outcome: outcome_word,
            class,
            message: outcome.message(),
            output,
            items: desk.states(),
            ..around(&tape, &journal, kept)
        };
        Ok((came, Some(journal)))
    }

    async fn measured(&self) -> Result<(Came, Option<Arc<Journal>>)> {
        let (state, calls) = mpsc::channel(16);
        let mut work = self.work(state);
        let (tape, _) = self.tape()?;
        work.tape = tape.clone();
        let (journal, mut kept) = (work.journal.clone(), self.state());
        let measured = tokio::select! {
            measured = self.sandbox.measure(work) => measured,
            never = local::keep_state_in(&mut kept, calls) => match never {},
        };
        let (outcome, message, output) = match measured {
            // TOML has no null to expect.
            Ok(found) => match found.age_ms {
                Some(age) => ("succeeded", String::new(), json!({ "size": found.size, "age_ms": age })),
                None => ("succeeded", String::new(), json!({ "size": found.size })),
            },
            Err(why) => ("failed", why, Value::Null),
        };
        Ok((Came { outcome, message, output, ..around(&tape, &journal, kept) }, Some(journal)))
    }

    async fn checked(&self) -> Came {
        if !self.exports("config") {
            return lacks("config");
        }
        let mut came = Came { outcome: "succeeded", ..Came::default() };
        if let Err(problems) = self.sandbox.check(&self.found.digest, self.config()).await {
            came.outcome = "failed";
            came.message = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            for problem in problems {
                let said = came.problems.entry(problem.field).or_default();
                *said = if said.is_empty() { problem.message } else { format!("{said}; {}", problem.message) };
            }
        }
        came
    }

    /// It was asked when it was compiled.
    fn described(&self) -> Came {
        if !self.exports("describe") {
            return lacks("describe");
        }
        Came { outcome: "succeeded", output: self.found.description.clone(), ..Came::default() }
    }

    fn exports(&self, interface: &str) -> bool {
        let name = format!("windlass:plugin/{interface}@");
        self.found.exports.iter().any(|export| export.starts_with(&name))
    }

    /// The file's, and the case's over it: a JSON object.
    fn config(&self) -> String {
        let mut config: Map<String, Value> = self.cases.config.clone();
        config.extend(self.case.config.clone());
        Value::Object(config).to_string()
    }

    fn state(&self) -> local::Kept {
        self.case.state.iter().map(|(key, value)| (key.clone(), (value.clone().into_bytes(), 1))).collect()
    }

    fn work(&self, state: StatePort) -> Work {
        let case = self.case;
        let mut work = local::work("test", self.found.digest.clone(), case.time_limit.0, state);
        work.config = self.config();
        work.input = if case.input.is_null() { "{}".into() } else { case.input.to_string() };
        work.attempt = case.attempt;
        // The case's own stand before the file's.
        let fakes: BTreeMap<&str, &FakeSecret> =
            self.cases.secrets.iter().chain(&case.secrets).map(|secret| (secret.name.as_str(), secret)).collect();
        let value = |secret: &&FakeSecret| (secret.name.clone(), Secret(Arc::from(secret.value.as_bytes())));
        work.secrets = Arc::new(fakes.values().map(value).collect::<HashMap<_, _>>());
        let secrets = fakes.values().map(|secret| secret.grant()).collect();
        work.grant = Arc::new(Grant { http: case.grants(), memory: case.memory, secrets, ..Grant::default() });
        // Whoever names an origin means its address, wherever it is.
        let networks = vec!["0.0.0.0/0".into(), "::/0".into()];
        work.ceiling = Arc::new(Ceiling { hosts: case.allow.clone(), networks, memory: case.memory, ..Ceiling::default() });
        work
    }

    /// Where the answers come from, and the file that a recording goes to.
    fn tape(&self) -> Result<(Arc<Tape>, Option<PathBuf>)> {
        let case = self.case;
        let Some(file) = case.recording.as_ref().map(|file| self.folder.join(file)) else {
            return Ok((Arc::new(Tape::Scripted(Script::new(case.now, SEED, case.script()?))), None));
        };
        if self.record {
            return Ok((Arc::new(Tape::record(case.now)), Some(file)));
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

fn lacks(interface: &str) -> Came {
    Came { outcome: "failed", message: format!("the plugin has no {interface} export"), ..Came::default() }
}

/// What a call left beside its answer.
fn around(tape: &Tape, journal: &Journal, kept: local::Kept) -> Came {
    let text = |(key, (value, _)): (String, (Vec<u8>, u64))| (key, String::from_utf8_lossy(&value).into_owned());
    let (unexpected, left) = match tape {
        Tape::Scripted(script) => (script.unexpected(), script.left()),
        _ => (Vec::new(), Vec::new()),
    };
    Came { state: kept.into_iter().map(text).collect(), log: journal.take().lines, unexpected, left, ..Came::default() }
}
