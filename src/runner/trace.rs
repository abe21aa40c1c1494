//! Hands what an attempt came to, and what its guest asked for, to the traces.

use std::sync::Arc;

use super::Context;
use super::definitions::Known;
use crate::domain::retry::Decision;
use crate::domain::run::Run;
use crate::domain::trace::{Ended, Place, Trigger};
use crate::domain::trigger::{Cause, TriggerSpec};
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

/// From now on runs that end while they wait, which any transaction of this process may do, have their spans too.
pub(super) fn hear_of_cancelled(context: &Arc<Context>) {
    if !context.traces.are_wanted() {
        return;
    }
    let weak = Arc::downgrade(context);
    context.store.signals().on_cancelled(move |runs| {
        let Some(context) = weak.upgrade() else { return };
        tokio::spawn(async move {
            for finished in runs {
                ended(&context, &finished).await;
            }
        });
    });
}

/// The end of an attempt that was recorded, or of a run that waited.
pub(super) async fn ended(context: &Context, finished: &Finished) {
    if !context.traces.are_wanted() {
        return;
    }
    let run = &finished.run;
    let known = context.definitions.job(run.job);
    let (tenant, job) = known.as_ref().map_or(("?", "?"), |known| (known.job.tenant_name.as_str(), known.job.spec.name.as_str()));
    let message: String = finished.message.chars().take(300).collect();
    let over = matches!(finished.decision, Decision::End(_));
    let ended = Ended {
        run,
        tenant,
        job,
        node: context.store.node(),
        outcome: finished.outcome,
        message: &message,
        decision: &finished.decision,
        trigger: if over { trigger(context, run, known.as_deref()).await } else { Trigger::default() },
        asks: finished.asks,
        at: context.clock.now(),
    };
    context.traces.send(ended.spans());
}

/// What is known of the trigger. The store is asked of runs of schedules alone, which are not many; without an answer the
/// trace lacks that.
async fn trigger(context: &Context, run: &Run, known: Option<&Known>) -> Trigger {
    let triggers = known.map(|known| known.job.spec.triggers.as_slice()).unwrap_or_default();
    let named = |name: fn(&TriggerSpec) -> Option<String>| Trigger { name: triggers.iter().find_map(name), due_at: None };
    match run.cause {
        Cause::Backlog => named(|spec| Some(spec.backlog()?.probe.word().to_owned())),
        Cause::After => named(|spec| Some(spec.after()?.job.clone())),
        Cause::Schedule => {
            let asked = async { context.store.read().await?.instant_of(run.job, run.id, run.created_at).await };
            let Ok(Some((due_at, spec))) = asked.await else { return Trigger::default() };
            Trigger { name: spec.schedule().map(|schedule| schedule.schedule.clone()), due_at: Some(due_at) }
        }
        Cause::Manual | Cause::Api | Cause::Rerun => Trigger::default(),
    }
}
