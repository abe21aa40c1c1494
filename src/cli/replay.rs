//! `windlass run recording` and `windlass run replay`: what a guest learned, and the guest once more with that.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde::Serialize;
use tokio::sync::mpsc;

use super::client::{self, Client};
use super::plugin::component;
use super::serve::runtime;
use super::show::{say, say_json};
use super::stop::{BAD, Done, Stop, WRONG};
use super::{Global, local};
use crate::clock::ManualClock;
use crate::config::Settings;
use crate::domain::attempt::Outcome;
use crate::domain::log::Line;
use crate::error::Result;
use crate::id::Id;
use crate::plugin::catalog::digest;
use crate::plugin::tape::{Came, Divergence, Header, Recording, Recordings};
use crate::plugin::{EMBEDDED, Executor, Journal, Sandbox, Stop as Halt, Tape, Work};

#[derive(Args)]
pub struct Fetch {
    /// TENANT/ID
    run: String,
    #[arg(long)]
    tenant: Option<String>,
    /// The newest that has a recording, when absent
    #[arg(long)]
    attempt: Option<u32>,
    /// Where to write it
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Args)]
pub struct Replay {
    /// TENANT/ID, or a file that `run recording` wrote
    run: String,
    #[arg(long)]
    tenant: Option<String>,
    /// The newest that has a recording, when absent
    #[arg(long)]
    attempt: Option<u32>,
    /// Another component than the one that ran
    #[arg(long, value_name = "FILE")]
    plugin: Option<PathBuf>,
}

/// What became of a replay.
#[derive(Serialize)]
struct Replayed {
    run: Id,
    attempt: u32,
    /// Of the component that ran now.
    plugin: String,
    /// It asked for the same, and came to the same.
    same: bool,
    divergence: Option<Divergence>,
    then: Came,
    /// `null` where it left the recording: nobody knows what it would have come to.
    now: Option<Came>,
    log: Vec<Line>,
    ms: u64,
}

pub fn fetch(client: &Client, asked: &Fetch, global: &Global) -> Done {
    let (tenant, run) = client::run(&asked.run, asked.tenant.as_deref())?;
    let bytes = client.get_bytes(&address(&tenant, run, asked.attempt))?;
    let file = asked.output.display();
    std::fs::write(&asked.output, &bytes).map_err(|wrong| Stop::new(WRONG, format!("{file}: {wrong}")))?;
    let recordings = Recordings::read(&bytes)?;
    let attempt = recordings.0.first().map_or(0, |recording| recording.header.attempt);
    if global.json {
        return say_json(
            &serde_json::json!({ "file": asked.output, "bytes": bytes.len(), "attempt": attempt, "cut": recordings.is_cut() }),
        );
    }
    let cut = if recordings.is_cut() { "; it was over its limit, its end is missing" } else { "" };
    say(format_args!("{file}: attempt {attempt} of {tenant}/{run}, {} bytes{cut}", bytes.len()))
}

fn address(tenant: &str, run: Id, attempt: Option<u32>) -> String {
    let attempt = attempt.map(|attempt| format!("?attempt={attempt}")).unwrap_or_default();
    format!("tenants/{tenant}/runs/{run}/recording{attempt}")
}

/// Exit code 0 when it did the same, 1 when not.
pub fn run(asked: &Replay, global: &Global) -> Done {
    let settings = global.node()?;
    let file = Path::new(&asked.run);
    let (recordings, client) = if file.is_file() {
        let bytes = std::fs::read(file).map_err(|wrong| Stop::new(WRONG, format!("{}: {wrong}", file.display())))?;
        (Recordings::read(&bytes)?, None)
    } else {
        let (tenant, run) = client::run(&asked.run, asked.tenant.as_deref())?;
        let client = Client::open(global)?;
        (Recordings::read(&client.get_bytes(&address(&tenant, run, asked.attempt))?)?, Some(client))
    };
    let wanted = recordings.0.first().map(|recording| recording.header.digest.clone()).unwrap_or_default();
    let bytes = plugin(asked.plugin.as_deref(), &wanted, client.as_ref())?;
    let replayed = runtime()?.block_on(local::in_a_folder("replay", |folder| replay(&settings, folder, bytes, recordings)))?;
    if global.json {
        say_json(&replayed)?
    } else {
        tell(&replayed)?
    }
    if replayed.same { Ok(()) } else { Err(Stop::silent(BAD)) }
}

