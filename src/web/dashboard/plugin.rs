//! `/plugins`: what there is, and who uses it.

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono_tz::Tz;

use super::shell::{Place, Shell};
use crate::clock::Timestamp;
use crate::domain::job::Job;
use crate::domain::plugin::{Push, PushState};
use crate::domain::rollout::{Rollout, Stage};
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
    let mut tx = web.app.store.read().await?;
    let (plugins, rollouts) = (tx.plugins().await?, tx.rollouts().await?);
    drop(tx);
    let mut used: HashMap<&str, u64> = HashMap::new();
    for line in board.seen_by(own).flat_map(|line| &line.jobs) {
        for (digest, _) in taken(&line.job, rollouts.get(&line.job.id)) {
            *used.entry(digest).or_default() += 1;
        }
    }
    let seen = plugins.into_iter().filter(|plugin| own.is_none_or(|own| plugin.tenant == own || plugin.tenant == Id(0)));
    let rows = seen.map(|plugin| {
        let jobs = used.get(plugin.digest.as_str()).copied().unwrap_or(0);
        Row {
            used_by: used_by(jobs),
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

/// The versions that runs of a job take, by digest, and which runs: all of them the job's own, or some the one and some the
/// other of a rollout.
pub fn taken<'a>(job: &'a Job, rollout: Option<&'a Rollout>) -> Vec<(&'a str, String)> {
    let Some(rollout) = rollout else { return vec![(&job.digest, "all runs".into())] };
    let share = format!("{} % of new runs, on trial", f64::from(rollout.share) / 10_000.0);
    let (new, old) = match rollout.stage {
        Stage::Running => (share.as_str(), "the other runs"),
        Stage::Paused => ("no new runs while it is paused", "new runs"),
        Stage::RolledBack => ("no new runs, rolled back", "new runs"),
        Stage::Promoted => ("new runs", "runs that began with it"),
    };
    let mut taken = vec![(&*rollout.new, new.to_owned()), (&*rollout.old, old.to_owned())];
    if ![&rollout.new, &rollout.old].contains(&&job.digest) {
        taken.push((&job.digest, "all runs".into()));
    }
    taken
}

fn used_by(jobs: u64) -> String {
    if jobs == 0 { "no job".into() } else { format!("{} {}", commas(jobs), plural(jobs, "job", "jobs")) }
}

/// "job 1.0.0" of "windlass:plugin/job@1.0.0"; what is not of our contract stays as it is.
fn offer(export: &str) -> String {
    export.strip_prefix("windlass:plugin/").map_or_else(|| export.to_owned(), |own| own.replacen('@', " ", 1))
}
