//! `/plugins`: what there is, and who uses it.

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono_tz::Tz;

use super::shell::{Place, Shell};
use crate::clock::Timestamp;
use crate::domain::plugin::{Push, PushState};
use crate::error::Result;
use crate::id::Id;
use crate::web::Web;
use crate::web::fragment;
use crate::web::session::Session;
use crate::web::show::number::{bytes, commas, plural};
use crate::web::show::words::short_digest;

pub mod show;

#[derive(Template)]
#[template(path = "plugin/index.html", blocks = ["pushes"])]
struct Plugins {
    shell: Shell,
    rows: Vec<Row>,
    /// On their way, or refused in the last day.
    pushes: Vec<Push>,
    /// One of them has not come to its end.
    moving: bool,
}

fragment::fragments!(Plugins: pushes => as_pushes);

impl Plugins {
    fn short(&self, push: &Push) -> String {
        short_digest(&push.digest)
    }
}

struct Row {
    name: String,
    version: String,
    size: String,
    used_by: String,
    unused: bool,
    offers: String,
    pushed_at: Timestamp,
    pushed_by: String,
    digest: String,
    short_digest: String,
}

pub async fn index(State(web): State<Web>, session: Session, headers: HeaderMap) -> Result<Response> {
    let board = web.glance(None).await?;
    let own = session.who.tenant;
    let mut used: HashMap<&str, u64> = HashMap::new();
    for job in board.seen_by(own).flat_map(|line| &line.jobs) {
        *used.entry(job.job.digest.as_str()).or_default() += 1;
    }
    let plugins = web.app.store.read().await?.plugins().await?;
    let seen = plugins.into_iter().filter(|plugin| own.is_none_or(|own| plugin.tenant == own || plugin.tenant == Id(0)));
    let rows = seen.map(|plugin| {
        let jobs = used.get(plugin.digest.as_str()).copied().unwrap_or(0);
        Row {
            used_by: if jobs == 0 { "no job".into() } else { format!("{} {}", commas(jobs), plural(jobs, "job", "jobs")) },
            unused: jobs == 0,
            size: bytes(plugin.bytes),
            offers: plugin.exports.iter().map(|name| offer(name)).collect::<Vec<_>>().join(", "),
            pushed_at: plugin.pushed_at,
            pushed_by: plugin.pushed_by,
            short_digest: short_digest(&plugin.digest),
            digest: plugin.digest,
            name: plugin.name,
            version: plugin.version,
        }
    });
    let mut pushes = web.app.pushes(&session.who).await?;
    pushes.retain(|push| push.state != PushState::Ready);
    let moving = pushes.iter().any(|push| !push.state.is_final());
    let rows: Vec<Row> = rows.collect();
    let shell = web.shell_with(&session, &board, Tz::UTC, None).at(Place::Plugins, &[], "Plugins");
    fragment::answer(&Plugins { shell, rows, pushes, moving }, &headers)
}

/// "job 1.0.0" of "windlass:plugin/job@1.0.0"; what is not of our contract stays as it is.
fn offer(export: &str) -> String {
    export.strip_prefix("windlass:plugin/").map_or_else(|| export.to_owned(), |own| own.replacen('@', " ", 1))
}
