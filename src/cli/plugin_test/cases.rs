//! The file of cases: what a plugin is given, and what must come of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::config::document::Document;
use crate::domain::grant::{HttpGrant, Origin, SecretGrant, SecretUse};
use crate::domain::item::ItemState;
use crate::domain::span::{Size, Span};
use crate::error::{Error, Problem, Result, did_you_mean};
use crate::plugin::tape::{Failure, Response, Scripted};

/// A file of cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cases {
    /// The component, beside this file; the command line's stands before it.
    pub plugin: Option<PathBuf>,
    /// What every case has unless it says otherwise.
    #[serde(default)]
    pub config: Map<String, Value>,
    #[serde(default)]
    pub secrets: Vec<FakeSecret>,
    #[serde(rename = "case")]
    pub cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    #[serde(default)]
    pub call: Call,
    #[serde(default)]
    pub input: Value,
    /// Over the file's, key by key.
    #[serde(default)]
    pub config: Map<String, Value>,
    #[serde(default = "one")]
    pub attempt: u32,
    #[serde(default = "minute")]
    pub time_limit: Span,
    #[serde(default = "memory")]
    pub memory: Size,
    /// When it begins: RFC 3339.
    #[serde(default = "new_year")]
    pub now: Timestamp,
    /// Beside the file's.
    #[serde(default)]
    pub secrets: Vec<FakeSecret>,
    /// The job's state before: each value is at version 1.
    #[serde(default)]
    pub state: BTreeMap<String, String>,
    #[serde(default)]
    pub http: Vec<Answer>,
    /// A folder beside the file: what other runs have left, as `plugin run --artifact-source` has it.
    pub artifact_source: Option<PathBuf>,
    /// Answers of real targets, noted by `--record`.
    pub recording: Option<PathBuf>,
    /// Origins that `--record` may ask.
    #[serde(default)]
    pub allow: Vec<String>,
    pub expect: Expected,
}

/// The export that a case calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Call {
    #[default]
    Run,
    /// Of `config`.
    Check,
    /// Of `backlog`.
    Measure,
    Describe,
}

impl Call {
    fn word(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Check => "check",
            Self::Measure => "measure",
            Self::Describe => "describe",
        }
    }
}

/// A secret with a value that is none, and how it may be used.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FakeSecret {
    pub name: String,
    pub value: String,
    #[serde(rename = "use")]
    pub usage: SecretUse,
    pub algorithm: Option<String>,
    pub begins_with: Option<String>,
    pub header: Option<String>,
    pub parameter: Option<String>,
    #[serde(default)]
    pub hosts: Vec<String>,
}

impl FakeSecret {
    pub fn grant(&self) -> SecretGrant {
        let Self { name, usage, algorithm, begins_with, header, parameter, hosts, .. } = self.clone();
        SecretGrant { name, usage, algorithm, begins_with, header, parameter, hosts }
    }
}

/// What a target answers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    #[serde(default = "get")]
    method: String,
    url: String,
    /// Must stand in the request's body.
    body_contains: Option<String>,
    #[serde(default = "one")]
    times: u32,
    /// How much later the clock is then.
    after: Option<Span>,
    #[serde(default = "ok")]
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    text: Option<String>,
    json: Option<Value>,
    /// Instead of an answer: a case of wasi:http's error-code.
    error: Option<String>,
}

/// What must be; what is absent may be anything.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expected {
    /// succeeded, failed, timed_out, out_of_memory, trapped
    pub outcome: Option<String>,
    /// Of failed: transient, permanent, snoozed
    pub class: Option<String>,
    /// Must stand in the summary, or in the error.
    pub message: Option<String>,
    pub output: Option<Value>,
    /// The same, and its objects may have more keys than these.
    pub output_has: Option<Value>,
    /// Of check: what must stand in what is wrong, by field.
    pub problems: Option<BTreeMap<String, String>>,
    pub items: Option<BTreeMap<String, ItemState>>,
    /// Each must stand in a line, in this order.
    pub log: Vec<String>,
    pub state: Option<BTreeMap<String, String>>,
}

fn one() -> u32 {
    1
}

fn minute() -> Span {
    Span(Duration::from_secs(60))
}

fn memory() -> Size {
    Size::mib(64)
}

fn new_year() -> Timestamp {
    Timestamp(1_767_225_600_000)
}

fn get() -> String {
    "GET".into()
}

fn ok() -> u16 {
    200
}

pub const OUTCOMES: [&str; 5] = ["succeeded", "failed", "timed_out", "out_of_memory", "trapped"];
const CLASSES: [&str; 3] = ["transient", "permanent", "snoozed"];

/// # Errors
/// [`Error::Invalid`] with everything that is wrong, each with file, line and field.
pub fn read(file: &Path) -> Result<Cases> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .map_err(|wrong| Error::invalid("", format!("{name}: {wrong}; --cases names another file of cases")))?;
    let document = Document::parse(&name, &text);
    let mut read = document.read::<Cases>();
    if let Some(cases) = &read.value {
        let found = cases.cases.iter().enumerate().flat_map(|(n, case)| case.contradictions(&format!("case[{n}]")));
        read.problems.extend(found.map(|problem| document.placed(problem)));
        if cases.cases.is_empty() {
            read.problems.push(document.placed(Problem::new("case", "there is none; write [[case]]")));
        }
    }
    match read.value {
        Some(cases) if read.problems.is_empty() => Ok(cases),
        _ => Err(Error::Invalid(read.problems)),
    }
}

