//! `windlass job …`

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, FixedOffset};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::Global;
use super::backfill::{self, Backfill, Occurrences};
use super::client::{Client, job};
use super::run::{final_word, wait};
use super::show::{Table, now, or_dash, say, say_json, short, when, when_some};
use super::stop::{BAD, Done, Stop, WRONG};
use crate::clock::Timestamp;
use crate::domain::rollout::Stage;
use crate::span::Size;
use crate::web::address::encoded;
use crate::web::api::shape::{JobJson, List, NewRunJson, PauseJson, RolloutJson, RunJson, Started, StateJson, StateValueJson};

#[derive(Subcommand)]
pub enum Command {
    /// All jobs, with their health
    List {
        #[arg(long)]
        tenant: Option<String>,
    },
    /// One job: triggers, next times, definition
    Show {
        #[command(flatten)]
        which: Which,
        /// Each value that holds, and whether the job, its tenant or the server says so
        #[arg(long)]
        effective: bool,
    },
    /// Start a run
    Run(Start),
    /// No new run starts until it is resumed
    Pause(Pause),
    Resume(Which),
    /// What came of the times of its schedules, newest first
    Occurrences(Occurrences),
    /// Runs for times of its schedule that have passed
    Backfill(Backfill),
    /// A new version of its plugin beside the old one: where it stands, or a step with it
    Rollout {
        #[command(flatten)]
        which: Which,
        #[arg(value_parser = ["pause", "resume", "promote", "rollback"])]
        step: Option<String>,
        /// With rollback: runs that began with the new version go on with the old one
        #[arg(long, requires = "step")]
        retries: bool,
    },
    /// What its plugin keeps between runs: all keys, or the value of one
    State {
        #[command(flatten)]
        which: Which,
        key: Option<String>,
        /// Delete the key: the next run finds it missing
        #[arg(long, requires = "key")]
        delete: bool,
    },
}

#[derive(Args)]
pub struct Which {
    /// TENANT/JOB
    job: String,
    #[arg(long)]
    tenant: Option<String>,
}

#[derive(Args)]
pub struct Pause {
    #[command(flatten)]
    which: Which,
    /// Resume it by itself after so long
    #[arg(long = "for", value_name = "SPAN", value_parser = humantime::parse_duration)]
    span: Option<Duration>,
    /// Resume it by itself at this time
    #[arg(long, value_name = "RFC3339", conflicts_with = "span")]
    until: Option<DateTime<FixedOffset>>,
}

#[derive(Args)]
pub struct Start {
    #[command(flatten)]
    which: Which,
    /// JSON that the run gets
    #[arg(long, value_name = "JSON", conflicts_with = "input_file")]
    input: Option<String>,
    #[arg(long, value_name = "FILE")]
    input_file: Option<PathBuf>,
    /// The same key within 24 h gets the same run
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Wait for its end; exit 1 when that is not a success
    #[arg(long)]
    wait: bool,
    /// With --wait: exit 4 after so long
    #[arg(long, value_name = "SPAN", value_parser = humantime::parse_duration, requires = "wait")]
    timeout: Option<Duration>,
}

pub fn run(command: Command, global: &Global) -> Done {
    let client = Client::open(global)?;
    match command {
        Command::List { tenant } => list(&client, tenant.as_deref(), global.json),
        Command::Show { which, effective: false } => show(&client.get(&which.address()?)?, global.json),
        Command::Show { which, effective: true } => effective(client.get(&which.address()?)?, global.json),
        Command::Run(asked) => start(&client, asked, global.json),
        Command::Pause(Pause { which, span, until }) => {
            let until = until.map(|at| Timestamp(at.timestamp_millis())).or(span.map(|span| now().plus(span)));
            switch(&client.post_json(&format!("{}/pause", which.address()?), &PauseJson { until }, &[])?, global.json)
        }
        Command::Occurrences(asked) => backfill::occurrences(&client, &asked, global.json),
        Command::Backfill(asked) => backfill::backfill(&client, asked, global.json),
        Command::Resume(which) => switch(&client.post(&format!("{}/resume", which.address()?))?, global.json),
        Command::Rollout { which, step, retries } => rollout(&client, &which, step.as_deref(), retries, global.json),
        Command::State { which, key, delete } => state(&client, &which, key.as_deref(), delete, global.json),
    }
}

