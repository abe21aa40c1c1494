//! Cuts what has been kept long enough, also from the object store, rolls counters up, notes the highest id.

use std::sync::Arc;
use std::time::Duration;

use super::Context;
use crate::clock::Timestamp;
use crate::domain::tenant::Tenant;
use crate::error::Result;
use crate::store::prune::{CHUNK, Cut, Expiry};

const EVERY: Duration = Duration::from_secs(60);
/// How long a node that stopped is remembered: as long as its number rests.
const STOPPED: Duration = Duration::from_secs(24 * 3600);
/// Minutes that stay minutes; older ones are summed by the hour.
const MINUTES: i64 = 180;

pub(super) async fn tick(context: Arc<Context>) -> Result<Duration> {
    let now = context.clock.now();
    for tenant in context.store.read().await?.tenants().await? {
        prune_tenant(&context, &tenant, now).await?;
    }
    let kept = &context.settings.retention;
    let samples = now.minus(kept.succeeded.0);
    let expiry = Expiry { operations: now.minus(kept.dead.0), minute: now.minute() - MINUTES };
    let mut reader = context.store.read().await?;
    let (jobs, revisions) = (reader.jobs_with_old_samples(samples).await?, reader.old_revisions(now).await?);
    let expired = reader.has_expired(now, &expiry).await?;
    let hour = (now.minute() / 60).to_string();
    let new_hour = reader.setting("pruned_hour").await?.is_none_or(|pruned| pruned != hour);
    drop(reader);
    let mut tx = context.store.begin().await?;
    for job in jobs {
        tx.prune_job(job, samples).await?;
    }
    tx.prune_revisions(&revisions).await?;
    if expired {
        tx.prune_expired(now, &expiry).await?;
    }
    // Statistics go with a growing history; without any, SQLite passes over the index of failures.
    if new_hour {
        tx.set_setting("pruned_hour", &hour).await?;
        tx.prune_hours(now).await?;
        tx.forget_nodes(now.minus(STOPPED)).await?;
        tx.analyze().await?;
    }
    tx.set_setting("high_water", &context.store.new_id().0.to_string()).await?;
    tx.commit().await?;
    sweep(&context).await?;
    Ok(EVERY)
}

/// Notes which tokens this node was shown; each node knows its own.
pub(super) async fn note_tokens(context: Arc<Context>) -> Result<Duration> {
    let used = context.store.take_used_tokens();
    if !used.is_empty() {
        let mut tx = context.store.begin().await?;
        tx.tokens_used(&used).await?;
        tx.commit().await?;
    }
    Ok(EVERY)
}

/// A chunk a transaction: the writer does other things between two, and nothing where a reader finds nothing to cut.
async fn prune_tenant(context: &Context, tenant: &Tenant, now: Timestamp) -> Result<()> {
    let kept = tenant.retention.over(&context.settings.retention);
    let cut = Cut { succeeded: now.minus(kept.succeeded.0), dead: now.minus(kept.dead.0), logs: now.minus(kept.logs.0) };
    loop {
        let mut reader = context.store.read().await?;
        let (runs, logs) = (reader.old_runs(tenant.id, &cut).await?, reader.old_logs(tenant.id, &cut).await?);
        drop(reader);
        if runs.is_empty() && logs.is_empty() {
            return Ok(());
        }
        let mut tx = context.store.begin().await?;
        tx.prune_runs(tenant.id, &runs).await?;
        tx.prune_logs(tenant.id, &logs).await?;
        tx.commit().await?;
        if runs.len().max(logs.len()) < CHUNK as usize {
            return Ok(());
        }
    }
}

/// Objects of one round.
const SWEPT: u32 = 1_000;
/// Failures in a row that end a round.
const GIVEN_UP: u32 = 3;

/// Removes what no artifact names from the object store, and then from the list of it: whoever dies in between does it
/// again. A store that is away is asked again in a minute.
async fn sweep(context: &Context) -> Result<()> {
    let places = context.store.read().await?.stray_objects(SWEPT).await?;
    let (mut swept, mut failed, mut in_a_row) = (Vec::with_capacity(places.len()), None, 0);
    for place in places {
        match context.objects.remove(&place).await {
            Ok(()) => {
                swept.push(place);
                in_a_row = 0;
            }
            Err(wrong) => {
                failed = Some((place, wrong));
                in_a_row += 1;
            }
        }
        // The store is away, and each try takes its patience: other things wait to be cut.
        if in_a_row == GIVEN_UP || context.live.is_draining() {
            break;
        }
    }
    if let Some((place, wrong)) = failed {
        tracing::warn!(place, error = %wrong, "objects that nobody wants are still there, this one and maybe others; it is tried again");
    }
    if swept.is_empty() {
        return Ok(());
    }
    let mut tx = context.store.begin().await?;
    tx.swept(&swept).await?;
    tx.commit().await
}
