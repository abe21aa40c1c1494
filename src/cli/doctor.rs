//! `windlass doctor`: what a server would trip over, without starting one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::mpsc;

use super::local;
use super::serve::{KEY_FILE, KEY_VARIABLE, LOCK, lock, runtime};
use super::show::{say, say_json};
use super::stop::Done;
use crate::app::key;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::config::Settings;
use crate::domain::attempt::Outcome;
use crate::domain::health::words;
use crate::error::{Error, Result};
use crate::plugin::{EMBEDDED, Executor, catalog};
use crate::store::backup::{fits, newest_schema};
use crate::store::{self, Database, Inspected};
use crate::vault::Vault;

/// Below this a day of a busy server may not fit; below a tenth of it nothing does.
const FREE: u64 = 1024 * 1024 * 1024;

/// One thing looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    /// What is, and if it is bad, what to do.
    detail: String,
}

/// Prints a line a check; answers whether all are good. `sinks`: what the running server says of them.
pub fn run(settings: &Settings, sinks: Result<String>, json: bool) -> Done<bool> {
    let checks = runtime()?.block_on(async {
        let mut checks =
            vec![check("data folder", data_folder(&settings.data_dir)), check("free space", free_space(&settings.data_dir))];
        let (database, newest) = database(settings).await;
        checks.push(check("database", database));
        checks.push(check("secrets", secrets(settings).await));
        checks.push(check("clock", clock(newest)));
        checks.push(check("roles", Ok(settings.roles.to_string())));
        checks.push(check("memory", Ok(settings.worker.budget_words())));
        checks.push(check("engine", engine(settings).await));
        checks.push(check("alerts", sinks));
        checks
    });
    let well = checks.iter().all(|check| check.ok);
    if json {
        say_json(&serde_json::json!({"ok": well, "checks": checks}))?;
    } else {
        for Check { name, ok, detail } in &checks {
            say(format_args!("{}  {name:<12} {detail}", if *ok { "ok " } else { "BAD" }))?;
        }
    }
    Ok(well)
}

fn check(name: &'static str, found: Result<String>) -> Check {
    match found {
        Ok(detail) => Check { name, ok: true, detail },
        Err(wrong) => Check { name, ok: false, detail: wrong.to_string() },
    }
}

fn data_folder(dir: &Path) -> Result<String> {
    use std::os::unix::fs::PermissionsExt;
    if !dir.exists() {
        return Ok(format!("{} does not exist yet; the first start makes it", dir.display()));
    }
    let mode = fs::metadata(dir)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::Unavailable(format!(
            "{} is open to others (mode {mode:o}): chmod 700 it, keys and tokens lie there",
            dir.display()
        )));
    }
    let probe = dir.join(".doctor");
    fs::write(&probe, b"")
        .and_then(|()| fs::remove_file(&probe))
        .map_err(|wrong| Error::Unavailable(format!("{} cannot be written: {wrong}", dir.display())))?;
    Ok(format!("{} can be written", dir.display()))
}

fn free_space(dir: &Path) -> Result<String> {
    let standing = dir.ancestors().find(|dir| dir.exists()).filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let stat = rustix::fs::statvfs(standing).map_err(std::io::Error::from)?;
    let free = stat.f_bavail * stat.f_frsize;
    let text = format!("{} free", crate::span::Size(free));
    if free < FREE {
        return Err(Error::Unavailable(format!("{text}; at least 1 GiB is right: make room, or shorten retention")));
    }
    Ok(text)
}

/// What there is to say of it, and when something was last written.
async fn database(settings: &Settings) -> (Result<String>, Option<Timestamp>) {
    match Database::parse(&settings.database_url, &settings.data_dir) {
        Ok(Database::Sqlite(file)) => {
            // Once: looking reads the whole file.
            let found = if file.exists() { Some(store::inspect(&file).await) } else { None };
            let newest = found.as_ref().and_then(|found| Some(found.as_ref().ok()?.newest));
            (database_answers(&file, found), newest)
        }
        Ok(Database::Postgres(options)) => match store::look(&options).await {
            Ok(looked) => {
                let skew = looked.now.since(SystemClock.now()).max(SystemClock.now().since(looked.now));
                let text = format!("PostgreSQL {} answers; this clock is {} ms off", looked.version, skew.as_millis());
                (Ok(text), None)
            }
            Err(wrong) => (Err(wrong), None),
        },
        Err(wrong) => (Err(wrong), None),
    }
}

