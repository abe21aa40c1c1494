//! `windlass run …`

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use super::client::{self, Client};
use super::job::started;
use super::show::{Table, now, or_dash, passing, say, say_json, say_raw, short, when};
use super::stop::{BAD, Done, Stop, TIMED_OUT, WRONG};
use super::{Global, replay};
use crate::domain::item::Items;
use crate::span::Size;
use crate::web::address::encoded;
use crate::web::api::shape::{ArtifactJson, Count, ItemJson, List, LogJson, RerunJson, RunJson};

/// Between two looks at a run.
const LOOK: Duration = Duration::from_millis(400);

#[derive(Subcommand)]
pub enum Command {
    /// Runs, newest first
    List(Listed),
    /// One run with its attempts
    Show(Which),
    /// What the run said
    Logs {
        #[command(flatten)]
        which: Which,
        /// Go on until the run is over
        #[arg(long, short)]
        follow: bool,
        /// That attempt alone
        #[arg(long)]
        attempt: Option<u32>,
    },
    /// Its named pieces of work, in order
    Items {
        #[command(flatten)]
        which: Which,
        /// pending, running, done, failed or skipped
        #[arg(long)]
        state: Option<String>,
    },
    /// Files that it left behind: all of them, or one saved here
    Artifacts {
        #[command(flatten)]
        which: Which,
        /// Save the one of this name
        #[arg(long, value_name = "NAME")]
        save: Option<String>,
        /// Under another name; - for standard output
        #[arg(long, short, value_name = "FILE", requires = "save")]
        output: Option<PathBuf>,
    },
    /// A new run with the input of one that is over
    Rerun {
        #[command(flatten)]
        which: Which,
        /// Of its items: what is not done, or all of them again
        #[arg(long, value_parser = ["open", "all"])]
        items: Option<String>,
    },
    /// End a waiting run; ask a running one to stop
    Cancel(Which),
    /// What an attempt's guest learned, as a file
    Recording(replay::Fetch),
    /// An attempt once more on this machine, answered from its recording, without the network
    Replay(replay::Replay),
}

#[derive(Args)]
pub struct Which {
    /// TENANT/ID
    run: String,
    #[arg(long)]
    tenant: Option<String>,
}

#[derive(Args)]
pub struct Listed {
    #[arg(long)]
    tenant: Option<String>,
    /// TENANT/JOB
    #[arg(long)]
    job: Option<String>,
    /// waiting, retrying, snoozed, running, succeeded, dead or cancelled
    #[arg(long)]
    state: Option<String>,
    #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
    /// The ID of the last run of the page before; with --tenant or --job
    #[arg(long, value_name = "ID")]
    after: Option<crate::id::Id>,
}

pub fn run(command: Command, global: &Global) -> Done {
    // A file needs no server.
    if let Command::Replay(asked) = &command {
        return replay::run(asked, global);
    }
    let client = Client::open(global)?;
    match command {
        Command::Replay(asked) => replay::run(&asked, global),
        Command::Recording(asked) => replay::fetch(&client, &asked, global),
        Command::List(listed) => list(&client, listed, global.json),
        Command::Show(which) => show(&client.get(&which.address()?)?, global.json),
        Command::Logs { which, follow, attempt } => logs(&client, &which, follow, attempt, global.json),
        Command::Items { which, state } => items(&client, &which, state.as_deref(), global.json),
        Command::Artifacts { which, save: None, .. } => artifacts(&client, &which, global.json),
        Command::Artifacts { which, save: Some(name), output } => save(&client, &which, &name, output, global.json),
        Command::Rerun { which, items } => {
            let body = RerunJson { items: items.map(|items| if items == "all" { Items::All } else { Items::Open }) };
            started(&client.post_json(&format!("{}/rerun", which.address()?), &body, &[])?, global.json)
        }
        Command::Cancel(which) => {
            let run: RunJson = client.post(&format!("{}/cancel", which.address()?))?;
            if global.json { say_json(&run) } else { say(format_args!("{}/{} is {}", run.tenant, run.id, run.page_state)) }
        }
    }
}

impl Which {
    fn address(&self) -> Done<String> {
        let (tenant, run) = client::run(&self.run, self.tenant.as_deref())?;
        Ok(address(&tenant, run))
    }
}

fn address(tenant: &str, run: crate::id::Id) -> String {
    format!("tenants/{tenant}/runs/{run}")
}

