//! `/find`: one field for a run's id, a tenant, or "tenant/job".

use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::see_other;
use crate::error::Result;
use crate::id::Id;
use crate::web::Web;
use crate::web::address::Address;
use crate::web::session::Session;

#[derive(Deserialize)]
pub struct Asked {
    q: Option<String>,
}

pub async fn find(State(web): State<Web>, session: Session, Query(asked): Query<Asked>) -> Result<Response> {
    let q = asked.q.unwrap_or_default().trim().to_owned();
    let board = web.glance(None).await?;
    if let Ok(run) = q.parse::<Id>() {
        let tenant = web.app.store.read().await?.tenant_of_run(run).await?;
        if let Some(line) = board.seen_by(session.who.tenant).find(|line| Some(line.tenant.id) == tenant) {
            return Ok(see_other(format!("/t/{}/runs/{run}", line.tenant.name)));
        }
    }
    let (tenant, job) = q.split_once('/').map_or((q.as_str(), None), |(tenant, job)| (tenant.trim(), Some(job.trim())));
    if let Some(line) = board.seen_by(session.who.tenant).find(|line| line.tenant.name == tenant) {
        return Ok(match job.and_then(|job| line.jobs.iter().find(|one| one.job.spec.name == job)) {
            Some(job) => see_other(format!("/t/{tenant}/jobs/{}", job.job.spec.name)),
            None => see_other(format!("/t/{tenant}")),
        });
    }
    Ok(see_other(Address::new("/").some("q", Some(tenant).filter(|tenant| !tenant.is_empty()))))
}
