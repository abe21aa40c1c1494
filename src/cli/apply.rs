//! `windlass apply`: tenants and jobs as files say.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::Global;
use super::client::Client;
use super::show::{say, say_json, short};
use super::stop::{Done, Stop, WRONG};
use crate::web::api::shape::{Applied, ApplyJson, ChangeJson, DifferenceJson, SourceJson};

mod watch;

/// Letters of a value that a line of a diff shows.
const SHOWN: usize = 100;

#[derive(Args)]
pub struct Command {
    /// Tenant files, or folders of them (*.toml)
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Tenants with the labels that no file names lose their jobs; their history stays
    #[arg(long, requires = "labels")]
    prune: bool,
    /// Which tenants --prune looks at; of several, all must fit
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label, requires = "prune")]
    labels: Vec<(String, String)>,
    /// Stay, and apply whenever a file has changed
    #[arg(long, conflicts_with = "dry_run")]
    watch: bool,
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE, as in farm=wbaas".to_owned()),
    }
}

pub fn run(command: &Command, global: &Global) -> Done {
    for (n, (name, value)) in command.labels.iter().enumerate() {
        if let Some((_, other)) = command.labels[..n].iter().find(|(other, _)| other == name) {
            let message = format!("--label {name}={other} and --label {name}={value}: no tenant has both; leave one of them out");
            return Err(Stop::new(WRONG, message));
        }
    }
    if command.watch {
        return watch::run(command, global);
    }
    let applied = send(command, files(command)?, global)?;
    if global.json {
        return say_json(&applied);
    }
    for change in &applied.changes {
        tell(change)?;
    }
    if applied.dry_run { say("nothing was changed: --dry-run") } else { Ok(()) }
}

fn files(command: &Command) -> Done<Vec<SourceJson>> {
    let mut files = Vec::new();
    for path in &command.paths {
        gather(path, &mut files)?;
    }
    Ok(files)
}

fn send(command: &Command, files: Vec<SourceJson>, global: &Global) -> Done<Applied> {
    let asked = ApplyJson { files, dry_run: command.dry_run, prune: command.labels.iter().cloned().collect() };
    Client::open(global)?.post_json("apply", &asked, &[])
}

/// One line an object, and one below it for each value that is another.
fn tell(change: &ChangeJson) -> Done {
    say(format_args!("{:<18}  {}", change.result, change.object))?;
    for DifferenceJson { key, old, new } in &change.diff {
        say(format_args!("{:<20}{key}: {} → {}", "", value(old), value(new)))?;
    }
    Ok(())
}

fn value(value: &Value) -> String {
    match value {
        Value::Null => "none".into(),
        value => short(&value.to_string(), SHOWN),
    }
}

/// A file as it is, a folder by its `*.toml` in the order of their names.
fn gather(path: &Path, files: &mut Vec<SourceJson>) -> Done {
    let wrong = |wrong: std::io::Error| Stop::new(WRONG, format!("{}: {wrong}", path.display()));
    if !path.is_dir() {
        files.push(SourceJson { path: path.display().to_string(), text: std::fs::read_to_string(path).map_err(wrong)? });
        return Ok(());
    }
    let entries = std::fs::read_dir(path).map_err(wrong)?.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    let mut found = Vec::new();
    for file in entries.into_iter().map(|entry| entry.path()).filter(|file| file.extension().is_some_and(|it| it == "toml")) {
        // One that cannot be looked at is no file less: a pruned tenant would lose its jobs by it.
        let is = std::fs::metadata(&file).map_err(|wrong| Stop::new(WRONG, format!("{}: {wrong}", file.display())))?;
        if !is.is_dir() {
            found.push(file);
        }
    }
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
        // A link that leads nowhere is a file that is missing, not one file less.
        std::os::unix::fs::symlink(dir.path().join("gone"), dir.path().join("c.toml")).unwrap();
        assert!(gather(dir.path(), &mut files).is_err());
    }
}
