//! Moves runs from `later` to `ready` when their time has come. Delay is a row, not a hidden message.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Context;
use crate::clock::Timestamp;
use crate::error::Result;

/// The database is asked at least so often, should a signal be lost.
const POLL: Duration = Duration::from_secs(30);
/// Runs that one look moves; a full look is followed by another.
const FULL: usize = 512;

pub(super) async fn run(context: Arc<Context>, stop: CancellationToken) {
    let mut later = context.store.signals().later();
    context.duties.came_round("promoter", context.clock.uptime(), Duration::ZERO);
    loop {
        let rest = match promote(&context).await {
            Ok(rest) => {
                context.duties.came_round("promoter", context.clock.uptime(), rest);
                rest
            }
            Err(wrong) => {
                tracing::error!(duty = "promoter", error = %wrong, "a duty failed; it tries again");
                Duration::from_secs(1)
            }
        };
        tokio::select! {
            () = stop.cancelled() => return context.duties.ended("promoter"),
            // Something was put off to an earlier time than what is waited for.
            _ = later.changed() => {}
            () = context.clock.sleep(rest) => {}
        }
    }
}

async fn promote(context: &Context) -> Result<Duration> {
    if !context.pulse.leads() {
        return Ok(super::FOLLOWING);
    }
    let now = context.clock.now();
    let next = context.store.read().await?.next_later().await?;
    if next.is_some_and(|next| next <= now) {
        let mut tx = context.store.begin().await?;
        let moved = tx.promote(now).await?;
        tx.commit().await?;
        if moved == FULL {
            return Ok(Duration::ZERO);
        }
    }
    context.store.signals().look_later();
    let next = context.store.read().await?.next_later().await?;
    context.store.signals().later_is(next.unwrap_or(Timestamp(i64::MAX)));
    Ok(next.map_or(POLL, |next| next.since(context.clock.now())).min(POLL))
}
