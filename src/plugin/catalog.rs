//! The plugins that are ready here, by digest. A plugin is checked, compiled, linked and asked what it is when it is
//! added; a run finds it ready or is not claimed.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::call::{Ask, Room, Told};
use super::compiled::{Folder, Part};
use super::compiler::Compiler;
use super::instance::Context;
use super::loaded::Loaded;
use super::{Journal, Stop, inspect};
use crate::clock::Clock;
use crate::domain::grant::{Ceiling, Grant};
use crate::domain::limits::Limits;
use crate::error::{Error, Result};

/// Bytes of a component. A Python program with its interpreter has 18 MB.
pub const SIZE_LIMIT: usize = 32 * 1024 * 1024;
/// Modules that wait at a time.
const PLACES: usize = 16;
/// Bytes of what `describe` answers.
const DESCRIPTION: usize = 256 * 1024;
/// What `describe` and `config.check` get: they compute, they have nothing to wait for.
const ASIDE: Duration = Duration::from_secs(5);

/// A plugin that was added, and what it says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// `sha256:…`
    pub digest: String,
    pub bytes: u64,
    /// `0.0.0` when it has no `describe`.
    pub version: String,
    pub summary: String,
    /// JSON Schema of a job's configuration; `null` when there is none.
    pub config: Value,
    /// All of what `describe` answered, a JSON object.
    pub description: Value,
    pub exports: Vec<String>,
    pub imports: Vec<String>,
    pub has_backlog: bool,
    /// A WASI program without `job`.
    pub is_command: bool,
}

/// How far a module is on its way to a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Another one is being compiled.
    Waiting,
    Compiling,
    /// It says what it is.
    Describing,
}

pub struct Catalog {
    room: Arc<Room>,
    guests: tokio::runtime::Handle,
    clock: Arc<dyn Clock>,
    folder: Arc<Folder>,
    compiler: Compiler,
    loaded: RwLock<HashMap<String, Arc<Loaded>>>,
    /// One at a time: the compiler takes every core it gets, and runs want some.
    compiling: Arc<Semaphore>,
    /// Modules that wait for it are held in memory.
    places: Arc<Semaphore>,
    spent: Arc<Spent>,
}

/// What compiling took so far.
#[derive(Default)]
struct Spent {
    count: AtomicU64,
    micros: AtomicU64,
}

