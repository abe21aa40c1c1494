//! `windlass token …`

use std::time::Duration;

use clap::Subcommand;

use super::Global;
use super::client::Client;
use super::show::{Table, now, say, say_json, when, when_some};
use super::stop::Done;
use crate::id::Id;
use crate::web::api::shape::{List, NewTokenJson, TokenJson};

#[derive(Subcommand)]
pub enum Command {
    /// Make a token; it is shown this once
    Issue {
        /// To know it by
        name: String,
        #[arg(long, value_parser = ["viewer", "operator", "admin"])]
        role: String,
        /// For the whole server, when absent
        #[arg(long)]
        tenant: Option<String>,
        /// For ever, when absent: 12h, 30d
        #[arg(long, value_name = "SPAN", value_parser = humantime::parse_duration)]
        lasts: Option<Duration>,
    },
    List,
    /// End a token
    Revoke {
        id: String,
    },
}

pub fn run(command: Command, global: &Global) -> Done {
    let client = Client::open(global)?;
    match command {
        Command::Issue { name, role, tenant, lasts } => {
            let lasts_ms = lasts.map(|lasts| u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX));
            let issued: TokenJson = client.post_json("tokens", &NewTokenJson { name, role, tenant, lasts_ms }, &[])?;
            // Alone on stdout, so that a shell can take it.
            if global.json { say_json(&issued) } else { say(issued.token.unwrap_or_default()) }
        }
        Command::List => list(&client.get("tokens")?, global.json),
        Command::Revoke { id } => {
            let id: Id = id.parse()?;
            client.delete(&format!("tokens/{id}"))?;
            if global.json { say_json(&serde_json::json!({ "revoked": id })) } else { say(format_args!("{id} is revoked")) }
        }
    }
}

fn list(list: &List<TokenJson>, json: bool) -> Done {
    if json {
        return say_json(list);
    }
    let now = now();
    let mut table = Table::new(&["id", "name", "role", "tenant", "made", "by", "used", "ends", "revoked"]);
    for token in &list.items {
        table.row(vec![
            token.id.to_string(),
            token.name.clone(),
            token.role.clone(),
            token.tenant.clone().unwrap_or_else(|| "(all)".into()),
            when(token.created_at, now),
            token.created_by.clone(),
            when_some(token.used_at, now),
            when_some(token.expires_at, now),
            when_some(token.revoked_at, now),
        ]);
    }
    table.print("no tokens")
}
