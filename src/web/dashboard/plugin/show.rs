//! `/plugins/{name}`: its versions, what it asks for, and who uses it with which grants.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use chrono_tz::Tz;

use super::{offer, taken, used_by};
use crate::clock::Timestamp;
use crate::domain::plugin::Plugin;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::web::Web;
use crate::web::board::Board;
use crate::web::dashboard::job::grant_lines;
use crate::web::dashboard::shell::{Place, Shell};
use crate::web::fragment;
use crate::web::session::Session;
use crate::web::show::number::bytes;
use crate::web::show::words::short_digest;

#[derive(Template)]
#[template(path = "plugin/show.html")]
struct PluginPage {
    shell: Shell,
    name: String,
    summary: String,
    versions: Vec<Version>,
    /// Of the newest version.
    offers: Vec<String>,
    asks: Vec<String>,
    users: Vec<User>,
}

fragment::fragments!(PluginPage);

struct Version {
    version: String,
    /// The tenant whose it is; empty: everybody may use it.
    of: String,
    used_by: String,
    unused: bool,
    size: String,
    signed: bool,
    pushed_at: Timestamp,
    pushed_by: String,
    digest: String,
    short_digest: String,
}

struct User {
    tenant: String,
    job: String,
    version: String,
    /// Which of its runs take the version.
    runs: String,
    grant: Vec<(&'static str, String)>,
}

pub async fn show(State(web): State<Web>, session: Session, headers: HeaderMap, Path(name): Path<String>) -> Result<Response> {
    let board = web.glance(None).await?;
    let own = session.who.tenant;
    let mut tx = web.app.store.read().await?;
    let mut plugins = tx.plugins().await?;
    plugins.retain(|plugin| plugin.name == name && own.is_none_or(|own| plugin.tenant == own || plugin.tenant == Id(0)));
    plugins.sort_by_key(|plugin| std::cmp::Reverse(plugin.version_key()));
    let newest = plugins.first().ok_or_else(|| Error::not_found(format!("the plugin {name}")))?;
    let (offers, asks) =
        (newest.exports.iter().map(|it| offer(it)).collect(), newest.imports.iter().map(|it| offer(it)).collect());
    let summary = newest.description.get("summary").and_then(|text| text.as_str()).unwrap_or_default().to_owned();
    let (rollouts, mut users) = (tx.rollouts().await?, Vec::new());
    let mut used: HashMap<&str, u64> = HashMap::new();
    for line in board.seen_by(own) {
        for job in line.jobs.iter().map(|line| &line.job) {
            for (digest, runs) in taken(job, rollouts.get(&job.id)) {
                let Some(plugin) = plugins.iter().find(|plugin| plugin.digest == digest) else { continue };
                *used.entry(digest).or_default() += 1;
                users.push(User {
                    tenant: line.tenant.name.clone(),
                    job: job.spec.name.clone(),
                    version: plugin.version.clone(),
                    runs,
                    grant: grant_lines(&tx.grant_of(job.id).await?),
                });
            }
        }
    }
    drop(tx);
    let versions =
        plugins.iter().map(|plugin| version(plugin, used.get(&*plugin.digest).copied().unwrap_or(0), &board)).collect();
    let way = [("Plugins", "/plugins".to_owned())];
    let shell = web.shell_with(&session, &board, Tz::UTC, None).at(Place::Plugins, &way, &*name);
    fragment::answer(&PluginPage { shell, name, summary, versions, offers, asks, users }, &headers)
}

fn version(plugin: &Plugin, jobs: u64, board: &Board) -> Version {
    let owner = board.tenants.iter().find(|line| line.tenant.id == plugin.tenant);
    Version {
        of: owner.map(|line| line.tenant.name.clone()).unwrap_or_default(),
        used_by: used_by(jobs),
        unused: jobs == 0,
        size: bytes(plugin.bytes),
        signed: plugin.signature.is_some(),
        pushed_at: plugin.pushed_at,
        pushed_by: plugin.pushed_by.clone(),
        short_digest: short_digest(&plugin.digest),
        digest: plugin.digest.clone(),
        version: plugin.version.clone(),
    }
}