impl Case {
    fn contradictions(&self, field: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut refuse = |key: String, message: String| problems.push(Problem::new(format!("{field}.{key}"), message));
        for (key, word, words) in [("outcome", &self.expect.outcome, &OUTCOMES[..]), ("class", &self.expect.class, &CLASSES[..])]
        {
            if let Some(word) = word.as_ref().filter(|word| !words.contains(&word.as_str())) {
                let near = did_you_mean(word, words.iter().copied());
                refuse(format!("expect.{key}"), format!("{word:?} is not known{near}; there are {}", words.join(", ")));
            }
        }
        for (n, answer) in self.http.iter().enumerate() {
            if let Err(wrong) = answer.scripted() {
                refuse(format!("http[{n}]"), wrong);
            }
        }
        for (n, origin) in self.allow.iter().enumerate() {
            if let Err(wrong) = Origin::parse(origin) {
                refuse(format!("allow[{n}]"), wrong);
            }
        }
        if self.recording.is_some() && !self.http.is_empty() {
            refuse("http".into(), "the answers come from the recording already; leave one of them out".into());
        }
        for (key, calls) in self.misplaced() {
            let right = calls.iter().map(|call| format!("call = {:?}", call.word())).collect::<Vec<_>>().join(" or ");
            let call = self.call.word();
            refuse(key.into(), format!("belongs to {right}, and this case has call = {call:?}; leave one of them out"));
        }
        problems
    }

    /// Keys that say nothing of this case's call, and the calls that they are for.
    fn misplaced(&self) -> impl Iterator<Item = (&'static str, &'static [Call])> {
        const RUN: &[Call] = &[Call::Run];
        const ASKING: &[Call] = &[Call::Run, Call::Measure];
        let expect = &self.expect;
        let given = [
            ("input", !self.input.is_null(), RUN),
            ("attempt", self.attempt != one(), RUN),
            ("recording", self.recording.is_some(), RUN),
            ("expect.class", expect.class.is_some(), RUN),
            ("expect.items", expect.items.is_some(), RUN),
            ("http", !self.http.is_empty(), ASKING),
            ("secrets", !self.secrets.is_empty(), ASKING),
            ("state", !self.state.is_empty(), ASKING),
            ("expect.log", !expect.log.is_empty(), ASKING),
            ("expect.state", expect.state.is_some(), ASKING),
            ("config", !self.config.is_empty(), &[Call::Run, Call::Measure, Call::Check]),
            ("expect.problems", expect.problems.is_some(), &[Call::Check]),
        ];
        let call = self.call;
        given.into_iter().filter(move |(_, is, calls)| *is && !calls.contains(&call)).map(|(key, _, calls)| (key, calls))
    }

    /// # Errors
    /// Never for a case that was read.
    pub fn script(&self) -> Result<Vec<Scripted>> {
        self.http.iter().map(|answer| answer.scripted().map_err(|wrong| Error::invalid("http", wrong))).collect()
    }

    /// For `--record`: every method to the origins that the case names.
    pub fn grants(&self) -> Vec<HttpGrant> {
        let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].map(str::to_owned).to_vec();
        self.allow.iter().map(|host| HttpGrant { host: host.clone(), methods: methods.clone() }).collect()
    }
}

impl Answer {
    fn scripted(&self) -> std::result::Result<Scripted, String> {
        let mut headers: Vec<(String, String)> =
            self.headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect();
        let body = match (&self.text, &self.json) {
            (Some(_), Some(_)) => return Err("text and json are two bodies; leave one of them out".into()),
            (Some(text), None) => text.clone(),
            (None, Some(json)) => {
                if !headers.iter().any(|(name, _)| name == "content-type") {
                    headers.push(("content-type".into(), "application/json".into()));
                }
                json.to_string()
            }
            (None, None) => String::new(),
        };
        if !(100..=599).contains(&self.status) {
            return Err(format!("{} is no status; write 100 to 599", self.status));
        }
        let answer = match &self.error {
            None => Ok(Response { status: self.status, headers, body: body.into_bytes() }),
            Some(error) => {
                if !Failure::names().any(|name| name == error) {
                    let near = did_you_mean(error, Failure::names());
                    return Err(format!(
                        "{error:?} is no error{near}; there are {}",
                        Failure::names().collect::<Vec<_>>().join(", ")
                    ));
                }
                Err(Failure { error: error.clone(), detail: None })
            }
        };
        let (method, url, body_contains) = (self.method.to_uppercase(), self.url.clone(), self.body_contains.clone());
        let after = self.after.map_or(Duration::ZERO, |after| after.0);
        Ok(Scripted { method, url, body_contains, times: self.times, after, answer })
    }
}
