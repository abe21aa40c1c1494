//! Compiled code that commands without a server keep for each other, in the user's cache: compiling a Python plugin takes ten
//! seconds, running it some milliseconds.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::variable;

/// Files that stay, the newest ones. The largest, of Python, has some 35 MB.
const KEPT: usize = 8;
/// After so long the folder of a command that was killed goes.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// `$XDG_CACHE_HOME/windlass`, or the same in `~/.cache`; `None` where it cannot be had, or where others could write to it: code
/// is loaded from it.
pub fn cache() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(variable("HOME")?).join(".cache"));
    let path = variable("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?.join("windlass");
    DirBuilder::new().recursive(true).mode(0o700).create(&path).ok()?;
    let found = fs::symlink_metadata(&path).ok()?;
    let ours = found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o077 == 0;
    ours.then_some(path)
}

/// Puts what is kept where a sandbox over `folder` looks for it. Whatever fails here is compiled again.
pub fn lend(cache: &Path, folder: &Path) -> std::io::Result<()> {
    let compiled = folder.join("compiled");
    DirBuilder::new().recursive(true).mode(0o700).create(&compiled)?;
    for file in compiled_in(cache) {
        // Another command may have just removed it.
        let _ = fs::hard_link(&file, compiled.join(file.file_name().unwrap_or_default()));
    }
    Ok(())
}

/// Keeps what was compiled in the meantime, and as many files as may stay.
pub fn keep(cache: &Path, folder: &Path) {
    for file in compiled_in(&folder.join("compiled")) {
        // It is there already when it was lent.
        let _ = fs::hard_link(&file, cache.join(file.file_name().unwrap_or_default()));
    }
    let mut files = compiled_in(cache);
    files.sort_by_key(|file| std::cmp::Reverse(changed(file)));
    for old in files.iter().skip(KEPT) {
        let _ = fs::remove_file(old);
    }
    for folder in entries(cache).into_iter().filter(|path| path.is_dir()) {
        if changed(&folder).elapsed().is_ok_and(|age| age > STALE) {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

fn compiled_in(folder: &Path) -> Vec<PathBuf> {
    entries(folder).into_iter().filter(|path| path.extension().is_some_and(|end| end == "cwasm")).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
}

fn changed(path: &Path) -> SystemTime {
    fs::metadata(path).and_then(|found| found.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compiled_is_lent_to_the_next_and_the_oldest_goes() {
        let cache = tempfile::tempdir().unwrap();
        for number in 0..=KEPT {
            let work = cache.path().join(format!("run-{number}"));
            lend(cache.path(), &work).unwrap();
            assert_eq!(compiled_in(&work.join("compiled")).len(), number);
            let made = work.join(format!("compiled/{number}.cwasm"));
            fs::write(&made, "code").unwrap();
            let age = Duration::from_secs(u64::try_from(KEPT - number).unwrap() + 1);
            fs::File::open(&made).unwrap().set_modified(SystemTime::UNIX_EPOCH + STALE * 2 - age).unwrap();
            keep(cache.path(), &work);
            fs::remove_dir_all(work).unwrap();
        }
        let mut left = compiled_in(cache.path());
        left.sort();
        assert_eq!(left.len(), KEPT);
        assert!(!left.contains(&cache.path().join("0.cwasm")), "{left:?}");
    }
}