/// `sha256:` and the hash of the bytes.
pub fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes).iter().fold(String::from("sha256:"), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Catalog {
    pub fn new(
        room: Arc<Room>,
        guests: tokio::runtime::Handle,
        clock: Arc<dyn Clock>,
        compiler: Compiler,
        data_dir: &Path,
    ) -> Result<Self> {
        let folder = Arc::new(Folder::open(data_dir, &room.engine.wasm)?);
        Ok(Self {
            room,
            guests,
            clock,
            folder,
            compiler,
            loaded: RwLock::default(),
            compiling: Arc::new(Semaphore::new(1)),
            places: Arc::new(Semaphore::new(PLACES)),
            spent: Arc::default(),
        })
    }

    /// Checks a file, compiles it and makes it ready. [`Error::Invalid`] says everything that stands against it.
    pub async fn add(&self, bytes: Vec<u8>) -> Result<Described> {
        self.add_in_steps(bytes, &watch::channel(Step::Waiting).0).await
    }

    /// The same, and says how far it is.
    pub async fn add_in_steps(&self, bytes: Vec<u8>, step: &watch::Sender<Step>) -> Result<Described> {
        self.check(&bytes)?;
        let (size, digest) = (bytes.len(), digest(&bytes));
        let (plugin, part) = match self.get(&digest) {
            Some(plugin) => (plugin, None),
            None => self.make(&digest, bytes, step).await?,
        };
        step.send_replace(Step::Describing);
        let description = if plugin.found.describe { self.describe(&plugin).await? } else { json!({}) };
        let text = |key: &str| description.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let found = &plugin.found;
        let described = Described {
            bytes: size as u64,
            version: Some(text("version")).filter(|version| !version.is_empty()).unwrap_or_else(|| "0.0.0".into()),
            summary: text("summary"),
            config: description.get("config").cloned().unwrap_or(Value::Null),
            exports: found.exports.clone(),
            imports: found.imports.clone(),
            has_backlog: found.backlog,
            is_command: plugin.command.is_some(),
            description,
            digest: digest.clone(),
        };
        self.keep(&digest, plugin, part)?;
        Ok(described)
    }

    /// What can be said against a file without compiling it: its size and its first bytes.
    ///
    /// # Errors
    /// `Invalid`, with what would be right.
    pub fn check(&self, bytes: &[u8]) -> Result<()> {
        let size = bytes.len();
        if size > SIZE_LIMIT {
            return refused(format!(
                "the file has {size} bytes, the limit is {SIZE_LIMIT}: build with opt-level \"s\" and without debug information"
            ));
        }
        inspect::kind(bytes).map(drop).or_else(refused)
    }

    /// A place among the modules that wait to be compiled, as long as it is held.
    ///
    /// # Errors
    /// `Unavailable` when all are taken.
    pub fn place(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            Error::Unavailable(format!("{PLACES} plugins wait to be compiled on this node already; push it again in a minute"))
        })
    }

    /// Forgets a plugin that nobody keeps, its compiled code too.
    pub fn discard(&self, digest: &str) {
        self.unload(digest);
        self.folder.remove(digest);
    }

    /// Makes a plugin ready that was added before, here or on another node: from compiled code if there is any.
    pub async fn load(&self, digest: &str, bytes: Vec<u8>) -> Result<()> {
        if self.has(digest) || self.load_compiled(digest).await? {
            return Ok(());
        }
        let found = self::digest(&bytes);
        if found != digest {
            return Err(Error::Conflict(format!(
                "the bytes of plugin {digest} are damaged: they have the digest {found}; push it again"
            )));
        }
        let (plugin, part) = self.make(digest, bytes, &watch::channel(Step::Waiting).0).await?;
        self.keep(digest, plugin, part)
    }

    /// Makes a plugin ready without its bytes; false when no compiled code is here.
    pub async fn load_compiled(&self, digest: &str) -> Result<bool> {
        let (room, folder, name) = (Arc::clone(&self.room), Arc::clone(&self.folder), digest.to_owned());
        let read = blocking(move || {
            Ok(folder.read(&name, &room.engine.wasm).and_then(|component| Loaded::link(&room.engine, &component).ok()))
        })
        .await?;
        let Some(plugin) = read else { return Ok(false) };
        self.keep(digest, Arc::new(plugin), None)?;
        Ok(true)
    }

    /// Forgets a plugin; running guests of it run on.
    pub fn unload(&self, digest: &str) {
        self.loaded.write().unwrap_or_else(PoisonError::into_inner).remove(digest);
    }

    /// Modules compiled since this process began, refused ones too, and what that took.
    pub fn compiled(&self) -> (u64, Duration) {
        (self.spent.count.load(Relaxed), Duration::from_micros(self.spent.micros.load(Relaxed)))
    }

    pub fn has(&self, digest: &str) -> bool {
        self.get(digest).is_some()
    }

    /// All that are ready here.
    pub fn digests(&self) -> Vec<String> {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    pub(super) fn get(&self, digest: &str) -> Option<Arc<Loaded>> {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    /// Makes it ready, and writes down what was compiled for the next start.
    fn keep(&self, digest: &str, plugin: Arc<Loaded>, part: Option<Part>) -> Result<()> {
        if let Some(part) = part {
            self.folder.keep(part, digest)?;
        }
        self.loaded.write().unwrap_or_else(PoisonError::into_inner).insert(digest.to_owned(), plugin);
        Ok(())
    }

    /// Compiles, checks and links. What was compiled is gone unless it is kept.
    async fn make(&self, digest: &str, bytes: Vec<u8>, step: &watch::Sender<Step>) -> Result<(Arc<Loaded>, Option<Part>)> {
        let turn = Arc::clone(&self.compiling)
            .acquire_owned()
            .await
            .map_err(|_| Error::Unavailable("nothing more is compiled".into()))?;
        step.send_replace(Step::Compiling);
        // An earlier upload may have gone away while it compiled; its work is not done twice.
        if self.load_compiled(digest).await?
            && let Some(plugin) = self.get(digest)
        {
            return Ok((plugin, None));
        }
        let (room, folder, compiler) = (Arc::clone(&self.room), Arc::clone(&self.folder), self.compiler.clone());
        let spent = Arc::clone(&self.spent);
        blocking(move || {
            // Whoever gave up waiting leaves the compiler its turn until it is done.
            let _turn = turn;
            let began = Instant::now();
            let compiled = folder.compile(&compiler, &bytes, &room.engine.wasm);
            spent.count.fetch_add(1, Relaxed);
            spent.micros.fetch_add(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX), Relaxed);
            let (component, part) = compiled?;
            let found = inspect::inspect(&component.component_type(), &room.engine.wasm);
            let objections = inspect::objections(&found);
            if !objections.is_empty() {
                return Err(Error::Invalid(
                    objections.into_iter().map(|why| crate::error::Problem::new("plugin", why)).collect(),
                ));
            }
            let plugin = match Loaded::link(&room.engine, &component) {
                Ok(plugin) => plugin,
                Err(wrong) => {
                    return refused(format!(
                        "it does not fit the contract windlass:plugin@1.0.0: {}",
                        inspect::one_line(&format!("{wrong:#}"))
                    ));
                }
            };
            Ok((Arc::new(plugin), Some(part)))
        })
        .await
    }

    async fn describe(&self, plugin: &Arc<Loaded>) -> Result<Value> {
        let text = match self.aside(plugin, Ask::Describe).await {
            Ok(Told::Described(text)) => text,
            Ok(_) => return refused("its describe did not answer a description"),
            Err(broken) => return refused(format!("its describe broke: {broken}")),
        };
        if text.len() > DESCRIPTION {
            return refused(format!("its describe answers {} bytes; at most {DESCRIPTION}", text.len()));
        }
        match serde_json::from_str(&text) {
            Ok(description @ Value::Object(_)) => Ok(description),
            Ok(_) => refused("its describe must answer a JSON object, and answered other JSON"),
            Err(wrong) => refused(format!("its describe must answer a JSON object: {wrong}")),
        }
    }

    /// A call outside a run: nothing granted, default memory, [`ASIDE`] of time.
    pub(super) async fn aside(&self, plugin: &Arc<Loaded>, ask: Ask) -> Result<Told, super::trap::Broken> {
        let (room, plugin, clock) = (Arc::clone(&self.room), Arc::clone(plugin), Arc::clone(&self.clock));
        let context = move |deadline| Context {
            tenant: Arc::default(),
            clock,
            journal: Arc::new(Journal::default()),
            stop: Arc::new(Stop::default()),
            grant: Arc::new(Grant::default()),
            ceiling: Arc::new(Ceiling::default()),
            limits: Limits::default(),
            secrets: Arc::default(),
            state: None,
            items: None,
            artifacts: None,
            tape: Arc::default(),
            item_bytes: AtomicU64::new(0),
            time_limit: ASIDE,
            grace: Duration::ZERO,
            stall_limit: None,
            deadline,
        };
        super::sandbox::on_guests(&self.guests, async move { room.call(&plugin, context, ask, ASIDE).await }).await
    }
}

fn refused<T>(why: impl Into<String>) -> Result<T> {
    Err(Error::invalid("plugin", why))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|wrong| Error::Internal(wrong.into()))?
}
