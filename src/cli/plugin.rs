//! `windlass plugin …`

use std::path::PathBuf;

use clap::Subcommand;

use super::Global;
use super::client::{self, Client};
use super::show::{Table, now, say, say_json, short, when};
use super::stop::{Done, Stop, WRONG};
use crate::domain::plugin::is_name;
use crate::web::api::shape::{List, PluginJson, Pushed};

#[derive(Subcommand)]
pub enum Command {
    List,
    /// Add a component; it is checked and compiled first
    Push {
        /// A WebAssembly component
        file: PathBuf,
        /// What the component calls itself, when absent
        #[arg(long)]
        name: Option<String>,
        /// For everybody, when absent
        #[arg(long)]
        tenant: Option<String>,
    },
}

pub fn run(command: Command, global: &Global) -> Done {
    let client = Client::open(global)?;
    match command {
        Command::List => list(&client.get("plugins")?, global.json),
        Command::Push { file, name, tenant } => {
            let bytes = std::fs::read(&file).map_err(|wrong| Stop::new(WRONG, format!("{}: {wrong}", file.display())))?;
            let mut query = Vec::new();
            if let Some(name) = name {
                if !is_name(&name) {
                    return Err(Stop::new(
                        WRONG,
                        format!("{name:?} is no name of a plugin: a-z, 0-9 and -, beginning with a letter"),
                    ));
                }
                query.push(format!("name={name}"));
            }
            if let Some(tenant) = tenant {
                query.push(format!("tenant={}", client::tenant(&tenant)?));
            }
            let pushed: Pushed = client.post_bytes(&format!("plugins?{}", query.join("&")), &bytes, "application/wasm")?;
            if global.json {
                return say_json(&pushed);
            }
            let plugin = &pushed.plugin;
            let how = if pushed.new { "pushed" } else { "already there" };
            say(format_args!("{how}  {} {} ({})", plugin.name, plugin.version, plugin.digest))
        }
    }
}

fn list(list: &List<PluginJson>, json: bool) -> Done {
    if json {
        return say_json(list);
    }
    let now = now();
    let mut table = Table::new(&["plugin", "version", "of", ">bytes", "pushed", "by", "exports", "digest"]);
    for plugin in &list.items {
        table.row(vec![
            plugin.name.clone(),
            plugin.version.clone(),
            plugin.tenant.clone().unwrap_or_else(|| "(all)".into()),
            plugin.bytes.to_string(),
            when(plugin.pushed_at, now),
            plugin.pushed_by.clone(),
            plugin.exports.iter().map(|export| interface(export)).collect::<Vec<_>>().join(" "),
            short(&plugin.digest, 20),
        ]);
    }
    table.print("no plugins")
}

/// `windlass:plugin/job@1.0.0` is `job` to people.
fn interface(export: &str) -> &str {
    let name = export.rsplit('/').next().unwrap_or(export);
    name.split('@').next().unwrap_or(name)
}
