//! `windlass backlog`: what waits at the targets.

use clap::Args;

use super::Global;
use super::client::{Client, tenant};
use super::show::{Table, now, or_dash, say_json, short, span, when_some};
use super::stop::Done;
use crate::web::api::shape::BacklogJson;

#[derive(Args)]
pub struct Command {
    /// All tenants that the token may see, when absent
    #[arg(long)]
    tenant: Option<String>,
}

pub fn run(command: &Command, global: &Global) -> Done {
    let client = Client::open(global)?;
    let address = match &command.tenant {
        Some(name) => format!("tenants/{}/backlogs", tenant(name)?),
        None => "backlogs".to_owned(),
    };
    let list = client.all::<BacklogJson>(&address)?;
    if global.json {
        return say_json(&list);
    }
    let now = now();
    let mut table = Table::new(&["job", ">size", ">in/min", ">out/min", "empty in", "waits", "health", "measured", "why"]);
    for backlog in list.items {
        // What was not measured is not zero.
        let size = backlog.size.map_or_else(|| "?".into(), |size| size.to_string());
        let why = backlog.error.unwrap_or(backlog.why);
        table.row(vec![
            format!("{}/{}", backlog.tenant, backlog.job),
            size,
            or_dash(backlog.rate_in_per_min),
            or_dash(backlog.rate_out_per_min),
            or_dash(backlog.empty_in_ms.map(span)),
            or_dash(backlog.lag_ms.map(span)),
            backlog.health,
            when_some(backlog.sampled_at, now),
            short(&why, 60),
        ]);
    }
    table.print("no job has a backlog trigger")
}
