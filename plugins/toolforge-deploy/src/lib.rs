//! Deploys a tool on Toolforge: its components one after another, each made as it is wanted through the jobs API. README.md
//! has the configuration and what each answer of the API comes to.
//!
//! `api` talks to it; `deploy` takes the steps, `once` those of a component that runs once; `mark` remembers what was begun
//! and not answered; `config` and `component` are what is wanted.

mod api;
mod component;
mod config;
mod deploy;
mod mark;
mod once;
mod schema;

use serde_json::{Value, json};

windlass_plugin::job!(deploy::run);
windlass_plugin::config_check!(config::check);
windlass_plugin::describe!(describe);

fn describe() -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "summary": env!("CARGO_PKG_DESCRIPTION"),
        "config": schema::schema(),
        "wants": ["control", "http", "items", "log", "progress", "state"],
    })
}