impl Which {
    pub fn address(&self) -> Done<String> {
        let (tenant, job) = job(&self.job, self.tenant.as_deref())?;
        Ok(format!("tenants/{tenant}/jobs/{job}"))
    }
}

fn rollout(client: &Client, which: &Which, step: Option<&str>, retries: bool, json: bool) -> Done {
    let address = which.address()?;
    let job: JobJson = match step {
        Some(step) => client.post(&format!("{address}/rollout/{step}{}", if retries { "?retries=old" } else { "" }))?,
        None => client.get(&address)?,
    };
    if json {
        return say_json(&job.rollout);
    }
    let Some(rollout) = job.rollout else { return say("all runs take one version") };
    let share = rollout.share * 100.0;
    say(stands(&rollout))?;
    let mut table = Table::new(&["", "version", ">share", ">done", ">failed", "digest"]);
    for (name, version, share) in [("new", rollout.new, format!("{share} %")), ("old", rollout.old, String::new())] {
        let (done, failed) = (version.done.to_string(), version.failed.to_string());
        table.row(vec![name.into(), or_dash(version.version), share, done, failed, short(&version.digest, 20)]);
    }
    table.print("")
}

/// Where it stands, since when, by whom and why.
fn stands(rollout: &RolloutJson) -> String {
    let said = Stage::parse(&rollout.stage).map_or_else(|| rollout.stage.clone(), |stage| stage.said().to_owned());
    let why = rollout.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("{said} since {} by {}{why}", when(rollout.changed_at, now()), rollout.changed_by)
}

fn state(client: &Client, which: &Which, key: Option<&str>, delete: bool, json: bool) -> Done {
    let address = format!("{}/state", which.address()?);
    let Some(key) = key else {
        let all: List<StateJson> = client.all(&address)?;
        if json {
            return say_json(&all);
        }
        let (mut table, now) = (Table::new(&["key", ">size", ">version", "changed"]), now());
        for one in all.items {
            table.row(vec![one.key, Size(one.bytes).to_string(), one.version.to_string(), when(one.updated_at, now)]);
        }
        return table.print("it keeps nothing");
    };
    let address = format!("{address}/{}", encoded(key));
    if delete {
        client.delete(&address)?;
        return if json { say_json(&serde_json::json!({ "deleted": key })) } else { say(format_args!("{key} is deleted")) };
    }
    let value: StateValueJson = client.get(&address)?;
    if json {
        return say_json(&value);
    }
    match value.text {
        Some(text) => say(text),
        None => Err(Stop::new(BAD, format!("{key} has {} bytes that are no text; --json gives them in base 64", value.bytes))),
    }
}

fn list(client: &Client, tenant: Option<&str>, json: bool) -> Done {
    let mut jobs: Vec<JobJson> = Vec::new();
    for tenant in client.tenants(tenant)? {
        jobs.extend(client.all::<JobJson>(&format!("tenants/{tenant}/jobs"))?.items);
    }
    if json {
        return say_json(&List::whole(jobs));
    }
    let now = now();
    let mut table = Table::new(&["job", "health", "plugin", "next", "why"]);
    for job in jobs {
        let plugin = format!("{} {}", job.plugin.name, or_dash(job.plugin.version));
        // A pause goes over whatever the watchdog says.
        let why = job.paused_at.and(job.paused_by).map_or(job.why, |by| format!("paused by {by}"));
        table.row(vec![
            format!("{}/{}", job.tenant, job.name),
            job.health,
            plugin,
            when_some(job.next_due_at, now),
            short(&why, 80),
        ]);
    }
    table.print("no jobs: windlass apply FILE makes them")
}

