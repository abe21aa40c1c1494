//! `windlass bench`: what is promised in numbers, measured on this machine. Prints JSON; asserts nothing.

mod fairness;
mod film;
mod guests;
mod process;
mod promise;
mod server;
mod stamps;
mod store;
mod triggers;

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::serve::runtime;
use crate::config::Settings;
use crate::error::Result;

#[derive(Debug, Serialize)]
struct Measure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    /// What it should be; empty where there is no promise.
    target: &'static str,
}

#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    seed: u64,
    runs: usize,
    many: usize,
    cores: usize,
    measures: Vec<Measure>,
}

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// A run's life, claims, growth
    Store,
    /// Sandboxes
    Guests,
    /// Idle, latency, enqueue, drain
    Server,
    /// An edit's wait while nine of ten wikis hang
    Promise,
    /// A lone run beside another tenant's flood
    Fairness,
    /// Very many schedules and backlogs; some minutes
    Triggers,
}

/// What is measured, and on what.
pub struct Plan {
    /// `None`: what fits into a few minutes, the last part excepted.
    pub part: Option<Part>,
    pub runs: usize,
    /// Runs of what is measured with many: a million, if there is time.
    pub many: usize,
    pub seed: u64,
    /// Both measures that need a database take it; a file each without.
    pub postgres: Option<String>,
    /// Files beside the plugins in the binary, to be compiled and loaded.
    pub plugins: Vec<PathBuf>,
    /// An H.264 MP4 that is transcoded.
    pub film: Option<PathBuf>,
    /// Transcodes it without a sandbox.
    pub native: Option<PathBuf>,
}

/// Runs all measures in temporary folders.
pub fn run(plan: &Plan, json: bool) -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("windlass-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let measured = runtime()?.block_on(measure_all(&folder, plan));
    std::fs::remove_dir_all(&folder)?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        seed: plan.seed,
        runs: plan.runs,
        many: plan.many,
        cores,
        measures: measured?,
    };
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    println!("{:<48} {:>12} {:<8} target", "measure", "value", "unit");
    for m in &report.measures {
        println!("{:<48} {:>12.2} {:<8} {}", m.name, m.value, m.unit, m.target);
    }
    Ok(())
}

async fn measure_all(folder: &Path, plan: &Plan) -> Result<Vec<Measure>> {
    let wants = |part| plan.part.map_or(part != Part::Triggers, |only| only == part);
    let mut measures = Vec::new();
    if wants(Part::Store) {
        measures.extend(store::measure(&folder.join("store"), plan).await?);
    }
    if wants(Part::Guests) {
        measures.extend(guests::measure(folder, plan).await?);
        if let Some(film) = &plan.film {
            measures.extend(film::measure(folder, film, plan.native.as_deref()).await?);
        }
    }
    if wants(Part::Server) {
        measures.extend(server::measure(folder, plan).await?);
    }
    if wants(Part::Promise) {
        measures.extend(promise::measure(folder, plan).await?);
    }
    if wants(Part::Fairness) {
        measures.extend(fairness::measure(folder, plan).await?);
    }
    if wants(Part::Triggers) {
        measures.extend(triggers::measure(folder, plan).await?);
    }
    if plan.postgres.is_some() && plan.part.is_none() {
        measures.extend(store::heartbeats(folder, plan).await?);
    }
    Ok(measures)
}

/// The value that this share of all is below: 0.5 for the middle one, 1.0 for the greatest.
fn at(took: &mut [f64], share: f64) -> f64 {
    took.sort_by(f64::total_cmp);
    let place = (took.len() as f64 * share) as usize;
    took.get(place.min(took.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// Of a server in a folder of its own; all of them share the PostgreSQL, where there is one.
fn settings(data_dir: PathBuf, plan: &Plan) -> Settings {
    let mut settings = Settings { data_dir, listen: ([127, 0, 0, 1], 0).into(), ..Settings::default() };
    if let Some(url) = &plan.postgres {
        settings.database_url.clone_from(url);
    }
    settings
}

fn step(what: &str) {
    eprintln!("measuring: {what} …");
}
