//! Puts the parts together: data folder, store, sandbox, runner, pages. `windlass demo` and the tests start the same server.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::{App, Who, key};
use crate::clock::{Clock, SystemClock};
use crate::config::{Role as Duty, Roles, Settings};
use crate::domain::member::Role;
use crate::egress::Egress;
use crate::error::{Error, Result};
use crate::objects::Objects;
use crate::plugin::{self, Compiler, Executor, Sandbox};
use crate::runner::{Context, Runner};
use crate::store::{Database, Store};
use crate::vault::Vault;
use crate::web;

/// The key that seals secrets, in the data folder.
pub const KEY_FILE: &str = "secret.key";
/// The same from outside, for those who keep keys elsewhere.
pub const KEY_VARIABLE: &str = "WINDLASS_SECRET_KEY";

/// A running server.
pub struct Server {
    pub app: App,
    pub address: SocketAddr,
    /// Where `/metrics` needs no token.
    pub metrics: Option<SocketAddr>,
    /// Sets the first password on the page, while nobody has one.
    pub setup_code: Option<String>,
    runner: Runner,
    stop: CancellationToken,
    pages: JoinHandle<std::io::Result<()>>,
    /// Held until the end: one process owns a data folder.
    _lock: File,
}

/// What the command line on the same machine needs; in the data folder, for its owner only.
#[derive(Debug, Serialize, Deserialize)]
pub struct Access {
    pub server: String,
    pub token: String,
}

impl Access {
    pub fn file(data_dir: &Path) -> PathBuf {
        data_dir.join("admin.json")
    }
}

impl Server {
    /// # Errors
    /// When the data folder is another process's, or something in it cannot be read or made; names it.
    pub async fn start(settings: Settings) -> Result<Self> {
        Self::start_with(settings, |executor| executor).await
    }

    /// The same, with the executor wrapped: `windlass bench` looks when guests start.
    pub async fn start_with(settings: Settings, wrap: impl FnOnce(Arc<dyn Executor>) -> Arc<dyn Executor>) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        // Whatever is made from here on is its owner's alone, also in a folder that was there before.
        rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
        make_private(&settings.data_dir)?;
        let lock = lock(&settings.data_dir)?;
        let listener = bind(settings.listen, "--listen").await?;
        let address = listener.local_addr()?;
        let metrics = match settings.metrics.listen {
            Some(listen) => Some(bind(listen, "metrics.listen").await?),
            None => None,
        };
        let metrics_address = metrics.as_ref().map(TcpListener::local_addr).transpose()?;
        note_owner(&lock, &settings.data_dir, address)?;
        let store = Store::open(Database::parse(&settings.database_url, &settings.data_dir)?, clock.clone()).await?;
        let own = std::iter::once(address).chain(metrics_address).chain(store.database().addresses().await).collect();
        let egress = Egress::of(&settings, own, clock.clone())?;
        let sandbox = Arc::new(Sandbox::new(plugin::Settings {
            threads: settings.worker.guest_threads,
            runs: settings.worker.runs_in_flight,
            data_dir: settings.data_dir.clone(),
            compiler: Compiler::Process(settings.binary.clone()),
            egress: egress.clone(),
            clock: clock.clone(),
        })?);
        let vault = Arc::new(open_vault(&settings, &store).await?);
        let objects = Objects::open(&settings, store.is_shared(), super::variable)?;
        let settings = Arc::new(settings);
        let executor = wrap(sandbox.clone());
        let app = App {
            store: store.clone(),
            executor: executor.clone(),
            catalog: sandbox.catalog().clone(),
            clock: clock.clone(),
            settings: settings.clone(),
            vault: vault.clone(),
            objects: objects.clone(),
        };
        app.push_embedded().await?;
        app.load_plugins().await?;
        let web = settings.roles.has(Duty::Web);
        if web {
            write_access(&app, &settings.data_dir, address).await?;
        }
        note_address(&store, address, &settings.roles).await?;
        let context = Context::new(store, executor, egress, clock, settings.clone(), vault, objects);
        let duties = context.duties.clone();
        let runner = Runner::start(context).await?;
        let stop = CancellationToken::new();
        let setup_code = (web && app.is_first_start().await?).then(web::setup_code);
        let options = web::Options {
            setup_code: setup_code.clone(),
            https: settings.public_url.as_ref().is_some_and(|url| url.starts_with("https:")),
            stop: stop.clone(),
            duties,
        };
        if app.store.is_shared() {
            tokio::spawn(load_new_plugins(app.clone(), stop.clone()));
        }
        let router = if web { web::router(app.clone(), options) } else { web::health_only(app.clone(), options) };
        let pages = tokio::spawn(web::serve(listener, router, stop.clone()));
        if let Some(listener) = metrics {
            tokio::spawn(web::serve(listener, web::metrics::open(app.clone()), stop.clone()));
        }
        tracing::info!(listen = %address, roles = %settings.roles, memory.budget = %settings.worker.budget(), "windlass is up");
        Ok(Self { app, address, metrics: metrics_address, setup_code, runner, stop, pages, _lock: lock })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets running work end or hands it back, then closes everything.
    pub async fn stop(self) {
        let Self { app, runner, stop, pages, _lock, .. } = self;
        runner.drain().await;
        stop.cancel();
        // Pages that stream are cut after a moment.
        if tokio::time::timeout(Duration::from_secs(3), pages).await.is_err() {
            tracing::debug!("a page was still open at the end");
        }
        app.store.close().await;
        tracing::info!("windlass has stopped");
    }
}

