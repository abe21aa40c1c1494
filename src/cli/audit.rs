//! `windlass audit …`

use clap::Subcommand;

use super::Global;
use super::client::{self, Client};
use super::show::{Table, now, say, say_json, short, when};
use super::stop::Done;
use crate::id::Id;
use crate::web::address::Address;
use crate::web::api::shape::{AuditJson, List};

#[derive(Subcommand)]
pub enum Command {
    /// Newest first, of the last year
    List {
        #[arg(long)]
        tenant: Option<String>,
        /// As in job.pause, or job for all that was done with jobs
        #[arg(long)]
        what: Option<String>,
        #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
        limit: u32,
        /// The ID of the last entry of the page before
        #[arg(long, value_name = "ID")]
        after: Option<Id>,
    },
}

pub fn run(command: Command, global: &Global) -> Done {
    let client = Client::open(global)?;
    let Command::List { tenant, what, limit, after } = command;
    let tenant = tenant.as_deref().map(client::tenant).transpose()?;
    let address = Address::new("audit")
        .some("limit", Some(&limit.to_string()))
        .some("tenant", tenant.as_deref())
        .some("what", what.as_deref())
        .some("after", after.map(|id| id.to_string()).as_deref());
    let list: List<AuditJson> = client.get(&address.to_string())?;
    if global.json {
        return say_json(&list);
    }
    let now = now();
    let mut table = Table::new(&["when", "who", "what", "tenant", "object", "detail"]);
    for entry in list.items {
        table.row(vec![
            when(entry.at, now),
            entry.who,
            entry.what,
            entry.tenant.unwrap_or_else(|| "-".into()),
            short(&entry.object, 60),
            short(&entry.detail.unwrap_or_default(), 60),
        ]);
    }
    table.print("nothing was done")?;
    list.next.map_or(Ok(()), |next| say(format_args!("there is more; go on with --after {next}")))
}
