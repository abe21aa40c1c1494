//! Dead runs: listed, grouped, settled one by one. Many at a time: `operation`.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::extract::{Asked, At, Caller};
use super::read;
use super::shape::{CauseJson, Count, DeadJson, List, RunJson};
use crate::app::App;
use crate::clock::Timestamp;
use crate::domain::dead::{Standing, Which};
use crate::domain::run::{Reason, State as RunState};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::dead::DeadQuery;
use crate::store::run::COUNT_CAP;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fits {
    job: Option<String>,
    /// Why they are dead.
    cause: Option<Reason>,
    group: Option<i64>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    words: Option<String>,
    state: Option<Standing>,
    after: Option<Id>,
    limit: Option<u32>,
}

impl Fits {
    /// The store's query; an address names one tenant.
    async fn query(&self, app: &App, tx: &mut crate::store::Tx, tenant: &str, who: &crate::app::Who) -> Result<DeadQuery> {
        let standing = self.state.unwrap_or_default();
        let which = Which {
            tenant: Some(tenant.to_owned()),
            job: self.job.clone(),
            cause: self.cause,
            since: self.since,
            until: self.until,
            words: self.words.clone(),
            groups: self.group.iter().map(|group| (tenant.to_owned(), *group)).collect(),
            ..Which::default()
        };
        let target = app.targets(tx, standing, &which, who).await?.pop();
        target.map(|target| target.query).ok_or_else(|| Error::not_found(format!("tenant {tenant}")))
    }
}

pub async fn list(
    State(app): State<App>,
    Caller(who): Caller,
    At(tenant): At<String>,
    Asked(fits): Asked<Fits>,
) -> Result<Json<DeadJson>> {
    let (mut tx, now) = (app.store.read().await?, app.now());
    let tenant = read::scope(&mut tx, &who, &tenant).await?;
    let limit = super::limit(fits.limit)?;
    let query = fits.query(&app, &mut tx, &tenant.name, &who).await?;
    let mut found = tx.dead(tenant.id, &query, fits.after, limit + 1, now).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| more).map(|run| run.id.to_string());
    let count = tx.dead_by_job(tenant.id, &query, now).await?.iter().map(|of| of.count).sum();
    let expiring = tx.dead_before(&[(tenant.id, app.expiring_before(&tenant))]).await?.iter().map(|(_, n)| n).sum();
    let items = read::list(&app, &mut tx, &tenant, &found).await?;
    Ok(Json(DeadJson { items, next, count: Count::up_to(count, COUNT_CAP), expiring }))
}

/// Groups of one message, the most frequent first.
pub async fn causes(
    State(app): State<App>,
    Caller(who): Caller,
    At(tenant): At<String>,
    Asked(fits): Asked<Fits>,
) -> Result<Json<List<CauseJson>>> {
    let (mut tx, now) = (app.store.read().await?, app.now());
    let tenant = read::scope(&mut tx, &who, &tenant).await?;
    let query = fits.query(&app, &mut tx, &tenant.name, &who).await?;
    let names = tx.job_names().await?;
    let shape = |found: crate::store::dead::Failures| CauseJson {
        tenant: tenant.name.clone(),
        group: found.print.to_string(),
        job: names.iter().find(|(id, ..)| *id == found.job).map_or_else(|| found.job.to_string(), |(.., name)| name.clone()),
        cause: match found.last.state {
            RunState::Dead { reason, .. } => reason.word().to_owned(),
            _ => String::new(),
        },
        message: found.last.message.unwrap_or_default(),
        count: found.count,
        first_at: found.first_at,
        last_at: found.last_at,
        last: found.last.id,
    };
    let found = tx.failures(tenant.id, &query, now).await?;
    Ok(Json(List::whole(found.into_iter().map(shape).collect())))
}

pub async fn discard(State(app): State<App>, Caller(who): Caller, At((tenant, run)): At<(String, Id)>) -> Result<Json<RunJson>> {
    read::within(&app, &who, &tenant).await?;
    app.discard(&tenant, run, &who).await?;
    super::run::show(State(app), Caller(who), At((tenant, run))).await
}

pub async fn undo(State(app): State<App>, Caller(who): Caller, At((tenant, run)): At<(String, Id)>) -> Result<Json<RunJson>> {
    read::within(&app, &who, &tenant).await?;
    app.undo_discard(&tenant, run, &who).await?;
    super::run::show(State(app), Caller(who), At((tenant, run))).await
}
