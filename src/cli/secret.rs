//! `windlass secret …`: values come from stdin or a file, never from the command line, which every process can read.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use clap::Subcommand;

use super::client::{self, Client};
use super::show::{Table, now, say, say_json, when, when_some};
use super::stop::{Done, Stop, WRONG};
use super::{Global, rotate_key};
use crate::domain::plugin::is_name;
use crate::web::api::shape::{List, SecretJson};

#[derive(Subcommand)]
pub enum Command {
    /// Set a secret; its value comes from stdin, without the line end at its end
    Set {
        /// TENANT/NAME
        secret: String,
        #[arg(long)]
        tenant: Option<String>,
        /// The value, byte for byte
        #[arg(long, value_name = "FILE")]
        from_file: Option<PathBuf>,
    },
    /// Put another value in the place of one that stands; what runs keeps the old one until its attempt ends
    Rotate {
        /// TENANT/NAME
        #[arg(required_unless_present = "key")]
        secret: Option<String>,
        #[arg(long)]
        tenant: Option<String>,
        /// The value, byte for byte
        #[arg(long, value_name = "FILE")]
        from_file: Option<PathBuf>,
        /// Instead of a value, the key that seals all secrets of this installation; no server may run on the data folder
        #[arg(long, conflicts_with_all = ["secret", "tenant", "from_file"])]
        key: bool,
    },
    /// Names, never values
    List {
        #[arg(value_name = "TENANT", required_unless_present = "tenant")]
        of: Option<String>,
        #[arg(long, conflicts_with = "of")]
        tenant: Option<String>,
    },
}

pub fn run(command: Command, global: &Global) -> Done {
    if let Command::Rotate { key: true, .. } = command {
        return rotate_key::run(global);
    }
    let client = Client::open(global)?;
    match command {
        Command::Set { secret, tenant, from_file } => {
            let (tenant, name) = named(&secret, tenant.as_deref())?;
            let set = client.put_bytes(&format!("tenants/{tenant}/secrets/{name}"), &value(from_file, "set")?)?;
            done(&tenant, &set, "set", global.json)
        }
        Command::Rotate { secret, tenant, from_file, .. } => {
            let (tenant, name) = named(&secret.unwrap_or_default(), tenant.as_deref())?;
            let path = format!("tenants/{tenant}/secrets/{name}/rotate");
            let set = client.post_bytes(&path, &value(from_file, "rotate")?, "application/octet-stream", &[])?;
            done(&tenant, &set, "rotated", global.json)
        }
        Command::List { of, tenant } => {
            let tenant = client::tenant(&of.or(tenant).unwrap_or_default())?;
            list(&client.get(&format!("tenants/{tenant}/secrets"))?, global.json)
        }
    }
}

fn named(secret: &str, tenant: Option<&str>) -> Done<(String, String)> {
    let (tenant, name) = client::named(secret, tenant, "NAME")?;
    if !is_name(&name) {
        return Err(Stop::new(WRONG, format!("{name:?} is no name of a secret: a-z, 0-9 and -, beginning with a letter")));
    }
    Ok((tenant, name))
}

fn done(tenant: &str, secret: &SecretJson, what: &str, json: bool) -> Done {
    if json {
        return say_json(secret);
    }
    say(format_args!("{tenant}/{} is {what} (version {})", secret.name, secret.version))
}

fn list(list: &List<SecretJson>, json: bool) -> Done {
    if json {
        return say_json(list);
    }
    let now = now();
    let mut table = Table::new(&["secret", ">version", "set", "used"]);
    for secret in &list.items {
        table.row(vec![
            secret.name.clone(),
            secret.version.to_string(),
            when(secret.updated_at, now),
            when_some(secret.used_at, now),
        ]);
    }
    table.print("no secrets")
}

fn value(file: Option<PathBuf>, command: &str) -> Done<Vec<u8>> {
    if let Some(file) = file {
        return std::fs::read(&file).map_err(|wrong| Stop::new(WRONG, format!("{}: {wrong}", file.display())));
    }
    from_stdin(&format!("windlass secret {command} TENANT/NAME < FILE"))
}

/// What must not stand on the command line; `how` is the command that would be right.
pub fn from_stdin(how: &str) -> Done<Vec<u8>> {
    let mut stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(Stop::new(WRONG, format!("give the value on stdin (it would show on a terminal): {how}")));
    }
    let mut value = Vec::new();
    stdin.read_to_end(&mut value)?;
    // `echo value |` ends with one that nobody meant.
    if value.last() == Some(&b'\n') {
        value.pop();
        if value.last() == Some(&b'\r') {
            value.pop();
        }
    }
    Ok(value)
}
