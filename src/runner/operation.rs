//! Works on operations, a batch a second of each: so many runs as its rate says. Where it was stands in the database.

use std::sync::Arc;
use std::time::Duration;

use super::Context;
use crate::domain::dead::OperationState;
use crate::error::{Error, Result};

/// Between two batches of an operation; its rate is runs a second.
const EVERY: Duration = Duration::from_secs(1);
/// One that is begun wakes this duty; a lost signal costs so long.
const IDLE: Duration = Duration::from_secs(60);

pub(super) async fn tick(context: Arc<Context>) -> Result<Duration> {
    let open = context.store.read().await?.open_operations().await?;
    for operation in &open {
        if context.store.read().await?.still_waits(operation, context.clock.now()).await? {
            continue;
        }
        let mut tx = context.store.begin().await?;
        let after = match tx.work_on(operation, context.clock.now()).await {
            Ok(after) => after,
            // Cancelled meanwhile, or a run was settled by hand at this moment: the next look sees it.
            Err(Error::Conflict(why)) => {
                tracing::debug!(operation.id = %operation.id, error = why, "a batch of an operation was overtaken");
                continue;
            }
            Err(wrong) => return Err(wrong),
        };
        tx.commit().await?;
        if after.state == OperationState::Done {
            tracing::info!(
                operation.id = %after.id, operation.action = after.action.word(), who = after.by, runs.done = after.done, runs.left = after.left,
                "an operation is done"
            );
        }
    }
    Ok(if open.is_empty() { IDLE } else { EVERY })
}
