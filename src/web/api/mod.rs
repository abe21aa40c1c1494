//! The JSON API, `/api/v1`: what programs and the command line see and do. docs/api.md is its reference.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{any, delete, get, post, put};

use crate::app::App;
use crate::error::{Error, Result};
use crate::web::metrics;

mod alert;
mod apply;
mod artifact;
mod audit;
mod backlog;
mod dead;
mod extract;
pub use alert::kind as parse_kind;
pub use extract::Caller;
pub use plugin::SIGNATURE;
pub use rollout::parse as parse_step;
mod item;
mod job;
mod member;
mod node;
mod openapi;
mod operation;
mod plugin;
mod read;
mod recording;
mod rollout;
mod run;
mod schedule;
mod secret;
pub mod shape;
mod state;
mod tenant;
mod token;

/// Bytes of a plugin's component, and of all files of one `apply`.
pub const LARGE_LIMIT: usize = 32 * 1024 * 1024;
/// Bytes of any other body: an input, a secret.
pub const BODY_LIMIT: usize = 1024 * 1024;

/// Bytes of a body to this address, below `/api/v1`.
pub fn limit_of(path: &str) -> usize {
    if matches!(path, "/plugins" | "/apply") { LARGE_LIMIT } else { BODY_LIMIT }
}

/// All of `/api/v1`, for the server to merge.
pub fn router(app: App) -> Router {
    let large = Router::new()
        .route("/plugins", get(plugin::list).post(plugin::push))
        .route("/apply", post(apply::apply))
        .layer(DefaultBodyLimit::max(LARGE_LIMIT));
    let routes = Router::new()
        .route("/pushes", get(plugin::pushes))
        .route("/pushes/{push}", get(plugin::pushed))
        .route("/tenants", get(tenant::list))
        .route("/tenants/{tenant}", get(tenant::show))
        .route("/tenants/{tenant}/jobs", get(job::list))
        .route("/tenants/{tenant}/jobs/{job}", get(job::show))
        .route("/tenants/{tenant}/jobs/{job}/runs", post(job::start))
        .route("/tenants/{tenant}/jobs/{job}/notices", post(job::notify))
        .route("/tenants/{tenant}/jobs/{job}/occurrences", get(schedule::occurrences))
        .route("/tenants/{tenant}/jobs/{job}/backfill", post(schedule::backfill))
        .route("/tenants/{tenant}/jobs/{job}/pause", post(job::pause))
        .route("/tenants/{tenant}/jobs/{job}/resume", post(job::resume))
        .route("/tenants/{tenant}/jobs/{job}/rollout/{step}", post(rollout::step))
        .route("/tenants/{tenant}/jobs/{job}/state", get(state::list))
        .route("/tenants/{tenant}/jobs/{job}/state/{key}", get(state::show).delete(state::delete))
        .route("/tenants/{tenant}/jobs/{job}/items/claim", post(item::claim))
        .route("/tenants/{tenant}/jobs/{job}/items/renew", post(item::renew))
        .route("/tenants/{tenant}/jobs/{job}/items/finish", post(item::finish))
        .route("/tenants/{tenant}/runs", get(run::list))
        .route("/tenants/{tenant}/runs/{run}", get(run::show))
        .route("/tenants/{tenant}/runs/{run}/rerun", post(run::rerun))
        .route("/tenants/{tenant}/runs/{run}/cancel", post(run::cancel))
        .route("/tenants/{tenant}/runs/{run}/discard", post(dead::discard))
        .route("/tenants/{tenant}/runs/{run}/undo", post(dead::undo))
        .route("/tenants/{tenant}/runs/{run}/logs", get(run::logs))
        .route("/tenants/{tenant}/runs/{run}/items", get(item::list))
        .route("/tenants/{tenant}/runs/{run}/artifacts", get(artifact::list))
        .route("/tenants/{tenant}/runs/{run}/artifacts/{name}", get(artifact::download))
        .route("/tenants/{tenant}/runs/{run}/recording", get(recording::of_run))
        .route("/plugins/{name}", get(plugin::show))
        .route("/plugins/{digest}/component", get(recording::component))
        .route("/tenants/{tenant}/dead", get(dead::list))
        .route("/tenants/{tenant}/dead/causes", get(dead::causes))
        .route("/operations", get(operation::list).post(operation::begin))
        .route("/operations/{id}", get(operation::show))
        .route("/operations/{id}/cancel", post(operation::cancel))
        .route("/operations/{id}/undo", post(operation::undo))
        .route("/alerts", get(alert::list))
        .route("/audit", get(audit::list))
        .route("/silences", get(alert::silences).post(alert::silence))
        .route("/sinks", get(alert::sinks))
        .route("/tenants/{tenant}/backlogs", get(backlog::of_tenant))
        .route("/backlogs", get(backlog::all))
        .route("/tenants/{tenant}/secrets", get(secret::list))
        .route("/tenants/{tenant}/secrets/{name}", get(secret::show).put(secret::set))
        .route("/tenants/{tenant}/secrets/{name}/rotate", post(secret::rotate))
        .route("/nodes", get(node::list))
        .route("/members", get(member::list))
        .route("/members/{name}/password", put(member::set_password))
        .route("/tokens", get(token::list).post(token::issue))
        .route("/tokens/{id}", delete(token::revoke))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .merge(large)
        .route("/{*rest}", any(extract::no_route));
    metrics::routes().route("/api/openapi.json", get(openapi::serve)).nest("/api/v1", routes).with_state(app)
}

/// A page of a list is from 1 to 200 long.
fn limit(asked: Option<u32>) -> Result<u32> {
    match asked {
        None => Ok(50),
        Some(n @ 1..=200) => Ok(n),
        Some(n) => Err(Error::invalid("limit", format!("{n} is not from 1 to 200"))),
    }
}

/// What every paged list can be asked.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Paged {
    after: Option<String>,
    limit: Option<u32>,
}