/// `windlass serve`: until SIGINT or SIGTERM.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let server = Server::start(settings).await?;
        if let Some(code) = &server.setup_code {
            // Apart from the log, whose filter must not lock people out. A closed stderr is no reason to stop.
            let _ = writeln!(
                std::io::stderr(),
                "nobody can log in yet: open {} and set a password with the code {code}",
                server.url()
            );
        }
        stop_signal().await?;
        tracing::info!("stopping: running work has {} s to end", crate::runner::DRAIN_GRACE.as_secs());
        server.stop().await;
        Ok(())
    })
}

/// Pages, API and the loops; guests have threads of their own.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

/// Waits for SIGINT or SIGTERM.
pub async fn stop_signal() -> std::io::Result<()> {
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = term.recv() => Ok(()),
    }
}

async fn bind(address: SocketAddr, key: &str) -> Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|wrong| Error::Unavailable(format!("cannot listen on {address}: {wrong}; {key} chooses another address")))
}

async fn open_vault(settings: &Settings, store: &Store) -> Result<Vault> {
    keep_key(settings, store).await?;
    let vault = Vault::open(&settings.data_dir.join(KEY_FILE), super::variable(KEY_VARIABLE).as_deref())?;
    if store.is_shared() {
        right_key(settings, store, &vault).await?;
    }
    tell_closed(store, &vault).await?;
    Ok(vault)
}

/// A new key in the place of a lost one would open nothing: that is for a person to decide.
async fn keep_key(settings: &Settings, store: &Store) -> Result<()> {
    let file = settings.data_dir.join(KEY_FILE);
    if file.exists() || super::variable(KEY_VARIABLE).is_some() || !store.read().await?.has_secrets().await? {
        return Ok(());
    }
    if store.is_shared() {
        return Err(Error::Unavailable(format!(
            "{} is not there, and there are secrets in {}: copy the key of a node that has it, or set {KEY_VARIABLE}",
            file.display(),
            store.database().name()
        )));
    }
    Err(Error::Unavailable(format!(
        "{} is gone, and with it every secret; put it back, or set {KEY_VARIABLE}. To start with new secrets, make an empty one: \
         head -c 32 /dev/urandom | base64 > {}, and set each again",
        file.display(),
        file.display()
    )))
}

