//! What the log says of runs, and of alerts. A death needs a person and is told; all else, of which there are thousands a second, stands in
//! the database and is told to developers only.

use super::Context;
use crate::domain::alert::Subject;
use crate::domain::retry::Decision;
use crate::domain::run::{Final, Run};
use crate::store::record::Finished;

/// Whom it is about: what it is not about has no field.
pub(super) fn alert(context: &Context, subject: &Subject, message: &str) {
    let (tenant, job) = (context.definitions.tenant(subject.tenant), context.definitions.job(subject.job));
    tracing::warn!(
        tenant.name = tenant.as_ref().map(|tenant| tenant.name.as_str()),
        job.name = job.as_ref().map(|known| known.job.spec.name.as_str()),
        node.id = Some(subject.node).filter(|node| *node != 0),
        kind = subject.kind.word(),
        "alert: {message}"
    );
}

pub(super) fn began(run: &Run) {
    tracing::debug!(run.id = %run.id, run.attempt = run.attempt, "an attempt began");
}

pub(super) fn ended(context: &Context, finished: &Finished) {
    let run = &finished.run;
    let Decision::End(Final::Dead(reason)) = finished.decision else {
        return tracing::debug!(run.id = %run.id, run.attempt = run.attempt, outcome = finished.outcome, "an attempt ended");
    };
    let known = context.definitions.job(run.job);
    let (tenant, job) = known.as_ref().map_or(("?", "?"), |known| (known.job.tenant_name.as_str(), known.job.spec.name.as_str()));
    let message: String = finished.message.lines().next().unwrap_or_default().chars().take(300).collect();
    tracing::warn!(
        tenant.name = tenant, job.name = job, run.id = %run.id, run.attempt = run.attempt, reason = reason.word(), error = message,
        "a run is dead: it needs a person"
    );
}
