//! `windlass cron next`: when a line is due, without a server.

use chrono::{DateTime, SecondsFormat, TimeZone};
use chrono_tz::Tz;
use clap::Subcommand;

use super::Global;
use super::show::{now, say, say_json};
use super::stop::{Done, Stop, WRONG};
use crate::clock::Timestamp;
use crate::domain::schedule::Schedule;
use crate::id::Id;

#[derive(Subcommand)]
pub enum Command {
    /// The next times of a cron line
    Next {
        /// Five fields or a nickname: '30 2 * * *', @hourly
        line: String,
        /// IANA name
        #[arg(long, default_value = "UTC")]
        zone: String,
        /// RFC 3339; now, when absent
        #[arg(long)]
        from: Option<String>,
        #[arg(short, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
        n: u16,
        /// A job's revision spreads `~`: its id, from job show --json
        #[arg(long, value_name = "ID")]
        job: Option<String>,
    },
}

pub fn run(command: Command, global: &Global) -> Done {
    let Command::Next { line, zone, from, n, job } = command;
    let zone: Tz =
        zone.parse().map_err(|_| Stop::new(WRONG, format!("{zone:?} is no zone: an IANA name is right, as in Europe/Berlin")))?;
    let from = match from {
        Some(text) => DateTime::parse_from_rfc3339(&text).map(|at| Timestamp(at.timestamp_millis())).map_err(|wrong| {
            Stop::new(WRONG, format!("{text:?} is no time ({wrong}): RFC 3339 is right, as in 2026-11-22T10:00:00Z"))
        })?,
        None => now(),
    };
    let seed = job.map_or(Ok(Id(0)), |job| job.parse::<Id>())?;
    let schedule = Schedule::parse(&line, zone, seed).map_err(|wrong| Stop::new(WRONG, wrong))?;
    let next = schedule.next(from, usize::from(n));
    let local = |at: &Timestamp| {
        zone.timestamp_millis_opt(at.0).single().map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true)).unwrap_or_default()
    };
    if global.json {
        let next: Vec<String> = next.iter().map(local).collect();
        return say_json(&next);
    }
    next.iter().try_for_each(|at| say(local(at)))
}
