//! A tool's scheduled components as jobs, and a line for everything that is none.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use super::shape::{Build, Component, Emails, Kind, Read, Run, ToolConfig};
use crate::app::tenant_file;
use crate::domain::grant::Ceiling;
use crate::error::Problem;
use crate::span::Span;

/// Where Toolforge's own tools find it.
pub const API: &str = "https://api.svc.tools.eqiad1.wikimedia.cloud:30003/jobs/v1";
/// What Toolforge calls by a nickname runs at :00 for everybody: here each job gets a minute of its own.
const SPREAD: [(&str, &str); 7] = [
    ("@hourly", "~ * * * *"),
    ("@daily", "~ ~ * * *"),
    ("@midnight", "~ 0 * * *"),
    ("@weekly", "~ ~ * * ~"),
    ("@monthly", "~ ~ ~ * *"),
    ("@yearly", "~ ~ ~ ~ *"),
    ("@annually", "~ ~ ~ ~ *"),
];

/// What it is to become.
pub struct Target {
    pub path: String,
    pub tenant: String,
    pub tool: String,
    pub api: String,
}

#[derive(Debug, Serialize)]
pub struct Imported {
    pub tenant: String,
    /// The tenant file.
    pub file: String,
    pub jobs: Vec<Carried>,
    pub not_carried_over: Vec<Left>,
}

#[derive(Debug, Serialize)]
pub struct Carried {
    pub job: String,
    pub schedule: String,
    /// What stood there, where that is another line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule_was: Option<String>,
    /// `None`: Toolforge sets no limit; here it is the longest that the tenant's ceiling has.
    pub timeout_s: Option<u64>,
    /// As Toolforge counts: beside the first attempt.
    pub retry: u64,
    pub emails: Option<Emails>,
}

#[derive(Debug, Serialize)]
pub struct Left {
    pub field: String,
    pub why: String,
}

/// # Errors
/// What stands against the tenant file that would come of it.
pub fn carry(read: &Read, to: &Target) -> Result<Imported, Vec<Problem>> {
    let config = &read.config;
    let scheduled: Vec<_> = config.components.iter().filter(|(_, component)| component.kind() == Kind::Scheduled).collect();
    let longest = scheduled.iter().filter_map(|(_, component)| limit(&component.run)).max();
    let mut file = head(to, longest);
    let mut jobs = Vec::new();
    for (name, component) in scheduled {
        let schedule = component.run.schedule.as_deref().unwrap_or_default().trim();
        let spread = SPREAD.iter().find(|(nickname, _)| *nickname == schedule).map(|(_, line)| *line);
        jobs.push(Carried {
            job: name.clone(),
            schedule: spread.unwrap_or(schedule).to_owned(),
            schedule_was: spread.map(|_| schedule.to_owned()),
            timeout_s: component.run.timeout.filter(|seconds| *seconds > 0),
            retry: component.run.retry.unwrap_or(0),
            emails: component.run.emails,
        });
        let image = image(to, name, &component.build);
        file.push_str(&job(to, &jobs[jobs.len() - 1], &component.run, &image));
    }
    // What is printed must be what apply takes.
    tenant_file::parse("the tenant file", &file)?;
    Ok(Imported { tenant: to.tenant.clone(), file, jobs, not_carried_over: left(read, to) })
}

/// The image that Toolforge has built for a component.
fn image(to: &Target, name: &str, build: &Build) -> String {
    format!("tool-{}/{}:latest", to.tool, build.reuse_from.as_deref().unwrap_or(name))
}

/// Toolforge knows no limit of 0 s: it means none.
fn limit(run: &Run) -> Option<Span> {
    run.timeout.filter(|seconds| *seconds > 0).map(Span::secs)
}

fn head(to: &Target, longest: Option<Span>) -> String {
    let usual = Ceiling::default().time_limit;
    let above = longest.filter(|longest| *longest > usual);
    let above = above.map(|longest| format!("time_limit = {}\n", text(&longest.to_string()))).unwrap_or_default();
    format!(
        "# Made by windlass import toolforge of {}.\ntenant = {}\n\n[ceiling]\nhosts = [{}]\n{above}",
        to.path.replace(char::is_control, " "),
        text(&to.tenant),
        text(origin(&to.api))
    )
}

