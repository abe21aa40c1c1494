//! `windlass job backfill`, `windlass job occurrences`: what came of a job's schedules, and making up for it.

use clap::Args;

use super::client::Client;
use super::dead::{follow, time};
use super::job::Which;
use super::show::{Table, now, or_dash, say, say_json, short, when};
use super::stop::{BAD, Done, Stop};
use crate::clock::Timestamp;
use crate::web::address::encoded;
use crate::web::api::shape::{BackfillJson, List, NewBackfillJson, OccurrenceJson, OperationJson};

#[derive(Args)]
pub struct Backfill {
    #[command(flatten)]
    which: Which,
    /// Times at or after, RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Timestamp,
    /// Times before, RFC 3339; not in the future
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Timestamp,
    /// Which of its triggers, counted from 0, when more than one is a schedule
    #[arg(long, value_name = "N")]
    schedule: Option<usize>,
    /// Also times that had a run
    #[arg(long)]
    again: bool,
    /// Say how many runs, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Runs a second, at most
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
    /// For the audit
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Do not wait until all are begun
    #[arg(long)]
    no_wait: bool,
}

#[derive(Args)]
pub struct Occurrences {
    #[command(flatten)]
    which: Which,
    #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
    /// The `next` of the page before
    #[arg(long, value_name = "PLACE")]
    after: Option<String>,
}

pub fn backfill(client: &Client, asked: Backfill, json: bool) -> Done {
    let Backfill { which, from, to, schedule, again, dry_run, rate, reason, no_wait } = asked;
    let address = format!("{}/backfill", which.address()?);
    let mut new = NewBackfillJson { from, to, schedule, again, rate, reason, expect: None, dry_run: true };
    let preview: BackfillJson = client.post_json(&address, &new, &[])?;
    if dry_run || preview.total == 0 {
        return if json { say_json(&preview) } else { say_preview(&preview) };
    }
    (new.dry_run, new.expect) = (false, Some(preview.total));
    let operation: OperationJson = follow(client, client.post_json(&address, &new, &[])?, !no_wait)?;
    if json {
        say_json(&operation)?;
    } else {
        let OperationJson { id, state, total, done, left, .. } = &operation;
        say(format_args!("operation {id} {state}: {done} of {total} made a run, {left} left as they were"))?;
    }
    if operation.left > 0 || operation.state == "cancelled" { Err(Stop::silent(BAD)) } else { Ok(()) }
}

fn say_preview(preview: &BackfillJson) -> Done {
    let BackfillJson { schedule, zone, total, had, known_since, first, last } = preview;
    say(format_args!("{schedule} in {zone}"))?;
    for at in first {
        say(format_args!("  {}", at.rfc3339()))?;
    }
    if *total > (first.len() + last.len()) as u64 {
        say("  …")?;
    }
    for at in last {
        say(format_args!("  {}", at.rfc3339()))?;
    }
    if let Some(since) = known_since {
        say(format_args!("what came of times before {} is not known any more: they may have had a run", since.rfc3339()))?;
    }
    say(format_args!("{total} runs; {had} times had theirs; nothing was done"))
}

pub fn occurrences(client: &Client, asked: &Occurrences, json: bool) -> Done {
    let after = asked.after.as_deref().map(|after| format!("&after={}", encoded(after))).unwrap_or_default();
    let found: List<OccurrenceJson> =
        client.get(&format!("{}/occurrences?limit={}{after}", asked.which.address()?, asked.limit))?;
    if json {
        return say_json(&found);
    }
    let (mut table, now) = (Table::new(&["due", "when", "result", "run", "note"]), now());
    for one in found.items {
        let note = one.note.unwrap_or_default();
        table.row(vec![one.due_at.rfc3339(), when(one.due_at, now), one.result, or_dash(one.run), short(&note, 80)]);
    }
    table.print("no schedule of it was due yet")?;
    found.next.map_or(Ok(()), |next| say(format_args!("more: --after {next}")))
}