fn list(client: &Client, listed: Listed, json: bool) -> Done {
    let (tenant, job) = match &listed.job {
        Some(job) => client::job(job, listed.tenant.as_deref()).map(|(tenant, job)| (Some(tenant), Some(job)))?,
        None => (listed.tenant.clone(), None),
    };
    let mut query = format!("limit={}", listed.limit);
    if let Some(job) = &job {
        query += &format!("&job={job}");
    }
    if let Some(state) = listed.state.as_deref() {
        // Only letters stand in an address; the server names the states there are.
        query += &format!("&state={}", state.chars().filter(char::is_ascii_alphanumeric).collect::<String>());
    }
    if let Some(after) = listed.after {
        if tenant.is_none() {
            return Err(Stop::new(WRONG, "--after goes on in one tenant: say --tenant or --job TENANT/JOB"));
        }
        query += &format!("&after={after}");
    }
    let mut whole = List { items: Vec::<RunJson>::new(), next: None, count: Count { value: 0, capped: false } };
    let tenants = client.tenants(tenant.as_deref())?;
    let one = tenants.len() == 1;
    for tenant in tenants {
        let page: List<RunJson> = client.get(&format!("tenants/{tenant}/runs?{query}"))?;
        whole.items.extend(page.items);
        whole.count = Count { value: whole.count.value + page.count.value, capped: whole.count.capped || page.count.capped };
        // A cursor belongs to one tenant.
        whole.next = page.next.filter(|_| one);
    }
    whole.items.sort_by_key(|run| std::cmp::Reverse(run.id));
    whole.items.truncate(listed.limit as usize);
    if json { say_json(&whole) } else { table(&whole) }
}

/// As people read them.
pub fn table(list: &List<RunJson>) -> Done {
    let now = now();
    let mut table = Table::new(&["run", "job", "state", ">attempt", "made", "trigger", "what"]);
    for run in &list.items {
        let attempt = format!("{}/{}", run.attempt, run.max_attempts);
        let what =
            [&run.error, &run.why, &run.summary].into_iter().flatten().next().map(|text| short(text, 70)).unwrap_or_default();
        table.row(vec![
            format!("{}/{}", run.tenant, run.id),
            run.job.clone(),
            run.page_state.clone(),
            attempt,
            when(run.created_at, now),
            run.trigger.kind.clone(),
            what,
        ]);
    }
    table.print("no such runs")?;
    let more = list.count.value > list.items.len() as u64;
    if more {
        let on = list.next.as_ref().map(|next| format!("; go on with --after {next}")).unwrap_or_default();
        say(format_args!("{} of {}{}{on}", list.items.len(), list.count.value, if list.count.capped { "+" } else { "" }))
    } else {
        Ok(())
    }
}

fn show(run: &RunJson, json: bool) -> Done {
    if json {
        return say_json(run);
    }
    let now = now();
    say(final_word(run))?;
    let line = |name: &str, text: String| say(format_args!("{name:<9} {text}"));
    line("job", format!("{}/{}", run.tenant, run.job))?;
    let by = run.trigger.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let size = run.trigger.size.map(|size| format!(" {size}")).unwrap_or_default();
    line("trigger", format!("{}{size}{by}, {}", run.trigger.kind, when(run.created_at, now)))?;
    line("plugin", format!("{} {}", run.plugin.name, or_dash(run.plugin.version.as_ref())))?;
    line("spent", format!("{} of {} attempts, lost {}, deferred {}", run.failed, run.max_attempts, run.lost, run.snoozed))?;
    if let Some(progress) = &run.progress {
        line("progress", format!("{} of {} {}", progress.done, or_dash(progress.total), progress.message))?;
    }
    if let Some(counts) = &run.counts {
        line(
            "pieces",
            format!("{} taken, {} done, {} failed, {} left", counts.taken, counts.done, counts.failed, or_dash(counts.left)),
        )?;
    }
    if run.items.total() > 0 {
        line("items", run.items.words())?;
    }
    line("input", run.input.to_string())?;
    if !run.output.is_null() {
        line("output", run.output.to_string())?;
    }
    if let Some(of) = run.rerun_of {
        line("re-run of", of.to_string())?;
    }
    let mut table = Table::new(&[">attempt", "outcome", "started", "message"]);
    for attempt in run.attempts.iter().flatten() {
        let message = attempt.message.as_deref().unwrap_or_default();
        table.row(vec![attempt.attempt.to_string(), attempt.outcome.clone(), when(attempt.started_at, now), short(message, 100)]);
    }
    table.print("no attempt yet")
}

/// A run in one line.
pub fn final_word(run: &RunJson) -> String {
    let cause = run.cause.as_ref().map(|cause| format!(" ({cause})")).unwrap_or_default();
    let text =
        [&run.error, &run.why, &run.summary].into_iter().flatten().next().map(|text| format!(": {text}")).unwrap_or_default();
    format!("{}/{} {}{cause}{text}", run.tenant, run.id, run.page_state)
}

