//! Ends pauses whose time has come.

use std::sync::Arc;
use std::time::Duration;

use super::Context;
use crate::error::Result;

/// The longest rest: a commit of definitions, as every pause is one, wakes earlier.
const POLL: Duration = Duration::from_secs(30);
/// Who resumes, as the audit log names it.
const BY: &str = "the pause's end";

pub(super) async fn tick(context: Arc<Context>) -> Result<Duration> {
    let now = context.clock.now();
    let next = context.store.read().await?.next_resume().await?;
    if next.is_none_or(|next| next > now) {
        return Ok(next.map_or(POLL, |next| next.since(now)).min(POLL));
    }
    let mut tx = context.store.begin().await?;
    for (job, tenant, name) in tx.resumable(now).await? {
        tx.resume_job(tenant, job, now).await?;
        tx.audit(tenant, BY, "job.resume", &name, None, now).await?;
    }
    tx.commit().await?;
    Ok(Duration::ZERO)
}
