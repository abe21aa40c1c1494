//! `windlass config show`: what this node is told, and by what. Works without a server.

use clap::Subcommand;
use serde_json::json;

use super::Global;
use super::show::{Table, say_json};
use super::stop::Done;
use crate::config::{Origin, Setting};

#[derive(Subcommand)]
pub enum Command {
    /// What windlass.toml, the environment and the command line say, each key with its place; what gives access is left out
    Show {
        /// Every key there is, defaults too
        #[arg(long)]
        effective: bool,
    },
}

pub fn run(command: &Command, global: &Global) -> Done {
    let Command::Show { effective } = command;
    let mut settings = global.node()?.effective()?;
    settings.retain(|one| *effective || one.origin != Origin::Default);
    if global.json {
        let one = |one: Setting| json!({ "key": one.key, "value": one.value, "from": one.origin.to_string() });
        return say_json(&settings.into_iter().map(one).collect::<Vec<_>>());
    }
    let mut table = Table::new(&["key", "value", "from"]);
    for one in settings {
        table.row(vec![one.key.clone(), one.text(), one.origin.to_string()]);
    }
    table.print("nothing is configured: --effective shows the defaults")
}