/// Secrets are sealed with one key, whichever node seals them: the first node leaves a seal that every later one opens. A
/// file has one process, whose owner may begin anew with another key.
async fn right_key(settings: &Settings, store: &Store, vault: &Vault) -> Result<()> {
    let mut tx = store.begin().await?;
    match key::fits(&mut tx, vault).await? {
        Some(true) => {}
        Some(false) => {
            return Err(Error::Unavailable(format!(
                "{} is not the key of the database {}: secrets in it would not open. Copy the key of the node that set them, or set \
                 {KEY_VARIABLE}. If it is lost on all: DELETE FROM setting WHERE key = '{}', and set each secret again",
                settings.data_dir.join(KEY_FILE).display(),
                store.database().name(),
                key::SEAL
            )));
        }
        None => key::put_seal(&mut tx, vault).await?,
    }
    tx.has_secret_keys(&vault.marks().collect::<Vec<_>>().join(" ")).await?;
    tx.commit().await
}

/// Without it the first run that is granted one of them would tell.
async fn tell_closed(store: &Store, vault: &Vault) -> Result<()> {
    let secrets = store.read().await?.all_secrets().await?;
    let closed = key::closed(vault, &secrets);
    if closed > 0 {
        let all = secrets.len();
        tracing::warn!(closed, all, "secrets do not open with this key: put back the one that sealed them, or set them again");
    }
    Ok(())
}

/// Makes the folder, for its owner alone.
///
/// # Errors
/// When it cannot be made.
pub fn make_private(data_dir: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(|wrong| {
        Error::Unavailable(format!("cannot make the data folder {}: {wrong}; --data-dir chooses another", data_dir.display()))
    })
}

/// In the data folder: held by who owns it, with its process and address.
pub const LOCK: &str = "windlass.lock";

/// One process owns a data folder, as long as it holds this.
///
/// # Errors
/// When another does; says which.
pub fn lock(data_dir: &Path) -> Result<File> {
    let path = data_dir.join(LOCK);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|wrong| Error::Unavailable(format!("cannot open {}: {wrong}", path.display())))?;
    if file.try_lock().is_err() {
        let mut owner = String::new();
        file.read_to_string(&mut owner)?;
        return Err(Error::Unavailable(format!(
            "the data folder {} belongs to a running Windlass ({}); stop it, or choose another with --data-dir",
            data_dir.display(),
            owner.trim()
        )));
    }
    Ok(file)
}

fn note_owner(mut lock: &File, data_dir: &Path, address: SocketAddr) -> Result<()> {
    lock.set_len(0)
        .and_then(|()| lock.rewind())
        .and_then(|()| writeln!(lock, "process {} on http://{address}", std::process::id()))
        .map_err(|wrong| Error::Unavailable(format!("cannot write to the data folder {}: {wrong}", data_dir.display())))
}

async fn note_address(store: &Store, address: SocketAddr, roles: &Roles) -> Result<()> {
    let mut tx = store.begin().await?;
    tx.listens(&format!("http://{address}"), &roles.to_string()).await?;
    tx.commit().await
}

/// Makes plugins ready that other nodes were given, as soon as jobs name them.
async fn load_new_plugins(app: App, stop: CancellationToken) {
    let mut definitions = app.store.signals().definitions();
    while let Some(Ok(())) = stop.run_until_cancelled(definitions.changed()).await {
        match app.load_current_plugins().await {
            Ok(()) => app.store.signals().wake(),
            Err(wrong) => tracing::error!(error = %wrong, "the jobs' plugins cannot be read"),
        }
    }
}

/// Keeps the token that is there while it works; a new one otherwise.
async fn write_access(app: &App, data_dir: &Path, address: SocketAddr) -> Result<()> {
    let file = Access::file(data_dir);
    let standing = fs::read_to_string(&file).ok().and_then(|text| serde_json::from_str::<Access>(&text).ok());
    let token = match standing {
        Some(access) if app.who_has_token(&access.token).await.is_ok() => access.token,
        _ => app.issue_token("command line on this machine", Role::Admin, None, None, &Who::server()).await?.1,
    };
    let text = serde_json::to_string_pretty(&Access { server: format!("http://{address}"), token })?;
    let fresh = file.with_extension("new");
    // Another run may have left one that nobody renamed.
    let _ = fs::remove_file(&fresh);
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?.write_all(text.as_bytes())?;
    fs::rename(fresh, file)?;
    Ok(())
}