fn database_answers(file: &Path, found: Option<Result<Inspected>>) -> Result<String> {
    let Some(found) = found else {
        let folder = file.parent().filter(|folder| folder.join(LOCK).exists());
        if let Some(Err(taken)) = folder.map(lock) {
            return Err(Error::Unavailable(format!("{} is gone: restore a backup; {taken}", file.display())));
        }
        return Ok(format!("{} does not exist yet; the first start makes it", file.display()));
    };
    let found = found?;
    fits(&file.display().to_string(), found.schema)?;
    let later = newest_schema() - found.schema;
    let upgrade = if later > 0 {
        format!(" (the next start brings it to {}; make a backup first)", newest_schema())
    } else {
        String::new()
    };
    Ok(format!(
        "{} is sound: schema {}{upgrade}, {}, and {} in the write-ahead log",
        file.display(),
        found.schema,
        crate::span::Size(found.bytes),
        crate::span::Size(found.wal_bytes)
    ))
}

/// Whether each opens with the key that the server would take.
async fn secrets(settings: &Settings) -> Result<String> {
    let sealed = store::secret::look(&Database::parse(&settings.database_url, &settings.data_dir)?).await?;
    let (file, given) = (settings.data_dir.join(KEY_FILE), super::variable(KEY_VARIABLE));
    let (all, place) = (sealed.len(), if given.is_some() { KEY_VARIABLE.into() } else { file.display().to_string() });
    if given.is_none() && !file.exists() {
        return match all {
            0 => Ok("none; the first start makes the key".into()),
            _ => Err(Error::Unavailable(format!("{all}, and {place} is not there: put it back, or set {KEY_VARIABLE}"))),
        };
    }
    let vault = Vault::open(&file, given.as_deref());
    let vault = vault.map_err(|wrong| Error::Unavailable(format!("{all}; {wrong}: put the right key back")))?;
    match (key::closed(&vault, &sealed), all) {
        (_, 0) => Ok("none".into()),
        (0, _) => Ok(format!("{all}, all open")),
        (closed, _) => {
            let advice = "put back the key that sealed them, or set them again";
            Err(Error::Unavailable(format!("{closed} of {all} do not open with {place}: {advice}")))
        }
    }
}

/// A clock that went back behind what was written makes times on pages wrong; ids keep their order.
fn clock(newest: Option<Timestamp>) -> Result<String> {
    let now = SystemClock.now();
    if let Some(newest) = newest.filter(|newest| *newest > now.plus(Duration::from_secs(60))) {
        let behind = words(newest.since(now));
        return Err(Error::Unavailable(format!(
            "it is {} now, {behind} before what was written last: set the clock",
            now.rfc3339()
        )));
    }
    Ok(now.rfc3339())
}

/// Starts an engine and runs the guest that does nothing.
async fn engine(settings: &Settings) -> Result<String> {
    local::in_a_folder("doctor", |folder| noop(settings, folder)).await
}

async fn noop(settings: &Settings, folder: PathBuf) -> Result<String> {
    let sandbox = local::sandbox(settings, folder)?;
    let Some(noop) = EMBEDDED.iter().find(|plugin| plugin.name == "noop") else {
        return Err(Error::Internal(anyhow::anyhow!("this build has no plugin noop")));
    };
    let digest = catalog::digest(noop.bytes);
    let compiling = Instant::now();
    sandbox.catalog().load(&digest, noop.bytes.to_vec()).await?;
    let (compiled, running) = (compiling.elapsed(), Instant::now());
    let (state, _calls) = mpsc::channel(1);
    let work = local::work("noop", digest, Duration::from_secs(10), state);
    match sandbox.execute(work).await {
        Outcome::Succeeded { .. } => {
            let pool = if sandbox.is_pooled() {
                "guests come from a pool"
            } else {
                "no pool (is the address space limited?): guests start slower"
            };
            Ok(format!(
                "compiled a guest in {} ms and ran it in {} µs; {pool}",
                compiled.as_millis(),
                running.elapsed().as_micros()
            ))
        }
        outcome => {
            Err(Error::Unavailable(format!("a guest that does nothing ended as {}: {}", outcome.word(), outcome.message())))
        }
    }
}
