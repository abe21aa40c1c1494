//! `windlass dead …`

use clap::{Args, Subcommand, ValueEnum};
use serde::de::DeserializeOwned;

use super::Global;
use super::client::{self, Client};
use super::run::table;
use super::show::{Table, now, passing, say, say_json, short, when};
use super::stop::{BAD, Done, Stop, WRONG};
use crate::clock::Timestamp;
use crate::domain::dead::{Action, Standing};
use crate::domain::run::Reason;
use crate::web::address::encoded;
use crate::web::api::shape::{
    CauseJson, Count, DeadJson, List, NewOperationJson, OperationJson, PreviewJson, RunJson, WhichJson,
};

/// Between two looks at an operation.
const LOOK: std::time::Duration = std::time::Duration::from_millis(400);

#[derive(Subcommand)]
pub enum Command {
    /// Dead runs that need a person, newest first
    List {
        #[command(flatten)]
        fits: Fits,
        /// By cause instead of run by run
        #[arg(long)]
        causes: bool,
        #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
        limit: u32,
        /// The ID of the last run of the page before; with --tenant
        #[arg(long, value_name = "ID", requires = "tenant")]
        after: Option<String>,
    },
    /// New runs with the input of dead ones
    Rerun(Operate),
    /// Mark dead runs as needing nobody; 24 h to undo it
    Discard(Operate),
    /// Bring discarded runs back
    Undo(Operate),
}

/// Which dead runs; everything said must fit.
#[derive(Args, Clone)]
pub struct Fits {
    #[arg(long)]
    tenant: Option<String>,
    /// TENANT/JOB, or JOB
    #[arg(long)]
    job: Option<String>,
    /// Why they are dead: permanent, attempts_spent, lost_too_often …
    #[arg(long, value_parser = reason)]
    cause: Option<Reason>,
    /// TENANT/GROUP: runs of one message, as dead list --causes shows them
    #[arg(long, value_name = "TENANT/GROUP")]
    group: Option<String>,
    /// Died at or after, RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Died before, RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// Words of the error
    #[arg(long)]
    words: Option<String>,
    #[arg(long, value_enum)]
    state: Option<Shown>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shown {
    Open,
    Expiring,
    Discarded,
}

#[derive(Args)]
pub struct Operate {
    /// TENANT/ID …; else all that the options say
    runs: Vec<String>,
    #[command(flatten)]
    fits: Fits,
    /// All that there are
    #[arg(long)]
    all: bool,
    /// Say how many, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Runs a second
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
    /// For the audit
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Do not wait for its end
    #[arg(long)]
    no_wait: bool,
}

fn reason(word: &str) -> Result<Reason, String> {
    let known = || Reason::ALL.map(Reason::word).join(", ");
    Reason::ALL.into_iter().find(|reason| reason.word() == word).ok_or_else(|| format!("there are {}", known()))
}

pub fn time(text: &str) -> Result<Timestamp, String> {
    serde_json::from_value(text.into()).map_err(|_| "write it as in 2026-11-22T10:00:00Z".into())
}

pub fn run(command: Command, global: &Global) -> Done {
    let client = Client::open(global)?;
    match command {
        Command::List { fits, causes: true, .. } => causes(&client, &fits, global.json),
        Command::List { fits, limit, after, .. } => list(&client, &fits, limit, after.as_deref(), global.json),
        Command::Rerun(asked) => operate(&client, Action::Rerun, asked, global.json),
        Command::Discard(asked) => operate(&client, Action::Discard, asked, global.json),
        Command::Undo(asked) => operate(&client, Action::Undo, asked, global.json),
    }
}

impl Fits {
    fn which(&self) -> Done<WhichJson> {
        let (mut tenant, mut job) = (self.tenant.as_deref().map(client::tenant).transpose()?, self.job.clone());
        if let Some(text) = self.job.as_deref().filter(|text| text.contains('/') || tenant.is_some()) {
            let (of, name) = client::job(text, tenant.as_deref())?;
            (tenant, job) = (Some(of), Some(name));
        }
        Ok(WhichJson {
            tenant,
            job,
            cause: self.cause,
            groups: self.group.iter().cloned().collect(),
            runs: Vec::new(),
            since: self.since,
            until: self.until,
            words: self.words.clone(),
            state: self.state.map(|shown| match shown {
                Shown::Open => Standing::Open,
                Shown::Expiring => Standing::Expiring,
                Shown::Discarded => Standing::Discarded,
            }),
        })
    }

    fn says_something(&self) -> bool {
        let Self { tenant, job, cause, group, since, until, words, state } = self;
        [tenant, job, group, words].iter().any(|text| text.is_some())
            || cause.is_some()
            || since.is_some()
            || until.is_some()
            || state.is_some_and(|state| state == Shown::Expiring)
    }
}

/// The tenants to ask, and what to ask each.
fn asked(client: &Client, fits: &Fits) -> Done<(Vec<String>, String)> {
    let which = fits.which()?;
    let group = which.groups.first().and_then(|group| group.split_once('/'));
    let tenants = client.tenants(which.tenant.as_deref().or(group.map(|(tenant, _)| tenant)))?;
    let mut query = String::new();
    let mut add = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            query += &format!("&{key}={}", encoded(&value));
        }
    };
    add("job", which.job);
    add("cause", which.cause.map(|reason| reason.word().to_owned()));
    add("group", group.map(|(_, group)| group.to_owned()));
    add("since", which.since.map(Timestamp::rfc3339));
    add("until", which.until.map(Timestamp::rfc3339));
    add("words", which.words);
    add("state", which.state.map(|state| state.word().to_owned()));
    Ok((tenants, query))
}

