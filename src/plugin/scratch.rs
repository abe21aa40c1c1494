//! The folder that a guest has while it runs, and the bytes that it may write there.
//!
//! The sandbox's file system knows no quota, so every call that can make a file longer or a name more is counted before
//! it is done ([`super::host::files`]). What is counted is what is written, and deleting gives nothing back: what lies on
//! the disk is never more than what was counted.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use super::instance::Context;
use super::journal::{Level, Line};
use crate::domain::span::Size;
use crate::error::Result;

/// Where a guest finds it.
pub const PLACE: &str = "/scratch";
/// A file, a folder or a link counts so much beside its bytes, and a part of so much counts as a whole: a disk does not
/// take less.
pub const PAGE: u64 = 4 * 1024;

/// `<data_dir>/scratch`, and in it a folder for each guest that was granted one.
pub struct Folders {
    root: PathBuf,
    made: AtomicU64,
    /// Instead of a folder of each call's own.
    given: OnceLock<PathBuf>,
}

impl Folders {
    /// Clears what a process before left there: the data folder has one process.
    ///
    /// # Errors
    /// When the folder cannot be made or cleared.
    pub fn open(data_dir: &Path) -> Result<Self> {
        let root = data_dir.join("scratch");
        if root.exists() {
            remove(&root)?;
        }
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&root)?;
        Ok(Self { root, made: AtomicU64::new(0), given: OnceLock::new() })
    }

    /// From now on every call has this folder: it finds what lies there, and what it leaves stays. The first one given holds.
    pub fn give(&self, folder: PathBuf) {
        let _ = self.given.set(folder);
    }

    /// An empty folder for one call, unless another one was given; none when nothing is granted.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn lend(&self, context: &Arc<Context>) -> Result<Option<Scratch>> {
        // Apply has checked the one against the other; the ceiling may have been lowered since.
        let limit = context.grant.scratch.min(context.ceiling.scratch);
        if limit == Size(0) {
            return Ok(None);
        }
        let (folder, stays) = match self.given.get() {
            Some(given) => (given.clone(), true),
            None => {
                let folder = self.root.join(self.made.fetch_add(1, Relaxed).to_string());
                std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
                (folder, false)
            }
        };
        let budget = Budget { left: AtomicU64::new(limit.0), limit, told: AtomicBool::new(false), context: Arc::clone(context) };
        Ok(Some(Scratch { folder, stays, budget: Arc::new(budget) }))
    }
}

/// One guest's folder; it goes when this is dropped, unless it was given.
pub struct Scratch {
    folder: PathBuf,
    stays: bool,
    pub budget: Arc<Budget>,
}

impl Scratch {
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes it, and waits until it is gone.
    pub async fn end(mut self) {
        if self.stays {
            return;
        }
        let folder = std::mem::take(&mut self.folder);
        let removed = tokio::task::spawn_blocking(move || remove_or_tell(&folder)).await;
        if let Err(wrong) = removed {
            tracing::error!(error = %wrong, "a scratch folder may be left; it goes at the next start");
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.stays || self.folder.as_os_str().is_empty() {
            return;
        }
        let folder = std::mem::take(&mut self.folder);
        match tokio::runtime::Handle::try_current() {
            // Not awaited: whoever drops a guest does not wait for its files.
            Ok(runtime) => drop(runtime.spawn_blocking(move || remove_or_tell(&folder))),
            Err(_) => remove_or_tell(&folder),
        }
    }
}

/// What a guest may still write, in bytes.
pub struct Budget {
    left: AtomicU64,
    limit: Size,
    told: AtomicBool,
    context: Arc<Context>,
}

impl Budget {
    /// Bytes taken so far.
    pub fn taken(&self) -> u64 {
        self.limit.0 - self.left.load(Relaxed)
    }

    /// Takes so many bytes before they are written; false, and a line in the guest's log, when there are not so many left.
    pub fn take(&self, bytes: u64) -> bool {
        let taken = self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(bytes)).is_ok();
        if !taken && !self.told.swap(true, Relaxed) {
            let message = format!(
                "scratch is full: {} more are wanted, and {} of {} are left; grant = {{ scratch = \"…\" }} of the job gives more",
                Size(bytes),
                Size(self.left.load(Relaxed)),
                self.limit
            );
            let at = self.context.clock.now();
            self.context.journal.log(Line { at, level: Level::Warn, message, fields: Vec::new() });
        }
        taken
    }
}

/// Whole pages from `from` up to the end of what is written.
pub fn page_end(end: u64) -> u64 {
    end.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX)
}

fn remove_or_tell(folder: &Path) {
    if let Err(wrong) = remove(folder) {
        tracing::error!(folder = %folder.display(), error = %wrong, "a scratch folder cannot be removed; it is tried again at the next start");
    }
}

/// A guest can nest folders deeper than a path, a stack or a table of open files is long: what lies two levels down is
/// moved up one until nothing is left.
fn remove(folder: &Path) -> io::Result<()> {
    loop {
        let mut empty = true;
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            empty = false;
            if entry.file_type()?.is_dir() {
                lift(&entry.path(), folder)?;
                std::fs::remove_dir(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
        if empty {
            return std::fs::remove_dir(folder);
        }
    }
}

fn lift(from: &Path, to: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            // No guest knows the name beforehand.
            std::fs::rename(entry.path(), to.join(format!("{:032x}", rand::random::<u128>())))?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_removed_however_deep_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("scratch");
        std::fs::create_dir(&root).unwrap();
        // Deeper than a path may be long: from within, as a guest does it.
        let mut deepest = root.clone();
        for level in 0..20 {
            deepest = deepest.join("x".repeat(150));
            std::fs::create_dir(&deepest).unwrap();
            std::fs::write(deepest.join("file"), [level]).unwrap();
        }
        for _ in 0..3 {
            let top = dir.path().join("top");
            std::fs::create_dir_all(top.join("y".repeat(200))).unwrap();
            std::fs::rename(&root, top.join("y".repeat(200)).join("z")).unwrap();
            std::fs::rename(&top, &root).unwrap();
        }
        std::os::unix::fs::symlink("/etc", root.join("link")).unwrap();
        remove(&root).unwrap();
        assert!(!root.exists() && Path::new("/etc/passwd").exists());
    }
}
