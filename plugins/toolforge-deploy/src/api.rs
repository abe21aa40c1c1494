//! The jobs API: one function a call, and what its answers say.
//!
//! A change carries a key that is the same whenever the same run asks for the same: an API that knows keys does it once.

use std::time::Duration;

use serde_json::Value;
use windlass_plugin::http::{self, Request, Response};
use windlass_plugin::text::quote;
use windlass_plugin::{Failure, log, secrets};

use crate::component::Component;
use crate::config::Config;

/// Bytes of an answer.
const ANSWER: usize = 1024 * 1024;
/// How much of its words a message quotes.
const QUOTED: usize = 500;
/// What may be sent twice is sent up to so often.
const TRIES: u32 = 5;

pub struct Api {
    jobs: String,
    run: String,
    timeout: Duration,
    bearer: Option<String>,
}

/// What it made of a component, in its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    Created,
    Updated,
    UpToDate,
    /// It does not change the job that is there in its place; with its reason.
    Refused(String),
}

/// A job that stands at the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// `continuous` or `scheduled`: no job that runs once.
    pub other: Option<&'static str>,
    pub stage: Stage,
    /// As the API tells it.
    pub words: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Running,
    Completed,
    Failed,
}

impl Api {
    pub fn open(config: &Config, run: &str) -> Result<Self, Failure> {
        let bearer = config.secret.as_deref().map(secrets::stand_in).transpose()?;
        let jobs = format!("{}/tool/{}/jobs/", config.api.trim_end_matches('/'), config.tool);
        Ok(Self { jobs, run: run.to_owned(), timeout: config.timeout(), bearer })
    }

    /// Makes the job as it is wanted, whether it is there or not.
    pub fn upsert(&self, component: &Component) -> Result<Made, Failure> {
        let asked = self.change("PATCH", "", &component.name, "upsert").json(&component.job())?;
        let answered = asked.send()?;
        if answered.status == 409 {
            return Ok(Made::Refused(quote(&answered.beginning(QUOTED), QUOTED)));
        }
        let text = answered.success()?.text(ANSWER)?;
        made(&component.name, &parsed(&text)?).ok_or_else(|| {
            Failure::transient(format!("PATCH {}: it does not say what became of the job: {}", self.jobs, quote(&text, QUOTED)))
        })
    }

    /// `false`: there is a job of this name. `n` tells one creation of a run from another.
    pub fn create(&self, component: &Component, n: u32) -> Result<bool, Failure> {
        let asked = self.change("POST", "", &component.name, &format!("create-{n}")).json(&component.job())?;
        let answered = asked.send()?;
        if answered.status == 409 {
            return Ok(false);
        }
        let answer = parsed(&answered.success()?.text(ANSWER)?)?;
        warn_of(&answer);
        Ok(true)
    }

    /// One that is gone already is as good. Without a key: after another creation it is another deletion.
    pub fn delete(&self, name: &str) -> Result<(), Failure> {
        let answered = self.request("DELETE", name).retry(TRIES).send()?;
        if answered.status != 404 {
            answered.success()?;
        }
        Ok(())
    }

    pub fn restart(&self, name: &str) -> Result<(), Failure> {
        self.change("POST", &format!("{name}/restart"), name, "restart").send()?.success()?;
        Ok(())
    }

    /// `None`: there is no job of this name.
    pub fn standing(&self, name: &str) -> Result<Option<Standing>, Failure> {
        let answered: Response = self.request("GET", name).retry(TRIES).send()?;
        if answered.status == 404 {
            return Ok(None);
        }
        let text = answered.success()?.text(ANSWER)?;
        let found = standing(&parsed(&text)?);
        found
            .map(Some)
            .ok_or_else(|| Failure::transient(format!("GET {}{name}: it tells no status: {}", self.jobs, quote(&text, QUOTED))))
    }