/// Looks at the run until it is over.
pub fn wait(client: &Client, run: &RunJson, timeout: Option<Duration>) -> Done<RunJson> {
    let (began, address) = (Instant::now(), address(&run.tenant, run.id));
    loop {
        let run: RunJson = client.get(&address)?;
        if is_over(&run.state) {
            passing("");
            return Ok(run);
        }
        if timeout.is_some_and(|timeout| began.elapsed() >= timeout) {
            passing("");
            let why = run.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            return Err(Stop::new(TIMED_OUT, format!("{}/{} is {} still{why}", run.tenant, run.id, run.page_state)));
        }
        let progress =
            run.progress.as_ref().map(|p| format!(" {} of {} {}", p.done, or_dash(p.total), p.message)).unwrap_or_default();
        passing(&format!("{} {}{progress}", run.id, run.page_state));
        super::pause(LOOK);
    }
}

fn is_over(state: &str) -> bool {
    !matches!(state, "waiting" | "running")
}

fn items(client: &Client, which: &Which, state: Option<&str>, json: bool) -> Done {
    // Only letters stand in an address; the server names the states there are.
    let state: Option<String> = state.map(|state| state.chars().filter(char::is_ascii_alphanumeric).collect());
    let state = state.map(|state| format!("?state={state}")).unwrap_or_default();
    let all: List<ItemJson> = client.all(&format!("{}/items{state}", which.address()?))?;
    if json {
        return say_json(&all);
    }
    let mut table = Table::new(&[">step", "item", "state", ">taken", "what"]);
    for item in &all.items {
        let what = item.message.as_deref().map(|text| short(text, 100)).unwrap_or_default();
        let step = (item.position + 1).to_string();
        table.row(vec![step, item.name.clone(), item.state.word().to_owned(), item.deliveries.to_string(), what]);
    }
    table.print("no such items")
}

fn artifacts(client: &Client, which: &Which, json: bool) -> Done {
    let all: List<ArtifactJson> = client.get(&format!("{}/artifacts", which.address()?))?;
    if json {
        return say_json(&all);
    }
    let (mut table, now) = (Table::new(&["name", "type", ">size", "digest", "made"]), now());
    for one in all.items {
        table.row(vec![one.name, one.media_type, Size(one.bytes).to_string(), one.digest, when(one.created_at, now)]);
    }
    table.print("it left no files behind")
}

fn save(client: &Client, which: &Which, name: &str, output: Option<PathBuf>, json: bool) -> Done {
    let address = format!("{}/artifacts/{}", which.address()?, encoded(name));
    if output.as_deref() == Some(Path::new("-")) {
        return client.download(&address, &mut std::io::stdout().lock()).map(drop);
    }
    // The server's names are file names; another server's may not be.
    let file = output.or_else(|| Path::new(name).file_name().map(PathBuf::from));
    let file = file.ok_or_else(|| Stop::new(WRONG, format!("{name:?} is no name of a file; say --output FILE")))?;
    let unwritable = |wrong: std::io::Error| Stop::new(BAD, format!("{} cannot be written: {wrong}", file.display()));
    let mut out = std::fs::OpenOptions::new().write(true).create_new(true).open(&file).map_err(unwritable)?;
    match client.download(&address, &mut out) {
        Ok(bytes) if json => say_json(&serde_json::json!({ "file": file, "bytes": bytes })),
        Ok(bytes) => say(format_args!("{} has {}", file.display(), Size(bytes))),
        Err(stop) => {
            // Half a file is worse than none; the reason of the failure is what counts.
            let _ = std::fs::remove_file(&file);
            Err(stop)
        }
    }
}

fn logs(client: &Client, which: &Which, follow: bool, attempt: Option<u32>, json: bool) -> Done {
    let address = which.address()?;
    let only = attempt.map(|attempt| format!("attempt={attempt}&")).unwrap_or_default();
    let mut after = String::new();
    loop {
        let page: LogJson = client.get(&format!("{address}/logs?{only}limit=1000{after}"))?;
        for line in &page.lines.items {
            if json {
                // One object a line, so that a program can follow too.
                say_raw(serde_json::to_string(line)?)?;
                continue;
            }
            let level = serde_json::to_value(line.level)?;
            let fields: String = line.fields.iter().map(|(key, value)| format!(" {key}={value}")).collect();
            say(format_args!(
                "{} {} {:<5} {}{fields}",
                line.at.rfc3339(),
                line.attempt,
                level.as_str().unwrap_or_default(),
                // A second line must not look like a line of its own.
                line.message.replace('\n', "\n    ")
            ))?;
        }
        if let Some(last) = page.lines.items.last() {
            after = format!("&after={}.{}", last.attempt, last.number);
        }
        if page.lines.next.is_some() {
            continue;
        }
        if !follow || is_over(&page.state) {
            if page.dropped > 0 && !json {
                say(format_args!("({} more lines were over the limit and dropped)", page.dropped))?;
            }
            return Ok(());
        }
        super::pause(LOOK);
    }
}
