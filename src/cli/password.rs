//! `windlass password …`: for who cannot log in any more, and has the machine.

use std::path::Path;
use std::sync::Arc;

use clap::Subcommand;

use super::Global;
use super::client::Client;
use super::secret::from_stdin;
use super::serve::{lock, runtime};
use super::show::{say_json, say_raw};
use super::stop::{Done, Stop, WRONG};
use crate::app::member::{random_text, reset_password};
use crate::clock::{Clock, SystemClock};
use crate::store::{Database, Store};
use crate::web::api::shape::{List, MemberJson};

/// Letters of a password that is made: 144 bits.
const LETTERS: usize = 24;

#[derive(Subcommand)]
pub enum Command {
    /// Give a member another password; whoever is logged in by that name is logged out
    Reset {
        /// Whose; may be absent when there is one member
        name: Option<String>,
        /// Take the password from stdin, without the line end at its end, instead of making one
        #[arg(long)]
        stdin: bool,
    },
}

pub fn run(command: Command, global: &Global) -> Done {
    let Command::Reset { name, stdin } = command;
    let given = if stdin {
        let text = String::from_utf8(from_stdin("windlass password reset --stdin < FILE")?);
        Some(text.map_err(|_| Stop::new(WRONG, "the password is no text in UTF-8"))?)
    } else {
        None
    };
    let password = given.clone().unwrap_or_else(|| random_text().chars().take(LETTERS).collect());
    let data_dir = global.data_dir()?;
    let file = if global.server.is_none() { global.standing_database().ok() } else { None };
    // A file that a server has is that server's to change.
    let name = match file.map(|file| (lock(&data_dir), file)) {
        Some((Ok(_held), file)) => on_file(&file, name, &password)?,
        _ => over_api(&Client::open(global)?, name, &password)?,
    };
    match (global.json, given) {
        (true, Some(_)) => say_json(&serde_json::json!({ "member": name })),
        (true, None) => say_json(&serde_json::json!({ "member": name, "password": password })),
        (false, Some(_)) => say_raw(format_args!("{name} has the new password")),
        (false, None) => {
            eprintln!("{name} logs in with this password from now on:");
            // Alone on stdout, so that a shell can take it.
            say_raw(password)
        }
    }
}

fn over_api(client: &Client, name: Option<String>, password: &str) -> Done<String> {
    let members: List<MemberJson> = client.get("members")?;
    let name = chosen(name, members.items.into_iter().map(|member| member.name).collect())?;
    // Letters of any script are right in a name, and not in an address.
    let letter = |byte: u8| if byte.is_ascii() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    let encoded: String = name.bytes().map(letter).collect();
    client.put_bytes::<serde_json::Value>(&format!("members/{encoded}/password"), password.as_bytes())?;
    Ok(name)
}

fn on_file(file: &Path, name: Option<String>, password: &str) -> Done<String> {
    runtime()?.block_on(async {
        let clock = Arc::new(SystemClock);
        let store = Store::open(Database::Sqlite(file.to_owned()), clock.clone()).await?;
        let done = async {
            let members = store.read().await?.members().await?;
            let name = chosen(name, members.into_iter().map(|member| member.name).collect())?;
            reset_password(&store, &name, password, "command line on this machine", clock.now()).await?;
            Done::Ok(name)
        };
        let done = done.await;
        store.close().await;
        done
    })
}

/// The one that was named, or the only one.
fn chosen(named: Option<String>, mut members: Vec<String>) -> Done<String> {
    let all = members.join(", ");
    match named {
        _ if members.is_empty() => {
            Err(Stop::new(WRONG, "nobody has a password yet: start windlass serve, its log says how to set the first"))
        }
        Some(name) if members.contains(&name) => Ok(name),
        Some(name) => Err(Stop::new(WRONG, format!("{name:?} is no member; there are: {all}"))),
        None if members.len() == 1 => Ok(members.remove(0)),
        None => Err(Stop::new(WRONG, format!("whose password? There are: {all}"))),
    }
}