/// What each tenant answers. A job of one name may be in some of them and not in others; one that is in none is refused.
fn answers<T: DeserializeOwned>(client: &Client, tenants: &[String], fits: &Fits, path: impl Fn(&str) -> String) -> Done<Vec<T>> {
    let (mut answers, mut nowhere) = (Vec::new(), None);
    for tenant in tenants {
        match client.get(&path(tenant)) {
            Err(stop) if fits.job.is_some() && stop.is_missing() => nowhere = Some(stop),
            answer => answers.push(answer?),
        }
    }
    nowhere.filter(|_| answers.is_empty()).map_or(Ok(answers), Err)
}

fn list(client: &Client, fits: &Fits, limit: u32, after: Option<&str>, json: bool) -> Done {
    let (tenants, query) = asked(client, fits)?;
    let after = after.map(|after| format!("&after={}", encoded(after))).unwrap_or_default();
    let mut whole = List { items: Vec::<RunJson>::new(), next: None, count: Count { value: 0, capped: false } };
    let (mut expiring, one) = (0, tenants.len() == 1);
    let path = |tenant: &str| format!("tenants/{tenant}/dead?limit={limit}{query}{after}");
    for page in answers::<DeadJson>(client, &tenants, fits, path)? {
        whole.items.extend(page.items);
        whole.count.value += page.count.value;
        whole.count.capped |= page.count.capped;
        expiring += page.expiring;
        // A cursor belongs to one tenant.
        whole.next = page.next.filter(|_| one);
    }
    whole.items.sort_by_key(|run| std::cmp::Reverse(run.id));
    whole.items.truncate(limit as usize);
    if json {
        return say_json(&DeadJson { items: whole.items, next: whole.next, count: whole.count, expiring });
    }
    table(&whole)?;
    if expiring > 0 { say(format_args!("{expiring} expire in 24 h")) } else { Ok(()) }
}

fn causes(client: &Client, fits: &Fits, json: bool) -> Done {
    let (tenants, query) = asked(client, fits)?;
    let query = query.replacen('&', "?", 1);
    let path = |tenant: &str| format!("tenants/{tenant}/dead/causes{query}");
    let found = answers::<List<CauseJson>>(client, &tenants, fits, path)?;
    let mut found: Vec<CauseJson> = found.into_iter().flat_map(|list| list.items).collect();
    found.sort_by_key(|cause| std::cmp::Reverse(cause.count));
    if json {
        return say_json(&List::whole(found));
    }
    let now = now();
    let mut table = Table::new(&["group", "job", "cause", ">runs", "last", "message"]);
    for cause in found {
        table.row(vec![
            format!("{}/{}", cause.tenant, cause.group),
            cause.job,
            cause.cause,
            cause.count.to_string(),
            when(cause.last_at, now),
            short(&cause.message, 70),
        ]);
    }
    table.print("no dead runs")
}

fn operate(client: &Client, action: Action, asked: Operate, json: bool) -> Done {
    if asked.runs.is_empty() && !asked.all && !asked.fits.says_something() {
        return Err(Stop::new(WRONG, format!("{} which? Name runs as TENANT/ID, say which by options, or --all", action.word())));
    }
    let mut which = asked.fits.which()?;
    for text in &asked.runs {
        let (tenant, run) = client::run(text, asked.fits.tenant.as_deref())?;
        which.runs.push(format!("{tenant}/{run}"));
    }
    let mut new = NewOperationJson {
        action: action.word().to_owned(),
        which,
        rate: asked.rate,
        reason: asked.reason,
        expect: None,
        dry_run: true,
    };
    let preview: PreviewJson = client.post_json("operations", &new, &[])?;
    if asked.dry_run {
        return if json { say_json(&preview) } else { say_preview(&preview) };
    }
    (new.dry_run, new.expect) = (false, Some(preview.total));
    let operation = follow(client, client.post_json("operations", &new, &[])?, !asked.no_wait)?;
    if json {
        say_json(&operation)?;
    } else {
        let OperationJson { id, state, total, done, left, .. } = &operation;
        say(format_args!("operation {id} {state}: {done} of {total} {}, {left} left as they were", past(action)))?;
    }
    if operation.left > 0 || operation.state == "cancelled" { Err(Stop::silent(BAD)) } else { Ok(()) }
}

/// Looks at an operation until it is over, if that is wanted.
pub fn follow(client: &Client, mut operation: OperationJson, wait: bool) -> Done<OperationJson> {
    while wait && operation.state == "running" {
        let waits = operation.waits.map(|waits| format!(", waits for {waits}")).unwrap_or_default();
        passing(&format!("{} of {}{waits}", operation.done + operation.left, operation.total));
        super::pause(LOOK);
        operation = client.get(&format!("operations/{}", operation.id))?;
    }
    passing("");
    Ok(operation)
}

fn past(action: Action) -> &'static str {
    match action {
        Action::Rerun => "run again",
        Action::Discard => "discarded",
        Action::Undo => "brought back",
        Action::Backfill => "made a run",
    }
}

fn say_preview(preview: &PreviewJson) -> Done {
    let mut table = Table::new(&["job", ">runs"]);
    for of in &preview.jobs {
        table.row(vec![format!("{}/{}", of.tenant, of.job), of.runs.to_string()]);
    }
    table.print("no dead runs")?;
    let more = if preview.more { " and more; one operation takes so many" } else { "" };
    say(format_args!("{}{more}; nothing was done: --dry-run", preview.total))
}
