//! Drains the job queue of one MediaWiki: asks `Special:RunJobs` for bounded batches until nothing is ready or the attempt's
//! time is nearly over, and measures the backlog through the API. README.md has the configuration and what each answer of a
//! wiki comes to.
//!
//! `drain` and `backlog` talk to the wiki; every other module is pure and judges what came back.

mod answer;
mod backlog;
mod config;
mod drain;
mod in_flight;
mod plan;
mod request;
mod tally;
mod verdict;

use serde_json::{Value, json};
use windlass_plugin::Failure;

use config::Config;

windlass_plugin::job!(drain::run);
windlass_plugin::backlog!(backlog::measure);
windlass_plugin::config_check!(config::check);
windlass_plugin::describe!(describe);

fn describe() -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "summary": env!("CARGO_PKG_DESCRIPTION"),
        "config": config::schema(),
        "wants": ["control", "http", "log", "progress", "sign", "state"],
    })
}

fn configured(text: &str) -> Result<Config, Failure> {
    Config::parse(text).map_err(|problems| {
        let list: Vec<_> = problems.iter().map(|problem| format!("{}: {}", problem.field, problem.message)).collect();
        Failure::permanent(format!("config: {}", list.join("; ")))
    })
}
