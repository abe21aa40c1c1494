//! `windlass alert …`: what needs a person, and who wants to hear nothing of it.

use std::time::Duration;

use chrono::{DateTime, FixedOffset};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::Global;
use super::client::{self, Client};
use super::show::{Table, now, or_dash, say, say_json, short, when, when_some};
use super::stop::Done;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::web::api::shape::{AlertJson, List, NewSilenceJson, SilenceJson, SinkJson};

#[derive(Subcommand)]
pub enum Command {
    /// What needs a person now, and with --all what did in the last week
    List {
        #[arg(long)]
        tenant: Option<String>,
        #[arg(long)]
        all: bool,
    },
    /// Nobody is told of it for a while; without a job or tenant, of nothing at all. What is silent now, with none of it
    Silence {
        #[command(flatten)]
        which: Which,
        /// For so long
        #[arg(long = "for", value_name = "SPAN", value_parser = humantime::parse_duration)]
        span: Option<Duration>,
        /// Until this time
        #[arg(long, value_name = "RFC3339", conflicts_with = "span")]
        until: Option<DateTime<FixedOffset>>,
        /// End the silence
        #[arg(long, conflicts_with_all = ["span", "until"])]
        end: bool,
    },
    /// Who is told, and whether they took the last message; 1 when one did not
    Sinks {
        #[arg(long)]
        tenant: Option<String>,
    },
}

#[derive(Args)]
pub struct Which {
    /// TENANT or TENANT/JOB
    #[arg(value_name = "TENANT[/JOB]")]
    of: Option<String>,
    /// dead, failing, silent, stuck, lagging, late or node
    #[arg(long)]
    kind: Option<String>,
    /// Of this node only
    #[arg(long, value_name = "NUMBER")]
    node: Option<i64>,
}

pub fn run(command: Command, global: &Global) -> Done {
    let client = Client::open(global)?;
    match command {
        Command::List { tenant, all } => list(&client, tenant.as_deref(), all, global.json),
        Command::Silence { which, span, until, end } => {
            let until = until.map(|at| Timestamp(at.timestamp_millis())).or(span.map(|span| now().plus(span)));
            match (until, end) {
                (None, false) => silences(&client, &which, global.json),
                (until, _) => silence(&client, which, until, global.json),
            }
        }
        Command::Sinks { tenant } => sinks(&client, tenant.as_deref(), global.json),
    }
}

/// An address, of one tenant where it is named.
fn of(path: &str, tenant: Option<&str>) -> Done<String> {
    match tenant {
        Some(name) => Ok(format!("{path}?tenant={}", client::tenant(name)?)),
        None => Ok(path.to_owned()),
    }
}

fn about(tenant: Option<String>, job: Option<String>, node: Option<i64>) -> String {
    let of = match (tenant, job) {
        (Some(tenant), Some(job)) => format!("{tenant}/{job}"),
        (Some(tenant), None) => tenant,
        (None, _) => "server".into(),
    };
    node.map_or(of.clone(), |node| format!("{of}, node {node}"))
}

fn list(client: &Client, tenant: Option<&str>, all: bool, json: bool) -> Done {
    let mut list: List<AlertJson> = client.all(&of("alerts", tenant)?)?;
    list.items.retain(|alert| all || alert.closed_at.is_none());
    list.count.value = list.items.len() as u64;
    if json {
        return say_json(&list);
    }
    let now = now();
    let mut table = Table::new(&["kind", "of", "since", "ended", "silent", "why"]);
    for alert in list.items {
        table.row(vec![
            alert.kind,
            about(alert.tenant, alert.job, alert.node),
            when(alert.opened_at, now),
            when_some(alert.closed_at, now),
            alert.silenced_until.map_or_else(|| "-".into(), |until| format!("ends {}", when(until, now))),
            short(&alert.message, 100),
        ]);
    }
    table.print("nothing needs a person")
}

fn silence(client: &Client, which: Which, until: Option<Timestamp>, json: bool) -> Done {
    let (tenant, job) = match which.of.as_deref().map(|of| of.split_once('/').ok_or(of)) {
        None => (None, None),
        Some(Err(name)) => (Some(client::tenant(name)?), None),
        Some(Ok(_)) => {
            let (tenant, job) = client::job(which.of.as_deref().unwrap_or_default(), None)?;
            (Some(tenant), Some(job))
        }
    };
    let asked = NewSilenceJson { tenant, job, node: which.node, kind: which.kind, until };
    if until.is_none() {
        client.post_json::<Value>("silences", &asked, &[])?;
        return if json { say_json(&Value::Null) } else { say("alerts are told again") };
    }
    let made: SilenceJson = client.post_json("silences", &asked, &[])?;
    if json {
        return say_json(&made);
    }
    let kind = made.kind.map(|kind| format!(" of the kind {kind}")).unwrap_or_default();
    let of = about(made.tenant, made.job, made.node);
    say(format_args!("{of}: nobody is told of alerts{kind}; that ends {}", when(made.until, now())))
}

fn silences(client: &Client, which: &Which, json: bool) -> Done {
    let list: List<SilenceJson> = client.get(&of("silences", which.of.as_deref())?)?;
    if json {
        return say_json(&list);
    }
    let now = now();
    let mut table = Table::new(&["of", "kind", "ends", "by"]);
    for silence in list.items {
        let kind = silence.kind.unwrap_or_else(|| "any".into());
        table.row(vec![about(silence.tenant, silence.job, silence.node), kind, when(silence.until, now), silence.by]);
    }
    table.print("nothing is silent")
}

/// For `windlass doctor`: sinks that did not take their last message, where a server runs.
pub fn judged(global: &Global) -> Result<String> {
    let asked = Client::open(global).and_then(|client| client.get::<List<SinkJson>>("sinks"));
    let Ok(list) = asked else { return Ok("no server answers here: whether sinks take alerts, it would know".into()) };
    let failing = list.items.iter().filter(|sink| sink.ok == Some(false));
    let failing: Vec<String> =
        failing.map(|sink| format!("{} ({})", sink.sink, sink.error.as_deref().unwrap_or("no answer"))).collect();
    match (failing.as_slice(), list.items.len()) {
        ([], 0) => Ok("nobody is told: write [[alert]] into a tenant's file, or into windlass.toml".into()),
        ([], n) => Ok(format!("{n} sinks, none of which refused its last message")),
        (failing, _) => Err(Error::Unavailable(format!("not taken by {}", failing.join("; ")))),
    }
}

fn sinks(client: &Client, tenant: Option<&str>, json: bool) -> Done {
    let list: List<SinkJson> = client.get(&of("sinks", tenant)?)?;
    let well = list.items.iter().all(|sink| sink.ok != Some(false));
    if json {
        say_json(&list)?;
        return super::good(well);
    }
    let now = now();
    let mut table = Table::new(&["of", "sink", "state", "last", ">tries", "error"]);
    for sink in list.items {
        let state = match sink.ok {
            None => "not told yet",
            Some(true) => "ok",
            Some(false) => "BAD",
        };
        table.row(vec![
            about(sink.tenant, None, None),
            sink.sink,
            state.into(),
            when_some(sink.last_at, now),
            or_dash(sink.tries),
            short(&sink.error.unwrap_or_default(), 80),
        ]);
    }
    table.print("nobody is told: write [[alert]] into a tenant's file, or into windlass.toml")?;
    super::good(well)
}
