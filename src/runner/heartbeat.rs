//! A node's right to its runs, where others could take them: it stands as long as heartbeats are confirmed. A node that
//! cannot confirm one stops its own guests before another node starts the same runs.
//!
//! Leases run in real time, also where a test moves the clock by hand: other processes do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Context;
use crate::config::Role;
use crate::domain::health::words;
use crate::plugin::Right;
use crate::store::Beat;

/// What the heartbeat found out, for the other duties.
#[derive(Default)]
pub struct Pulse {
    pub right: Right,
    /// The clock is too far off.
    skewed: AtomicBool,
    /// Another node does what only one does.
    follows: AtomicBool,
}

impl Pulse {
    pub fn may_claim(&self) -> bool {
        self.right.stands() && !self.skewed.load(Ordering::Acquire)
    }

    /// Whether this node does what one node does for all: schedules, probes, promotion, pruning, judging. Two may believe it
    /// for a moment: each of these reads what is due inside its transaction.
    pub fn leads(&self) -> bool {
        !self.follows.load(Ordering::Acquire) && self.may_claim()
    }

    pub(super) fn lead(&self, leads: bool) {
        if self.follows.swap(!leads, Ordering::AcqRel) == leads {
            tracing::info!(leads, "this node {} schedules and probes for all", if leads { "now" } else { "no longer" });
        }
    }
}

/// Beats until the node has stopped. Only where other nodes could be.
pub(super) async fn run(context: Arc<Context>, stop: CancellationToken) {
    let every = context.settings.lease.heartbeat.0;
    loop {
        beat(&context).await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
    }
}

/// One heartbeat. The right counts from before it was sent: whoever watches counts from when it arrived.
pub(super) async fn beat(context: &Context) {
    let (pulse, sent) = (&context.pulse, Instant::now());
    match context.store.beat().await {
        Ok(None) => {}
        Ok(Some(Beat::Standing(there))) => {
            pulse.right.until(sent + context.settings.lease.lease.0 * 2 / 3);
            let here = context.clock.now();
            let skew = here.since(there).max(there.since(here));
            // Due times and ids would lie.
            let far = skew > context.settings.lease.skew.0;
            let (roles, idle) = (&context.settings.roles, [Role::Scheduler, Role::Worker]);
            let hinders = far && idle.into_iter().any(|role| roles.has(role));
            context.duties.hindered(hinders.then(|| {
                let off = words(Duration::from_secs(skew.as_secs()));
                format!("this node's clock is {off} from the database's: it claims and schedules nothing until it is set")
            }));
            if pulse.skewed.swap(far, Ordering::AcqRel) != far {
                let skew_ms = skew.as_millis();
                if far {
                    tracing::error!(
                        skew_ms,
                        "this node's clock is too far from the database's: it claims and schedules nothing until it is set"
                    );
                } else {
                    tracing::info!(skew_ms, "this node's clock is right again");
                }
            }
        }
        Ok(Some(Beat::Dead)) => {
            tracing::error!("other nodes took this one for dead and have its runs: its guests are stopped, and it starts anew");
            pulse.right.until(sent);
            context.live.stop_now();
            match context.store.enter_again().await {
                Ok(_) => {}
                Err(wrong) => tracing::warn!(error = %wrong, "this node could not take part again yet"),
            }
        }
        Err(wrong) => {
            tracing::warn!(error = %wrong, "a heartbeat was not confirmed");
            if !pulse.right.stands() && !context.live.is_empty() {
                tracing::error!(
                    "no heartbeat was confirmed for two thirds of the lease: guests are stopped, another node may have their runs"
                );
                context.live.stop_now();
            }
        }
    }
}
