//! `/t/{tenant}/failures/{cause}`: the dead runs of one cause, to be dealt with one by one, by selection, or all.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;

use super::asked::{Asked, Pairs, one};
use super::reason;
use crate::domain::dead::Standing;
use crate::error::{Error, Result};
use crate::store::dead::DeadQuery;
use crate::web::Web;
use crate::web::dashboard::run::row::{RunRow, rows_of};
use crate::web::dashboard::shell::{Place, Shell};
use crate::web::dashboard::tenant::need;
use crate::web::fragment;
use crate::web::session::Session;
use crate::web::show::number::{Capped, Plural};
use crate::web::show::words::first_line;

/// Rows of a page.
const PAGE: usize = 50;
const CAP: u64 = crate::store::run::COUNT_CAP;

#[derive(Template)]
#[template(path = "failure/cause.html", blocks = ["runs"])]
struct CausePage {
    shell: Shell,
    here: String,
    tenant: String,
    job: String,
    discarded: bool,
    count: Capped,
    reason: String,
    title: String,
    message: String,
    rows: Vec<RunRow>,
    older: Option<String>,
    asked: Asked,
}

fragment::fragments!(CausePage: runs => as_runs);

pub async fn show(
    State(web): State<Web>,
    session: Session,
    headers: HeaderMap,
    Path((tenant, cause)): Path<(String, String)>,
    Query(pairs): Query<Pairs>,
) -> Result<Response> {
    let print: i64 = cause.parse().map_err(|_| Error::not_found(format!("cause {cause}")))?;
    let standing = one(&pairs, "state").and_then(Standing::parse).unwrap_or_default();
    let before = one(&pairs, "before").map(str::parse).transpose()?;
    let mut tx = web.app.store.read().await?;
    let owner = need(&mut tx, &session, &tenant).await?;
    let now = web.app.now();
    let query = DeadQuery { print: Some(print), discarded: standing == Standing::Discarded, ..DeadQuery::default() };
    let mut dead = tx.dead(owner.id, &query, before, PAGE as u32 + 1, now).await?;
    let Some(last) = dead.first().cloned() else {
        return Err(Error::NotFound("No dead run of this cause is left: they were run again or discarded, or are gone.".into()));
    };
    let more = dead.len() > PAGE;
    dead.truncate(PAGE);
    let count = tx.dead_by_job(owner.id, &query, now).await?.iter().map(|of| of.count).sum();
    let names = tx.job_names().await?;
    let name = |id| names.iter().find(|(job, _, _)| *job == id).map_or_else(String::new, |(_, _, name)| name.clone());
    let path = format!("/t/{tenant}/failures/{print}");
    let plain = Asked { standing, ..Asked::default() };
    let older =
        dead.last().filter(|_| more).map(|run| plain.address(&path).some("before", Some(&run.id.to_string())).to_string());
    let board = web.glance(one(&pairs, "done")).await?;
    let message = last.message.clone().unwrap_or_else(|| "no message".into());
    let shell = web.shell_with(&session, &board, owner.zone, one(&pairs, "done"));
    let page = CausePage {
        shell: shell.at(Place::Failures, &[("Failures", "/failures".into())], "One cause"),
        here: plain.address(&path).some("before", one(&pairs, "before")).to_string(),
        job: name(last.job),
        discarded: query.discarded,
        count: Capped::at(count, CAP),
        reason: reason(&last),
        title: first_line(&message).to_owned(),
        message,
        rows: rows_of(&mut tx, dead, &tenant, name).await?,
        older,
        asked: Asked { groups: vec![(tenant.clone(), print)], ..plain },
        tenant,
    };
    fragment::answer(&page, &headers)
}
