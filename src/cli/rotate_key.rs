//! `windlass secret rotate --key`: another key for all secrets, while no server has the file, or while every node has both.

use std::path::Path;
use std::sync::Arc;

use super::Global;
use super::serve::{KEY_FILE, KEY_VARIABLE, lock, runtime};
use super::show::{say, say_json};
use super::stop::{Done, NO_SERVER, Stop, WRONG};
use crate::app::key::{Resealed, reseal};
use crate::clock::{Clock, SystemClock};
use crate::store::{Database, Store};
use crate::vault::{Vault, keep_first_key, put_key_before};

/// Of this machine's file the new key is written first and the old one removed last: whatever breaks off in between leaves
/// secrets that open, and the next call goes on. Keys of an environment, or of many nodes, are for people to put there.
pub fn run(global: &Global) -> Done {
    if global.server.is_some() {
        return Err(Stop::new(
            WRONG,
            "--key is about this machine's data folder, and --server names another's: leave one of them out",
        ));
    }
    let settings = global.node()?;
    let (file, outside) = (settings.data_dir.join(KEY_FILE), super::variable(KEY_VARIABLE));
    let database = Database::parse(&settings.database_url, &settings.data_dir)?;
    let is_shared = matches!(database, Database::Postgres(_));
    let _held = if is_shared {
        None
    } else {
        global.standing_database()?;
        Some(lock(&settings.data_dir)?)
    };
    if outside.is_none() && !file.exists() {
        return Err(Stop::new(NO_SERVER, format!("{} is not there: there is no key to replace", file.display())));
    }
    let mut vault = Vault::open(&file, outside.as_deref())?;
    let is_ours = !is_shared && outside.is_none();
    if vault.marks().len() == 1 {
        if !is_ours {
            return Err(Stop::new(WRONG, by_hand(is_shared, &file)));
        }
        put_key_before(&file)?;
        vault = Vault::open(&file, None)?;
    }
    let done = runtime()?.block_on(async {
        let clock = Arc::new(SystemClock);
        let store = Store::open(database, clock.clone()).await?;
        let done = async {
            if is_shared {
                known_everywhere(&store, &vault).await?;
            }
            Done::Ok(reseal(&store, &vault, "command line on this machine", clock.now()).await?)
        };
        let done = done.await;
        store.close().await;
        done
    })?;
    if is_ours {
        keep_first_key(&file)?;
    } else if done.unchanged {
        let why = format!(
            "nothing has changed: the key that stands first has sealed all {} secrets already. If it is the old one, put the new one before it, \
             with a blank between them, and run this again; only if it is the new one may the other be taken out",
            done.standing
        );
        return Err(Stop::new(WRONG, why));
    }
    tell(&done, is_ours, &file, global.json)
}

fn by_hand(is_shared: bool, file: &Path) -> String {
    let first = if is_shared {
        "nodes share this database, and this command reaches the key of none of them: on every node"
    } else {
        "this command cannot write into the environment: stop the server, and there"
    };
    format!(
        "{first} put a new key (head -c 32 /dev/urandom | base64) before the one that stands in {} or {KEY_VARIABLE}, with a blank between \
         them{}; run this again; then take the old key out",
        file.display(),
        if is_shared { ", and start it again" } else { "" }
    )
}

/// A node without the new key would find every secret closed.
async fn known_everywhere(store: &Store, vault: &Vault) -> Done {
    let new = vault.marks().next().unwrap_or_default();
    let nodes = store.read().await?.nodes().await?;
    let others = nodes.iter().filter(|node| node.stopped_at.is_none() && node.id != store.node());
    // First: a node with the old one before it goes on sealing with that.
    let without = others.filter(|node| node.secret_keys.first().is_none_or(|mark| mark != new));
    let names: Vec<String> = without.map(|node| format!("{} ({})", node.name, node.listen)).collect();
    if names.is_empty() {
        return Ok(());
    }
    let why = format!(
        "the new key does not stand first on node {}: put it before the old one there, and start it again; nothing has changed",
        names.join(", ")
    );
    Err(Stop::new(WRONG, why))
}

fn tell(done: &Resealed, is_ours: bool, file: &Path, json: bool) -> Done {
    if json {
        return say_json(done);
    }
    let Resealed { resealed, standing, closed, .. } = done;
    say(format_args!("{resealed} secrets sealed with the new key{}", if *standing > 0 { ", the others were" } else { "" }))?;
    if !closed.is_empty() {
        say(format_args!("no key opens these, set them again: {}", closed.join(", ")))?;
    }
    if is_ours {
        say(format_args!("keep a copy of {}: the one of before opens nothing but backups of before", file.display()))
    } else {
        say("take the old key out of every node's now; backups of before need it")
    }
}
