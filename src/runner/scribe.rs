//! Writes down what running guests say, all of them in one transaction, so that their pages are live.

use std::sync::Arc;
use std::time::Duration;

use super::{Context, trace};
use crate::error::Result;

/// Old enough to be gathered, fresh enough to be live.
const EVERY: Duration = Duration::from_millis(500);

pub(super) async fn tick(context: Arc<Context>) -> Result<Duration> {
    let used = context.live.take_used();
    if used.is_empty() && context.live.all().iter().all(|live| live.journal.is_empty()) {
        return Ok(EVERY);
    }
    // The writer first: what is taken from a journal is written before any later end of its run is recorded.
    let mut tx = context.store.begin().await?;
    let (mut logs, mut progress) = (Vec::new(), Vec::new());
    for live in context.live.all() {
        let (log, report) = live.take();
        trace::called(&context, &live.run, log.as_ref());
        logs.extend(log);
        progress.extend(report.map(|report| (live.run.tenant, live.run.id, report)));
    }
    tx.append_logs(&logs).await?;
    tx.put_progress(&progress).await?;
    tx.secrets_used(&used, context.clock.now()).await?;
    tx.commit().await?;
    Ok(EVERY)
}