fn effective(job: JobJson, json: bool) -> Done {
    if json {
        return say_json(&job.effective);
    }
    let mut table = Table::new(&["what", "value", "from"]);
    for line in job.effective {
        table.row(vec![line.what, line.value, line.from]);
    }
    table.print("")
}

fn show(job: &JobJson, json: bool) -> Done {
    if json {
        return say_json(job);
    }
    let now = now();
    say(format_args!(
        "{}/{}   {}{}",
        job.tenant,
        job.name,
        job.health,
        if job.why.is_empty() { String::new() } else { format!(": {}", job.why) }
    ))?;
    if let (Some(at), Some(by)) = (job.paused_at, &job.paused_by) {
        let until = job.paused_until.map(|until| format!(", until {}", when(until, now))).unwrap_or_default();
        say(format_args!("paused    {} by {by}{until}", when(at, now)))?;
    }
    say(format_args!(
        "plugin    {} {} ({})",
        job.plugin.name,
        or_dash(job.plugin.version.as_ref()),
        short(&job.plugin.digest, 20)
    ))?;
    if let Some(rollout) = &job.rollout {
        let new = rollout.new.version.as_ref().unwrap_or(&rollout.new.digest);
        say(format_args!("rollout   {} {}", short(new, 20), stands(rollout)))?;
    }
    say(format_args!("class     {}, at most {} unfinished", job.class, job.max_live))?;
    for trigger in &job.triggers {
        say(format_args!("{:<9} {}", trigger.kind, trigger.spec))?;
        let times: Vec<String> = trigger.next.iter().map(|at| at.rfc3339()).collect();
        if !times.is_empty() {
            say(format_args!("          next {}", times.join(", ")))?;
        }
    }
    Ok(())
}

fn switch(job: &JobJson, json: bool) -> Done {
    if json {
        return say_json(job);
    }
    let state = match (job.paused_at, job.paused_until) {
        (None, _) => "not paused".into(),
        (Some(_), None) => "paused".into(),
        (Some(_), Some(until)) => format!("paused until {}", until.rfc3339()),
    };
    say(format_args!("{}/{} is {state}", job.tenant, job.name))
}

fn start(client: &Client, asked: Start, json: bool) -> Done {
    let address = format!("{}/runs", asked.which.address()?);
    let body = NewRunJson { input: input(asked.input, asked.input_file)? };
    let headers: Vec<(&str, &str)> = asked.key.iter().map(|key| ("idempotency-key", key.as_str())).collect();
    let answer: Started = client.post_json(&address, &body, &headers)?;
    if !asked.wait {
        return started(&answer, json);
    }
    let run = wait(client, &answer.run, asked.timeout)?;
    if json {
        say_json(&run)?
    } else {
        say(final_word(&run))?
    }
    if run.state == "succeeded" { Ok(()) } else { Err(Stop::silent(BAD)) }
}

/// Says what became of the wish for a run.
pub fn started(answer: &Started<RunJson>, json: bool) -> Done {
    if json {
        return say_json(answer);
    }
    let (run, how) = (
        &answer.run,
        match (answer.merged, answer.repeated) {
            (true, _) => "merged with",
            (_, true) => "was started before as",
            _ => "started",
        },
    );
    say(format_args!("{how} {}/{} ({})", run.tenant, run.id, run.page_state))
}

fn input(text: Option<String>, file: Option<PathBuf>) -> Done<Option<Value>> {
    let text = match (text, file) {
        (Some(text), _) => text,
        (None, Some(file)) => {
            std::fs::read_to_string(&file).map_err(|wrong| Stop::new(WRONG, format!("{}: {wrong}", file.display())))?
        }
        (None, None) => return Ok(None),
    };
    serde_json::from_str(&text).map(Some).map_err(|wrong| Stop::new(WRONG, format!("the input is no JSON: {wrong}")))
}
