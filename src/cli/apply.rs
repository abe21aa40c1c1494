//! `windlass apply`: tenants and jobs as files say.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Global;
use super::client::Client;
use super::show::{say, say_json};
use super::stop::{Done, Stop, WRONG};
use crate::web::api::shape::{Applied, ApplyJson, SourceJson};

#[derive(Args)]
pub struct Command {
    /// Tenant files, or folders of them (*.toml)
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub fn run(command: &Command, global: &Global) -> Done {
    let mut files = Vec::new();
    for path in &command.paths {
        gather(path, &mut files)?;
    }
    let applied: Applied = Client::open(global)?.post_json("apply", &ApplyJson { files, dry_run: command.dry_run }, &[])?;
    if global.json {
        return say_json(&applied);
    }
    for change in &applied.changes {
        let what = if change.what.is_empty() { String::new() } else { format!("  {}", change.what.join(", ")) };
        say(format_args!("{:<18}  {}{what}", change.result, change.object))?;
    }
    if applied.dry_run { say("nothing was changed: --dry-run") } else { Ok(()) }
}

/// A file as it is, a folder by its `*.toml` in the order of their names.
fn gather(path: &Path, files: &mut Vec<SourceJson>) -> Done {
    let wrong = |wrong: std::io::Error| Stop::new(WRONG, format!("{}: {wrong}", path.display()));
    if !path.is_dir() {
        files.push(SourceJson { path: path.display().to_string(), text: std::fs::read_to_string(path).map_err(wrong)? });
        return Ok(());
    }
    let entries = std::fs::read_dir(path).map_err(wrong)?.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    let mut found: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    found.retain(|file| file.extension().is_some_and(|ending| ending == "toml") && file.is_file());
    found.sort();
    if found.is_empty() {
        return Err(Stop::new(WRONG, format!("{}: no *.toml in this folder", path.display())));
    }
    found.iter().try_for_each(|file| gather(file, files))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_its_toml_files_in_order() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.toml", "a.toml", "notes.md"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let mut files = Vec::new();
        gather(dir.path(), &mut files).unwrap();
        assert_eq!(files.iter().map(|file| file.text.as_str()).collect::<Vec<_>>(), ["a.toml", "b.toml"]);
        assert!(gather(&dir.path().join("none.toml"), &mut files).is_err());
    }
}
