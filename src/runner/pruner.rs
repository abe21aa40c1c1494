//! Cuts what has been kept long enough, rolls counters up, notes the highest id and which tokens were used.

use std::sync::Arc;
use std::time::Duration;

use super::Context;
use crate::error::Result;
use crate::store::prune::CHUNK;

const EVERY: Duration = Duration::from_secs(60);
/// Minutes that stay minutes; older ones are summed by the hour.
const MINUTES: i64 = 180;

pub(super) async fn tick(context: Arc<Context>) -> Result<Duration> {
    let now = context.clock.now();
    let kept = &context.settings.retention;
    let (cut, dead, logs) = (now.minus(kept.succeeded.0), now.minus(kept.dead.0), now.minus(kept.logs.0));
    let (tenants, jobs) = {
        let mut tx = context.store.read().await?;
        (tx.tenants().await?, tx.jobs().await?)
    };
    for tenant in tenants {
        // A chunk a transaction: the writer does other things between two.
        loop {
            let mut tx = context.store.begin().await?;
            let pruned = tx.prune_runs(tenant.id, cut, dead).await?.max(tx.prune_logs(tenant.id, logs).await?);
            tx.commit().await?;
            if pruned < CHUNK as usize {
                break;
            }
        }
    }
    let mut tx = context.store.begin().await?;
    for job in jobs {
        tx.prune_job(job.id, cut).await?;
    }
    tx.prune_expired(now).await?;
    tx.roll_up(now.minute() - MINUTES).await?;
    // Statistics go with a growing history; without any, SQLite passes over the index of failures.
    if now.minute() % 60 == 0 {
        tx.analyze().await?;
    }
    tx.tokens_used(&context.store.take_used_tokens()).await?;
    tx.set_setting("high_water", &context.store.new_id().0.to_string()).await?;
    tx.commit().await?;
    Ok(EVERY)
}
