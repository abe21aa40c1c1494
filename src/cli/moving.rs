//! `windlass move`: from one file to a PostgreSQL that many nodes share.

use std::path::Path;

use super::serve::{lock, runtime};
use super::show::{say, say_json};
use super::stop::Done;
use crate::error::Error;
use crate::store::{Database, moving};

#[derive(clap::Args)]
pub struct Command {
    /// `sqlite:FILE`, relative to the data folder; no server may run on it
    #[arg(long, default_value = "sqlite:windlass.db")]
    from: String,
    /// `postgres://USER@HOST/DATABASE`, empty
    #[arg(long)]
    to: String,
}

pub fn run(command: &Command, data_dir: &Path, json: bool) -> Done {
    if !data_dir.exists() {
        return Err(Error::not_found(format!("the data folder {}", data_dir.display())).into());
    }
    let _lock = lock(data_dir)?;
    let from = Database::parse(&command.from, data_dir)?;
    let to = Database::parse(&command.to, data_dir)?;
    let copied = runtime()?.block_on(moving::copy(&from, &to, |table| {
        if !json && table.rows > 0 {
            // A closed pipe is no reason to stop in the middle.
            let _ = say(format_args!("{:<16} {:>10} rows", table.table, table.rows));
        }
    }))?;
    let rows: u64 = copied.iter().map(|table| table.rows).sum();
    if json {
        return say_json(&serde_json::json!({"from": from.name(), "to": to.name(), "rows": rows, "tables": copied}));
    }
    say(format_args!(
        "{rows} rows of {} tables are in {}; the counts are equal. Start nodes with --database-url, and give each the same secret.key",
        copied.len(),
        to.name()
    ))
}
