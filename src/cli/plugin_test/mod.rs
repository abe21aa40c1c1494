//! `windlass plugin test`: a component against written cases, without a server and without the network.

mod cases;
mod judge;
mod trial;

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use self::cases::Cases;
use self::trial::Trial;
use super::plugin::component;
use super::serve::runtime;
use super::show::{say, say_json};
use super::stop::{BAD, Done, Stop, WRONG};
use super::{Global, local};
use crate::clock::ManualClock;
use crate::config::Settings;
use crate::domain::span::Size;
use crate::error::Result;

#[derive(Args)]
pub struct Test {
    /// A component, or a folder with a file of cases
    path: PathBuf,
    /// cases.toml beside the component or in the folder, when absent
    #[arg(long, value_name = "FILE")]
    cases: Option<PathBuf>,
    /// Ask the real targets of cases that name a recording, and write it
    #[arg(long)]
    record: bool,
}

#[derive(Serialize)]
struct Report {
    cases: Vec<CaseReport>,
    passed: usize,
    failed: usize,
}

#[derive(Serialize)]
struct CaseReport {
    name: String,
    passed: bool,
    differences: Vec<String>,
    outcome: String,
    message: String,
    ms: u64,
    /// Bytes; of run and measure.
    peak_memory: Option<u64>,
    /// What the guest executed, in wasmtime's units: the same each time. Of the same.
    fuel: Option<u64>,
}

/// Exit code 0 when all passed, else 1.
pub fn run(asked: &Test, global: &Global) -> Done {
    let settings = global.node()?;
    let cases_file = match &asked.cases {
        Some(file) => file.clone(),
        None if asked.path.is_dir() => asked.path.join("cases.toml"),
        None => asked.path.with_file_name("cases.toml"),
    };
    let cases = cases::read(&cases_file)?;
    let folder = cases_file.parent().unwrap_or(Path::new(".")).to_owned();
    let bytes = component(&file(asked, &cases, &folder)?)?;
    let ran = local::in_a_folder("test", |data| all(&settings, data, bytes, &cases, &folder, asked.record));
    let reports = runtime()?.block_on(ran)?;
    let failed = reports.iter().filter(|report| !report.passed).count();
    let report = Report { passed: reports.len() - failed, failed, cases: reports };
    if global.json {
        say_json(&report)?
    } else {
        tell(&report)?
    }
    if failed == 0 { Ok(()) } else { Err(Stop::silent(BAD)) }
}

/// The component: as it was named, as the file of cases names it, or the only one in the folder.
fn file(asked: &Test, cases: &Cases, folder: &Path) -> Done<PathBuf> {
    if !asked.path.is_dir() {
        return Ok(asked.path.clone());
    }
    if let Some(file) = &cases.plugin {
        return Ok(folder.join(file));
    }
    let entries =
        std::fs::read_dir(&asked.path).map_err(|wrong| Stop::new(WRONG, format!("{}: {wrong}", asked.path.display())))?;
    let mut found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    found.retain(|file| file.extension().is_some_and(|extension| extension == "wasm"));
    match found.as_slice() {
        [one] => Ok(one.clone()),
        found => {
            let why = format!(
                "{} has {} files *.wasm: write plugin = \"….wasm\" into its cases.toml, or name the component",
                asked.path.display(),
                found.len()
            );
            Err(Stop::new(WRONG, why))
        }
    }
}

async fn all(
    settings: &Settings,
    data: PathBuf,
    bytes: Vec<u8>,
    cases: &Cases,
    folder: &Path,
    record: bool,
) -> Result<Vec<CaseReport>> {
    let mut reports = Vec::new();
    for case in &cases.cases {
        // The times in its log are those of the case; the code was compiled for the first.
        let sandbox = local::counting(settings, data.clone(), ManualClock::at(case.now))?;
        let found = sandbox.catalog().add(bytes.clone()).await?;
        reports.push(Trial { sandbox: &sandbox, found: &found, cases, case, folder, record }.run().await?);
    }
    Ok(reports)
}

fn tell(report: &Report) -> Done {
    for case in &report.cases {
        let word = if case.passed { "ok    " } else { "FAILED" };
        let memory = case.peak_memory.map(|bytes| format!(", {}", Size(bytes))).unwrap_or_default();
        let fuel = case.fuel.map(|fuel| format!(", {fuel} fuel")).unwrap_or_default();
        say(format_args!("{word}  {}  ({} ms{memory}{fuel})", case.name, case.ms))?;
        for line in &case.differences {
            say(format_args!("        {line}"))?;
        }
    }
    say(format_args!("{} passed, {} failed", report.passed, report.failed))
}
