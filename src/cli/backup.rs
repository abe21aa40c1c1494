//! `windlass backup` and `windlass restore`: the database as one file. The key of the secrets is not in it, on purpose:
//! whoever finds a backup shall not have them.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Global;
use super::serve::{KEY_FILE, KEY_VARIABLE, lock, make_private, runtime};
use super::show::{say, say_json};
use super::stop::{Done, NO_SERVER, Stop, WRONG};
use crate::span::Size;
use crate::store::{self, Database, Inspected, Store, backup};

#[derive(Args)]
pub struct Backup {
    /// Must not be there yet
    file: PathBuf,
}

#[derive(Args)]
pub struct Restore {
    /// Of windlass backup
    file: PathBuf,
    /// In the place of the database that is there, which is lost
    #[arg(long)]
    force: bool,
}

/// While a server runs, or without one.
pub fn backup(Backup { file }: &Backup, global: &Global) -> Done {
    let from = global.standing_database()?;
    if file.exists() {
        return Err(Stop::new(WRONG, format!("{} is there already; a backup does not write over it", file.display())));
    }
    // It has every token's hash and every input: the owner's alone, from its first byte on.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let found = runtime()?.block_on(async {
        Store::backup(&from, file).await?;
        store::inspect(file).await
    });
    let key = from.with_file_name(KEY_FILE);
    told(global, "backed up", file, &found?, &key_of(&key, "keep a copy of it, elsewhere"))
}

/// Where no server runs.
pub fn restore(Restore { file, force }: &Restore, global: &Global) -> Done {
    let to = global.database()?;
    let data_dir = to.parent().unwrap_or(Path::new("."));
    // A file that is not there, or no database, is a wrong argument, not a server that is away.
    let found = runtime()?.block_on(store::inspect(file)).map_err(|wrong| Stop::new(WRONG, wrong))?;
    backup::fits(&file.display().to_string(), found.schema)?;
    // What stands in a log beside the file would not come along.
    if found.wal_bytes > 0 || same(file, &to) {
        let why = format!("{} is a database in use and no backup: windlass backup makes one of it", file.display());
        return Err(Stop::new(WRONG, why));
    }
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    make_private(data_dir)?;
    let _held = lock(data_dir)?;
    if to.exists() && !force {
        let why = format!("{} is there already; --force puts the backup in its place, and what it has now is lost", to.display());
        return Err(Stop::new(WRONG, why));
    }
    // Beside it first: a copy that breaks off leaves the old one whole.
    let fresh = to.with_extension("restoring");
    fs::copy(file, &fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
    File::open(&fresh)?.sync_all()?;
    for left in ["-wal", "-shm"] {
        let mut name = to.as_os_str().to_owned();
        name.push(left);
        match fs::remove_file(&name) {
            Err(wrong) if wrong.kind() != std::io::ErrorKind::NotFound => return Err(wrong.into()),
            _ => {}
        }
    }
    fs::rename(&fresh, &to)?;
    File::open(data_dir)?.sync_all()?;
    let key = data_dir.join(KEY_FILE);
    let advice = if key.exists() || super::variable(KEY_VARIABLE).is_some() {
        key_of(&key, "they open only if it is the key of that time")
    } else {
        key_of(&key, "which is not here: put it back before windlass serve starts")
    };
    told(global, "restored", &to, &found, &advice)
}

fn same(one: &Path, other: &Path) -> bool {
    one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

fn key_of(key: &Path, advice: &str) -> String {
    format!("sealed with the key in {} (or {KEY_VARIABLE}); {advice}", key.display())
}

fn told(global: &Global, done: &str, file: &Path, found: &Inspected, secrets: &str) -> Done {
    if global.json {
        return say_json(&serde_json::json!({
            "file": file, "bytes": found.bytes, "schema": found.schema, "secrets": found.secrets, "newest": found.newest,
        }));
    }
    say(format_args!("{done}  {} ({}, schema {})", file.display(), Size(found.bytes), found.schema))?;
    if found.secrets > 0 {
        say(format_args!("it has {} secrets, {secrets}", found.secrets))?;
    }
    Ok(())
}

impl Global {
    /// The file where this machine's database is, or would be.
    fn database(&self) -> Done<PathBuf> {
        let settings = self.node()?;
        match Database::parse(&settings.database_url, &settings.data_dir)? {
            Database::Sqlite(file) => Ok(file),
            Database::Postgres(_) => {
                let why = "the database is a PostgreSQL server's, and this command is for a file: use pg_dump and pg_restore";
                Err(Stop::new(WRONG, why))
            }
        }
    }

    /// The same, which must be there.
    pub fn standing_database(&self) -> Done<PathBuf> {
        let file = self.database()?;
        if file.exists() {
            return Ok(file);
        }
        Err(Stop::new(NO_SERVER, format!("{} is not there; --data-dir says where the server has it", file.display())))
    }
}