/// One that starts the component's command at Toolforge and waits for its end.
fn job(to: &Target, carried: &Carried, run: &Run, image: &str) -> String {
    let mut component =
        format!("name = {}, type = \"one-off\", command = {}, image = {}", text(&carried.job), text(&run.command), text(image));
    // In the words that both sides have.
    let kept = serde_json::to_value(run).unwrap_or_default();
    for key in ["cpu", "memory", "mount", "emails", "filelog", "filelog_stdout", "filelog_stderr"] {
        match kept.get(key) {
            Some(Value::String(word)) => component.push_str(&format!(", {key} = {}", text(word))),
            Some(value) => component.push_str(&format!(", {key} = {value}")),
            None => {}
        }
    }
    let time_limit = limit(run).unwrap_or(Ceiling::default().time_limit);
    format!(
        "\n[[job]]\nname = {name}\nplugin = \"toolforge-deploy@1\"\n\
         config = {{ api = {api}, tool = {tool}, components = [{{ {component} }}] }}\n\
         time_limit = {time_limit}\nretry = {{ attempts = {attempts} }}\nitems = {{ order = \"strict\" }}\n\
         triggers = [{{ schedule = {schedule} }}]\n\n\
         [job.grant]\nhttp = [{{ host = {host}, methods = [\"GET\", \"POST\", \"DELETE\"] }}]\n",
        name = text(&carried.job),
        api = text(&to.api),
        tool = text(&to.tool),
        time_limit = text(&time_limit.to_string()),
        attempts = carried.retry + 1,
        schedule = text(&carried.schedule),
        host = text(origin(&to.api)),
    )
}

fn left(read: &Read, to: &Target) -> Vec<Left> {
    let ToolConfig { config_version, source_url, components } = &read.config;
    let mut left = Vec::new();
    let mut note = |field: String, why: String| left.push(Left { field, why });
    if !read.around.is_empty() {
        note(read.around.join(", "), "how a deployment went, and no configuration".into());
    }
    if config_version.is_some() {
        note("config_version".into(), "says how to read this file; a tenant file has none".into());
    }
    if let Some(url) = source_url {
        let why = format!("Toolforge takes its configuration from {url} instead of this file; Windlass takes what is applied");
        note("source_url".into(), why);
    }
    for (name, component) in components {
        if component.kind() == Kind::Continuous {
            let why = "it runs all the time, and Windlass runs what ends: leave it to Toolforge, or deploy it with the plugin toolforge-deploy";
            note(format!("components.{name} ({})", keys(component).join(", ")), why.into());
        } else {
            let why =
                format!("Windlass builds nothing; the job runs {}, which Toolforge has built", image(to, name, &component.build));
            let keys = keys_of(&component.build).into_iter().map(|key| format!("components.{name}.build.{key}"));
            note(keys.collect::<Vec<_>>().join(", "), why);
        }
    }
    left
}

/// All keys that it has, so that none is dropped in silence.
fn keys(component: &Component) -> Vec<String> {
    let build = keys_of(&component.build).into_iter().map(|key| format!("build.{key}"));
    build.chain(keys_of(&component.run).into_iter().map(|key| format!("run.{key}"))).collect()
}

fn keys_of(part: &impl Serialize) -> Vec<String> {
    let value = serde_json::to_value(part).unwrap_or_default();
    value.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default()
}

/// Scheme, host and port.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    &url[..url[host..].find('/').map_or(url.len(), |at| host + at)]
}

/// As TOML writes it.
fn text(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl Imported {
    /// For people: a line a job, then a line for everything that is none.
    pub fn report(&self) -> String {
        let mut report = format!("carried over into tenant {}: {} jobs", self.tenant, self.jobs.len());
        let widest = self.jobs.iter().map(|job| job.job.len()).max().unwrap_or(0);
        for job in &self.jobs {
            let schedule = match &job.schedule_was {
                Some(was) => format!("{} (was {was})", job.schedule),
                None => job.schedule.clone(),
            };
            let timeout = match job.timeout_s {
                Some(seconds) => format!("timeout {seconds} s"),
                None => format!("timeout none, so {}", Ceiling::default().time_limit),
            };
            let emails = match job.emails {
                Some(emails) => {
                    serde_json::to_value(emails).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
                }
                None => "none".into(),
            };
            // Writing to a text cannot fail.
            let _ = write!(report, "\n  {:<widest$}  {schedule}, {timeout}, retry {}, emails {emails}", job.job, job.retry);
        }
        if !self.not_carried_over.is_empty() {
            report.push_str("\nnot carried over:");
        }
        for left in &self.not_carried_over {
            let _ = write!(report, "\n  {}: {}", left.field, left.why);
        }
        report
    }
}
