//! Compiled code on disk, by the plugin's digest and by the engine that it was made for. Loading it is trusting it with
//! the process, so it lies in a folder of ours alone and nothing is loaded that we did not write there.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use std::io::Write;

use wasmtime::component::Component;

use crate::error::{Error, Result};

pub struct Folder {
    path: PathBuf,
    /// Of everything that makes compiled code fit an engine: version, target, settings.
    engine: u64,
    written: AtomicU64,
}

impl Folder {
    /// `<data_dir>/compiled`, made if it is not there, readable by this user alone.
    pub fn open(data_dir: &Path, engine: &wasmtime::Engine) -> Result<Self> {
        let path = data_dir.join("compiled");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        let found = std::fs::symlink_metadata(&path)?;
        if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
            return Err(Error::Conflict(format!(
                "{} must be a folder of the user that Windlass runs as: code is loaded from it; remove it and start again",
                path.display()
            )));
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))?;
        let mut hash = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hash);
        Ok(Self { path, engine: hash.finish(), written: AtomicU64::new(0) })
    }

    fn file(&self, digest: &str) -> PathBuf {
        // A digest may come from a request: nothing but its letters and digits becomes a file's name.
        let name: String = digest.trim_start_matches("sha256:").chars().filter(char::is_ascii_alphanumeric).collect();
        self.path.join(format!("{name}.{:016x}.cwasm", self.engine))
    }

    /// `None`: never compiled here, or no longer readable (then it is compiled again).
    #[allow(unsafe_code, reason = "the folder is private and this process's user wrote what lies in it")]
    pub fn read(&self, digest: &str, engine: &wasmtime::Engine) -> Option<Component> {
        let file = self.file(digest);
        if !file.is_file() {
            return None;
        }
        // SAFETY: `deserialize_file` trusts the bytes; see the head of this file.
        let read = unsafe { Component::deserialize_file(engine, &file) };
        read.inspect_err(
            |wrong| tracing::warn!(plugin.digest = digest, error = %wrong, "compiled code cannot be read, compiling again"),
        )
        .ok()
    }

    /// All of it or nothing: another process may be reading.
    pub fn write(&self, digest: &str, component: &Component) -> Result<()> {
        let code = component.serialize().map_err(super::engine::broken)?;
        let part = self.path.join(format!("{}-{}.part", std::process::id(), self.written.fetch_add(1, Relaxed)));
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        let done = file.write_all(&code).and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(&part, self.file(digest)));
        if done.is_err() {
            // The reason of the failure is what counts, not that of the removal.
            let _ = std::fs::remove_file(&part);
        }
        Ok(done?)
    }
}
