//! The component configuration of Toolforge (`v1beta1`), read with everything that is wrong in it named by its field.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::document::Document;
use crate::domain::plugin::is_name;
use crate::domain::schedule::Schedule;
use crate::error::{Problem, did_you_mean};
use crate::id::Id;

/// What a file holds.
#[derive(Debug)]
pub struct Read {
    pub config: ToolConfig,
    /// The keys around it that are no configuration: of a deployment, how it went.
    pub around: Vec<&'static str>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolConfig {
    pub config_version: Option<Version>,
    pub source_url: Option<String>,
    pub components: BTreeMap<String, Component>,
}

#[derive(Debug, Deserialize)]
pub enum Version {
    #[serde(rename = "v1beta1")]
    V1Beta1,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    pub build: Build,
    pub run: Run,
    component_type: Option<Kind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Continuous,
    Scheduled,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_latest_versions: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_deprecated_versions: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reuse_from: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    pub command: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emails: Option<Emails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount: Option<Mount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filelog: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filelog_stdout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filelog_stderr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_protocol: Option<Protocol>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check_script: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check_http: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Emails {
    None,
    All,
    OnFinish,
    OnFailure,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mount {
    All,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
}

/// What Toolforge keeps of a deployment, the configuration among it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Deployment {
    tool_config: ToolConfig,
    deploy_id: Option<IgnoredAny>,
    creation_time: Option<IgnoredAny>,
    builds: Option<IgnoredAny>,
    runs: Option<IgnoredAny>,
    status: Option<IgnoredAny>,
    long_status: Option<IgnoredAny>,
    force_build: Option<IgnoredAny>,
    force_run: Option<IgnoredAny>,
}

impl Component {
    /// What it says it is; what its keys say, when it does not.
    pub fn kind(&self) -> Kind {
        self.component_type.unwrap_or(if self.run.schedule.is_some() { Kind::Scheduled } else { Kind::Continuous })
    }
}

/// A component configuration, or a deployment with one. JSON is YAML too.
///
/// # Errors
/// Everything that is wrong.
pub fn read(path: &str, text: &str) -> Result<Read, Vec<Problem>> {
    let broken = |wrong: serde_saphyr::Error| {
        let line = wrong.location().and_then(|at| usize::try_from(at.line()).ok());
        // Below the first line it draws a picture of the place.
        let says = wrong.to_string();
        let message = format!("this is neither YAML nor JSON: {}", says.lines().next().unwrap_or_default());
        vec![Problem { file: Some(path.to_owned()), line, ..Problem::new("", message) }]
    };
    let tree: Value = serde_saphyr::from_str(text).map_err(broken)?;
    let (config, around, prefix) = if tree.get("tool_config").is_some() {
        let Deployment { tool_config, deploy_id, creation_time, builds, runs, status, long_status, force_build, force_run } =
            typed(path, tree)?;
        let keys = [
            ("deploy_id", deploy_id),
            ("creation_time", creation_time),
            ("builds", builds),
            ("runs", runs),
            ("status", status),
            ("long_status", long_status),
            ("force_build", force_build),
            ("force_run", force_run),
        ];
        (tool_config, keys.into_iter().filter_map(|(key, there)| there.map(|_| key)).collect(), "tool_config.")
    } else {
        (typed(path, tree)?, Vec::new(), "")
    };
    let problems: Vec<_> = contradictions(&config)
        .into_iter()
        .map(|problem| Problem { file: Some(path.to_owned()), field: format!("{prefix}{}", problem.field), ..problem })
        .collect();
    if problems.is_empty() { Ok(Read { config, around }) } else { Err(problems) }
}

fn typed<T: DeserializeOwned>(path: &str, tree: Value) -> Result<T, Vec<Problem>> {
    let mut read = Document::of_tree(path, tree).read::<T>();
    match read.value.take() {
        Some(value) if read.problems.is_empty() => Ok(value),
        // The tree has lost its lines; the fields lead there.
        _ => Err(read.problems.into_iter().map(|problem| Problem { line: None, ..problem }).collect()),
    }
}

fn contradictions(config: &ToolConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    if config.components.is_empty() {
        problems.push(Problem::new("components", "is empty; a tool has at least one"));
    }
    for (name, component) in &config.components {
        let field = format!("components.{name}");
        let mut refuse = |key: &str, message: String| problems.push(Problem::new(format!("{field}{key}"), message));
        if !is_name(name) {
            refuse("", format!("{name:?} is no name; write a-z, 0-9 and -, beginning with a letter, at most 63"));
        }
        wrong_build(name, config, &mut |key, message| refuse(&format!(".build.{key}"), message));
        wrong_run(component, &mut |key, message| refuse(&format!(".run.{key}"), message));
    }
    problems
}

fn wrong_build(name: &str, config: &ToolConfig, refuse: &mut dyn FnMut(&str, String)) {
    let build = &config.components[name].build;
    let Some(from) = &build.reuse_from else {
        for (key, missing) in [("repository", build.repository.is_none()), ("ref", build.git_ref.is_none())] {
            if missing {
                refuse(key, "is missing; a build has repository and ref, or reuse_from".into());
            }
        }
        return;
    };
    if let Some(repository) = &build.repository {
        refuse("reuse_from", format!("{from:?} and repository = {repository:?} do not go together; leave one of them out"));
    }
    match config.components.get(from) {
        None => {
            let near = did_you_mean(from, config.components.keys().map(String::as_str));
            refuse("reuse_from", format!("there is no component {from:?}{near}"));
        }
        Some(_) if from == name => refuse("reuse_from", "names its own component; name another, or a repository".into()),
        Some(parent) => {
            if let Some(further) = &parent.build.reuse_from {
                let right = format!("name the component that is built, {further:?} if it is that one");
                refuse("reuse_from", format!("{from:?} is not built but re-uses the build of {further:?}; {right}"));
            }
        }
    }
}

fn wrong_run(component: &Component, refuse: &mut dyn FnMut(&str, String)) {
    let run = &component.run;
    if run.command.trim().is_empty() {
        refuse("command", "is empty; write what to run".into());
    }
    for (key, number, least, most) in
        [("retry", run.retry, 0, 5), ("replicas", run.replicas, 1, 1_000), ("port", run.port.map(u64::from), 1, 65_535)]
    {
        if let Some(number) = number.filter(|number| !(least..=most).contains(number)) {
            refuse(key, format!("{number} is not possible; write {least} to {most}"));
        }
    }
    if let Some(path) = run.publish.as_ref().filter(|path| *path != "/") {
        refuse("publish", format!("{path:?} is not possible; write \"/\""));
    }
    if let (Some(script), Some(http)) = (&run.health_check_script, &run.health_check_http) {
        let message = format!("{script:?} and health_check_http = {http:?} do not go together; leave one of them out");
        refuse("health_check_script", message);
    }
    let kind = component.kind();
    let (word, others) = match kind {
        Kind::Scheduled => ("scheduled", of_continuous(run)),
        Kind::Continuous => ("continuous", of_scheduled(run)),
    };
    for key in others.into_iter().filter_map(|(key, there)| there.then_some(key)) {
        refuse(key, format!("a component_type of {word:?} has no such key; leave it out"));
    }
    match &run.schedule {
        None if kind == Kind::Scheduled => refuse("schedule", "is missing, and component_type = \"scheduled\" needs it".into()),
        Some(line) => {
            if let Err(wrong) = Schedule::parse(line, Tz::UTC, Id(0)) {
                refuse("schedule", wrong);
            }
        }
        None => {}
    }
}

fn of_continuous(run: &Run) -> Vec<(&'static str, bool)> {
    vec![
        ("port", run.port.is_some()),
        ("port_protocol", run.port_protocol.is_some()),
        ("publish", run.publish.is_some()),
        ("replicas", run.replicas.is_some()),
        ("health_check_script", run.health_check_script.is_some()),
        ("health_check_http", run.health_check_http.is_some()),
    ]
}

fn of_scheduled(run: &Run) -> Vec<(&'static str, bool)> {
    vec![("schedule", run.schedule.is_some()), ("timeout", run.timeout.is_some()), ("retry", run.retry.is_some())]
}