    fn request(&self, method: &str, path: &str) -> Request {
        let request = http::request(method, format!("{}{path}", self.jobs));
        let request = request.connect_timeout(self.timeout).first_byte_timeout(self.timeout).between_bytes_timeout(self.timeout);
        match &self.bearer {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn change(&self, method: &str, path: &str, component: &str, step: &str) -> Request {
        self.request(method, path).header("idempotency-key", format!("{}/{component}/{step}", self.run))
    }
}

/// A page in the place of an answer is something between us and the API, and passes.
fn parsed(text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|_| Failure::transient(format!("the jobs API answered no JSON: {}", quote(text, QUOTED))))
}

fn warn_of(answer: &Value) {
    for warning in lines(answer, "warning").chain(lines(answer, "error")) {
        log::warn!("the jobs API says: {}", quote(warning, QUOTED));
    }
}

/// By its messages, and where those say nothing by its flag. A component's `name` may hold any of its words.
fn made(name: &str, answer: &Value) -> Option<Made> {
    warn_of(answer);
    for line in lines(answer, "info").map(|line| line.replace(name, "")) {
        for (words, made) in [("up to date", Made::UpToDate), ("created", Made::Created), ("updated", Made::Updated)] {
            if line.contains(words) {
                return Some(made);
            }
        }
    }
    let changed = answer.get("job_changed").and_then(Value::as_bool)?;
    Some(if changed { Made::Updated } else { Made::UpToDate })
}

fn lines<'a>(answer: &'a Value, level: &str) -> impl Iterator<Item = &'a str> {
    answer["messages"][level].as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn standing(answer: &Value) -> Option<Standing> {
    let job = answer.get("job").unwrap_or(answer);
    let short = job.get("status_short").and_then(Value::as_str)?;
    let long = job.get("status_long").and_then(Value::as_str).filter(|long| !long.trim().is_empty()).unwrap_or(short);
    let begins = |words: &[&str]| words.iter().any(|word| short.to_lowercase().starts_with(word));
    let stage = match short {
        _ if begins(&["completed", "succeeded"]) => Stage::Completed,
        _ if begins(&["failed"]) => Stage::Failed,
        _ => Stage::Running,
    };
    let other = match job {
        job if job["schedule"].is_string() => Some("scheduled"),
        job if job["continuous"] == true || job["job_type"] == "continuous" => Some("continuous"),
        _ => None,
    };
    Some(Standing { other, stage, words: quote(long, QUOTED) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn its_words_are_read() {
        let says = |line: &str| made("recreated-index", &json!({ "messages": { "info": [line] } }));
        assert_eq!(says("Job redis is already up to date"), Some(Made::UpToDate));
        assert_eq!(says("Job redis created"), Some(Made::Created));
        assert_eq!(says("Job redis updated"), Some(Made::Updated));
        assert_eq!(says("Job recreated-index updated"), Some(Made::Updated));
        assert_eq!(says("hello"), None);
        assert_eq!(made("a", &json!({ "job_changed": true, "messages": {} })), Some(Made::Updated));
        assert_eq!(made("a", &json!({ "job_changed": false })), Some(Made::UpToDate));
        assert_eq!(made("a", &json!({})), None);
    }

    #[test]
    fn a_status_is_read_and_a_job_of_another_kind_is_seen() {
        let stage = |short: &str| standing(&json!({ "job": { "status_short": short } })).unwrap().stage;
        assert_eq!(
            ["Completed", "Failed", "Running for 3m", "Pending"].map(stage),
            [Stage::Completed, Stage::Failed, Stage::Running, Stage::Running]
        );
        let cron = standing(&json!({ "job": { "status_short": "Last schedule time: …", "schedule": "5 * * * *" } })).unwrap();
        assert_eq!((cron.other, cron.stage), (Some("scheduled"), Stage::Running));
        assert_eq!(standing(&json!({ "status_short": "Running", "continuous": true })).unwrap().other, Some("continuous"));
        assert_eq!(standing(&json!({ "jobs": [] })), None);
    }

    #[test]
    fn a_page_is_no_answer() {
        let failure = parsed("<h1>Bad gateway</h1>").unwrap_err();
        assert_eq!(failure.class(), windlass_plugin::Class::Transient);
        assert!(failure.message().contains("'<h1>Bad gateway</h1>'"), "{failure}");
    }
}
