//! Hands what an attempt came to, and what its guest asked for, to the traces.

use super::Context;
use crate::domain::run::Run;
use crate::domain::trace::{Ended, Place};
use crate::store::log::LogChunk;
use crate::store::record::Finished;

/// Tells the attempt's requests which trace they belong to.
pub(super) fn begins(context: &Context, live: &super::live::Live) {
    if context.traces.are_wanted() {
        live.journal.belongs_to(Place::new(&live.run));
    }
}

/// HTTP calls that have ended.
pub(super) fn called(context: &Context, run: &Run, log: Option<&LogChunk>) {
    if let Some(chunk) = log.filter(|_| context.traces.are_wanted()) {
        context.traces.send(Place::new(run).calls(&chunk.calls));
    }
}

/// The end of an attempt that was recorded.
pub(super) fn ended(context: &Context, finished: &Finished) {
    if !context.traces.are_wanted() {
        return;
    }
    let known = context.definitions.job(finished.run.job);
    let (tenant, job) = known.as_ref().map_or(("?", "?"), |known| (known.job.tenant_name.as_str(), known.job.spec.name.as_str()));
    let message: String = finished.message.chars().take(300).collect();
    let ended = Ended {
        run: &finished.run,
        tenant,
        job,
        node: context.store.node(),
        outcome: finished.outcome,
        message: &message,
        decision: &finished.decision,
        at: context.clock.now(),
    };
    context.traces.send(ended.spans());
}
