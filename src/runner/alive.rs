//! Signs of life, for who watches from outside: this process can write, and it calls a URL as long as its loops come round.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Context;
use crate::error::Result;
use crate::sink::Sinks;

const EVERY: Duration = Duration::from_secs(15);

/// Takes the writer and gives it back: it hangs with whoever hangs with it.
pub(super) async fn write(context: Arc<Context>) -> Result<Duration> {
    drop(context.store.begin().await?);
    Ok(EVERY)
}

/// Calls the heartbeat's URL. Silence is the message: nothing is sent while a loop hangs, nor by a node that follows.
pub(super) async fn beat(context: Arc<Context>, sinks: Arc<Sinks>, failed: Arc<AtomicBool>) -> Result<Duration> {
    let Some(heartbeat) = &context.settings.heartbeat else { return Ok(EVERY) };
    let hanging = context.duties.hanging(context.clock.uptime());
    let beaten = if hanging.is_empty() { sinks.beat(&heartbeat.url).await } else { Err(hanging.join("; ")) };
    match beaten {
        Ok(()) if failed.swap(false, Ordering::AcqRel) => tracing::info!("the heartbeat's URL answers again"),
        Err(wrong) if !failed.swap(true, Ordering::AcqRel) => {
            tracing::warn!(error = wrong, "no heartbeat outwards; it is tried again, and not told again");
        }
        _ => {}
    }
    Ok(heartbeat.every.0)
}
