//! Tenants, seen. They are made by `apply`.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::Paged;
use super::extract::{Asked, At, Caller};
use super::job::health_of;
use super::read;
use super::shape::{LimitsJson, List, RunCounts, TenantJson};
use crate::app::App;
use crate::domain::health::Health;
use crate::domain::tenant::Tenant;
use crate::error::Result;
use crate::id::Id;
use crate::store::Tx;
use crate::store::health::JobHealth;

pub async fn list(State(app): State<App>, Caller(who): Caller, Asked(paged): Asked<Paged>) -> Result<Json<List<TenantJson>>> {
    let mut tx = app.store.read().await?;
    let limit = super::limit(paged.limit)? as usize;
    let mut tenants = tx.tenants().await?;
    tenants.retain(|tenant| who.tenant.is_none_or(|own| own == tenant.id));
    let List { items: tenants, next, count } = List::page(tenants, paged.after.as_deref(), limit, |tenant| tenant.name.clone());
    let healths = tx.healths().await?;
    let mut items = Vec::with_capacity(tenants.len());
    for tenant in tenants {
        items.push(shape(&mut tx, tenant, &healths).await?);
    }
    Ok(Json(List { items, next, count }))
}

pub async fn show(State(app): State<App>, Caller(who): Caller, At(name): At<String>) -> Result<Json<TenantJson>> {
    let mut tx = app.store.read().await?;
    let tenant = read::scope(&mut tx, &who, &name).await?;
    let ceiling = serde_json::to_value(&tenant.ceiling)?;
    let healths = tx.healths().await?;
    Ok(Json(TenantJson { ceiling: Some(ceiling), ..shape(&mut tx, Arc::unwrap_or_clone(tenant), &healths).await? }))
}

async fn shape(tx: &mut Tx, tenant: Tenant, healths: &HashMap<Id, JobHealth>) -> Result<TenantJson> {
    let jobs = tx.jobs_of(tenant.id).await?;
    let runs = tx.state_counts(tenant.id).await?;
    let worst = jobs.iter().map(|job| health_of(job, healths.get(&job.id))).max().unwrap_or(Health::Ok);
    Ok(TenantJson {
        name: tenant.name,
        zone: tenant.zone.name().to_owned(),
        weight: tenant.weight,
        labels: tenant.labels,
        limits: LimitsJson {
            running: tenant.limits.running,
            starts_per_minute: tenant.limits.starts_per_minute,
            waiting: tenant.limits.waiting,
        },
        jobs: jobs.len() as u64,
        health: worst.word().to_owned(),
        runs: RunCounts { waiting: runs.waiting, running: runs.running, retrying: runs.retrying, dead: runs.dead },
        created_at: tenant.created_at,
        updated_at: tenant.updated_at,
        ceiling: None,
    })
}
