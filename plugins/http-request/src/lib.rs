//! The universal job: one HTTP request a run. README.md has the configuration and what each answer comes to.
//!
//! `request` talks to the target; every other module is pure: it reads what was configured, or judges what came back.

mod answer;
mod config;
mod request;
mod schema;
mod sign;
mod template;
mod verdict;

use serde_json::{Value, json};

windlass_plugin::job!(request::run);
windlass_plugin::config_check!(config::check);
windlass_plugin::describe!(describe);

/// Secrets and signing are not wanted by every job, so they are not wanted here: what a plugin wants, each of its jobs must grant.
fn describe() -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "summary": env!("CARGO_PKG_DESCRIPTION"),
        "config": schema::schema(),
        "wants": ["http", "log"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_need_not_grant_what_its_config_does_not_use() {
        assert_eq!(describe()["wants"], json!(["http", "log"]));
    }
}
