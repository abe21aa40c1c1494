//! `windlass tenant …`

use clap::Subcommand;

use super::Global;
use super::client::Client;
use super::show::{Table, say_json};
use super::stop::Done;
use crate::web::api::shape::TenantJson;

#[derive(Subcommand)]
pub enum Command {
    /// Tenants with the health of their jobs
    List,
}

pub fn run(command: &Command, global: &Global) -> Done {
    let client = Client::open(global)?;
    let Command::List = command;
    let list = client.all::<TenantJson>("tenants")?;
    if global.json {
        return say_json(&list);
    }
    let mut table = Table::new(&["tenant", "health", ">jobs", ">waiting", ">retrying", ">running", ">dead", "zone"]);
    for tenant in list.items {
        let runs = tenant.runs;
        table.row(vec![
            tenant.name,
            tenant.health,
            tenant.jobs.to_string(),
            runs.waiting.to_string(),
            runs.retrying.to_string(),
            runs.running.to_string(),
            runs.dead.to_string(),
            tenant.zone,
        ]);
    }
    table.print("no tenants: windlass apply FILE makes one")
}
