//! Compiled code on disk, by the plugin's digest and by the engine that it was made for. Loading it is trusting it with
//! the process, so it lies in a folder of ours alone and nothing is loaded that we did not write there.

use std::fs::{File, OpenOptions};
use std::io::{Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use wasmtime::component::Component;

use super::compiler::Compiler;
use super::engine;

use crate::error::{Error, Result};

pub struct Folder {
    path: PathBuf,
    /// [`engine::mark`]
    engine: String,
    written: AtomicU64,
}

/// Compiled code that is not decided on yet: it goes when this does, unless it is kept.
pub struct Part(Option<PathBuf>);

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // It lies in nobody's way; the next start looks at none of these.
            let _ = std::fs::remove_file(path);
        }
    }
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
        Ok(Self { path, engine: engine::mark(engine), written: AtomicU64::new(0) })
    }

    fn file(&self, digest: &str) -> PathBuf {
        // A digest may come from a request: nothing but its letters and digits becomes a file's name.
        let name: String = digest.trim_start_matches("sha256:").chars().filter(char::is_ascii_alphanumeric).collect();
        self.path.join(format!("{name}.{}.cwasm", self.engine))
    }

    /// `None`: never compiled here, or no longer readable (then it is compiled again).
    pub fn read(&self, digest: &str, engine: &wasmtime::Engine) -> Option<Component> {
        let file = self.file(digest);
        if !file.is_file() {
            return None;
        }
        open(&file, engine)
            .inspect_err(
                |wrong| tracing::warn!(plugin.digest = digest, error = %wrong, "compiled code cannot be read, compiling again"),
            )
            .ok()
    }

    /// Has a module compiled, and answers what came of it.
    ///
    /// # Errors
    /// As [`Compiler::compile`], and when the folder cannot be written.
    pub fn compile(&self, compiler: &Compiler, module: &[u8], engine: &wasmtime::Engine) -> Result<(Component, Part)> {
        let (_module, mut input) = self.part("wasm")?;
        input.write_all(module)?;
        input.rewind()?;
        let (part, code) = self.part("part")?;
        compiler.compile(input, code)?;
        let path = part.0.as_deref().unwrap_or(&self.path);
        let component = open(path, engine).map_err(engine::broken)?;
        Ok((component, part))
    }

    fn part(&self, kind: &str) -> Result<(Part, File)> {
        let name = format!("{}-{}.{kind}", std::process::id(), self.written.fetch_add(1, Relaxed));
        let path = self.path.join(name);
        // Another process of this number may have been killed and have left it.
        let _ = std::fs::remove_file(&path);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok((Part(Some(path)), file))
    }

    /// Keeps it for the next start. All of it or nothing: another process may be reading.
    pub fn keep(&self, mut part: Part, digest: &str) -> Result<()> {
        if let Some(path) = part.0.take() {
            let kept =
                File::open(&path).and_then(|file| file.sync_all()).and_then(|()| std::fs::rename(&path, self.file(digest)));
            part.0 = kept.is_err().then_some(path);
            kept?;
        }
        Ok(())
    }

    /// Nobody wants it any more.
    pub fn remove(&self, digest: &str) {
        // Nobody may have had it.
        let _ = std::fs::remove_file(self.file(digest));
    }
}

#[allow(unsafe_code, reason = "the folder is private and what lies in it was written for this process")]
fn open(file: &Path, engine: &wasmtime::Engine) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize_file` trusts the bytes; see the head of this file.
    unsafe { Component::deserialize_file(engine, file) }
}