/// The one that was given, else the one that ran: of this binary, or of the server.
fn plugin(given: Option<&Path>, wanted: &str, client: Option<&Client>) -> Done<Vec<u8>> {
    if let Some(file) = given {
        return component(file);
    }
    if let Some(embedded) = EMBEDDED.iter().find(|embedded| digest(embedded.bytes) == wanted) {
        return Ok(embedded.bytes.to_vec());
    }
    match client {
        Some(client) => client.get_bytes(&format!("plugins/{wanted}/component")),
        None => Err(Stop::new(WRONG, format!("the recording is of plugin {wanted}: give its file, --plugin FILE"))),
    }
}

async fn replay(settings: &Settings, folder: PathBuf, bytes: Vec<u8>, recordings: Recordings) -> Result<Replayed> {
    let began = recordings.0.first().map(|recording| recording.header.began_at).unwrap_or_default();
    let sandbox = local::sandbox_at(settings, folder, ManualClock::at(began))?;
    let digest = sandbox.catalog().add(bytes).await?.digest;
    let (since, journal) = (Instant::now(), Arc::new(Journal::default()));
    let mut last = None;
    for recording in recordings.0 {
        let played = one(&sandbox, &digest, recording, &journal).await;
        let goes_on = played.same;
        last = Some(played);
        if !goes_on {
            break;
        }
    }
    let Some(mut replayed) = last else { return Err(crate::error::Error::invalid("recording", "there is nothing in it")) };
    replayed.log = journal.take().lines;
    replayed.ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(replayed)
}

/// One call of an export.
async fn one(sandbox: &Sandbox, digest: &str, recording: Recording, journal: &Arc<Journal>) -> Replayed {
    let (header, then) = (recording.header.clone(), recording.end.outcome.clone());
    let stop = Arc::new(Halt::default());
    let tape = Arc::new(Tape::replay(recording, stop.clone()));
    let work = work(&header, digest, journal.clone(), stop, tape.clone());
    let outcome = match header.finish {
        Some(totals) => sandbox.finish(work, totals).await,
        None => sandbox.execute(work).await,
    };
    let divergence = tape.divergence();
    let now = if divergence.is_some() {
        // It ran to its end and left something out, or it was stopped where it left the recording.
        (outcome != Outcome::Cancelled).then(|| Came::from(&outcome))
    } else if tape.waited_to_the_end() || then.was_stopped() && digest == header.digest {
        // As far as the recording goes it did the same; where it was stopped then is chance.
        Some(then.clone())
    } else {
        Some(Came::from(&outcome))
    };
    let alike = |now: &Came| now.outcome == then.outcome && (now == &then || then.was_stopped());
    let same = divergence.is_none() && now.as_ref().is_some_and(alike);
    let (run, attempt, plugin) = (header.run, header.attempt, digest.to_owned());
    Replayed { run, attempt, plugin, same, divergence, then, now, log: Vec::new(), ms: 0 }
}

fn work(header: &Header, digest: &str, journal: Arc<Journal>, stop: Arc<Halt>, tape: Arc<Tape>) -> Work {
    // Nobody is asked: the tape answers.
    let (state, _) = mpsc::channel(1);
    let mut work = local::work(&header.job, digest.to_owned(), header.time_limit(), state);
    (work.tenant, work.run, work.attempt) = (header.tenant.clone(), header.run, header.attempt);
    (work.trigger, work.config, work.input) = (header.cause(), header.config.clone(), header.input.clone());
    (work.grant, work.ceiling) = (Arc::new(header.grant.clone()), Arc::new(header.ceiling.clone()));
    work.grace = std::time::Duration::from_millis(header.grace_ms);
    (work.journal, work.stop, work.tape) = (journal, stop, tape);
    work
}

fn tell(replayed: &Replayed) -> Done {
    for line in &replayed.log {
        say(format_args!("{:>5}  {}", format!("{:?}", line.level).to_lowercase(), line.message))?;
    }
    let words = |came: &Came| format!("{}: {}", came.outcome, came.message);
    if replayed.same {
        return say(format_args!("the same again, in {} ms: {}", replayed.ms, words(&replayed.then)));
    }
    if let Some(Divergence { call, recorded, now }) = &replayed.divergence {
        say(format_args!("it leaves the recording at call {call}\n  recorded  {recorded}\n  now       {now}"))?;
    }
    let now = replayed.now.as_ref().map_or("stopped there".to_owned(), words);
    say(format_args!("then  {}\nnow   {now}", words(&replayed.then)))
}
