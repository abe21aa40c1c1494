//! `windlass import toolforge`: the configuration of a Toolforge tool as a tenant file, and what became of each of its keys.
//! docs/toolforge.md says what is carried over.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::Global;
use super::show::{say, say_json, say_raw};
use super::stop::{Done, Stop, WRONG};
use crate::domain::plugin::is_name;

mod carry;
mod shape;

#[derive(Subcommand)]
pub enum Command {
    /// Jobs of a tool on Toolforge, from its component configuration or one of its deployments
    Toolforge(Toolforge),
}

#[derive(Args)]
pub struct Toolforge {
    /// YAML or JSON
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The tenant's name; the file's, when absent
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// The tool's name; the tenant's, when absent
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// Toolforge's jobs API, up to its version
    #[arg(long, value_name = "URL", default_value = carry::API)]
    api: String,
    /// Write the tenant file there, and the report to stdout; otherwise to stdout and stderr
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub fn run(command: Command, global: &Global) -> Done {
    let Command::Toolforge(asked) = command;
    let path = asked.file.display().to_string();
    let text = std::fs::read_to_string(&asked.file).map_err(|wrong| Stop::new(WRONG, format!("{path}: {wrong}")))?;
    let tenant = asked.tenant.clone().unwrap_or_else(|| name_of(&asked.file));
    for (flag, name) in [("--tenant", &tenant), ("--tool", asked.tool.as_ref().unwrap_or(&tenant))] {
        if !is_name(name) {
            let right = "a-z, 0-9 and -, beginning with a letter, at most 63";
            return Err(Stop::new(WRONG, format!("{flag}: {name:?} is no name; write {right}")));
        }
    }
    let read = shape::read(&path, &text).map_err(|problems| Stop::problems(&problems))?;
    let tool = asked.tool.unwrap_or_else(|| tenant.clone());
    let imported = carry::carry(&read, &carry::Target { path, tenant, tool, api: asked.api })
        .map_err(|problems| Stop::problems(&problems))?;
    if let Some(out) = &asked.out {
        write_new(out, &imported.file)?;
    }
    if global.json {
        return say_json(&imported);
    }
    match &asked.out {
        Some(out) => {
            say(imported.report())?;
            say(format_args!("written to {0}; look at it with windlass apply --dry-run {0}", out.display()))
        }
        None => {
            say_raw(imported.file.trim_end())?;
            eprintln!("{}", super::show::harmless(&imported.report()));
            Ok(())
        }
    }
}

/// A file that is there is not written over.
fn write_new(path: &Path, text: &str) -> Done {
    use std::io::Write;
    let wrong = |wrong: std::io::Error| Stop::new(WRONG, format!("{}: {wrong}", path.display()));
    let mut file = std::fs::File::options().write(true).create_new(true).open(path).map_err(wrong)?;
    file.write_all(text.as_bytes()).map_err(wrong)
}

/// A name from the file's: `My_Tool.yaml` is `my-tool`.
fn name_of(file: &Path) -> String {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
    let letters: String = stem.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect();
    let name: String = letters.trim_start_matches(|letter: char| !letter.is_ascii_lowercase()).chars().take(63).collect();
    let name = name.trim_end_matches('-');
    if name.is_empty() { "tool".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests;
