//! Which version of its plugin an attempt takes while there are two, and what came of it.

use std::sync::Arc;

use super::Context;
use super::definitions::{Known, Made};
use crate::domain::attempt::{Class, Outcome};
use crate::domain::log::{Level, Line};
use crate::domain::retry::Decision;
use crate::domain::rollout::{ALL, PROVEN, Rollout, Stage};
use crate::domain::run::{Final, Run};
use crate::error::{Error, Result};

/// What the run was made from, with the digest that this attempt takes; `begun`: it has had a guest before. A run that takes another than its revision's is
/// entered before it begins.
///
/// # Errors
/// When the store does not answer.
pub(super) async fn chosen(context: &Context, known: Option<&Known>, run: &Run, begun: bool, made: Made) -> Result<Made> {
    let is_beside = known.is_some_and(|known| known.rollout.is_some());
    if !is_beside && !begun {
        return Ok(made);
    }
    let mut reader = context.store.read().await?;
    let entered = reader.used_digest(run.tenant, run.id).await?;
    // Not the one in memory: what was taken back a moment ago is not to get another attempt.
    let rollout = if is_beside { reader.rollout(run.job).await? } else { None };
    drop(reader);
    // A run of an older revision has a configuration that was never checked against these two.
    let rollout = rollout.filter(|rollout| [&*rollout.old, &*rollout.new].contains(&&*made.digest));
    let used = entered.as_deref().or_else(|| begun.then_some(&*made.digest));
    let digest = match &rollout {
        Some(rollout) => rollout.digest(run.id, used),
        None => used.unwrap_or(&made.digest),
    };
    if !context.executor.has(digest) {
        return Err(Error::Unavailable(format!("plugin {digest} is not loaded on this node yet")));
    }
    if digest != entered.as_deref().unwrap_or(&made.digest) {
        let mut tx = context.store.begin().await?;
        tx.use_digest(run.tenant, run.id, digest).await?;
        tx.commit().await?;
    }
    let digest = Arc::from(digest);
    Ok(Made { digest, ..made })
}

/// Whether it says that the version is bad; `None`: nothing of the version.
pub(super) fn failed(outcome: &Outcome) -> Option<bool> {
    match outcome {
        Outcome::Succeeded { .. } => Some(false),
        Outcome::Failed { class: Class::Snooze, .. } => None,
        Outcome::Failed { .. } | Outcome::TimedOut { .. } | Outcome::OutOfMemory { .. } => Some(true),
        Outcome::Trapped { .. } | Outcome::Undecodable { .. } => Some(true),
        _ => None,
    }
}

/// The same, when it is known what becomes of the run: a guest that ends well while its items failed did not, and one whose
/// items are worked on elsewhere has only begun.
pub(super) fn after_all(failed: Option<bool>, decision: &Decision) -> Option<bool> {
    match decision {
        Decision::Outside => failed.filter(|failed| *failed),
        Decision::End(Final::Dead(_)) => failed.map(|_| true),
        _ => failed,
    }
}

/// Counts an attempt for its version, and takes a new version back when it is worse. What cannot be counted is not: the next
/// attempt is.
pub(super) async fn ended(context: &Context, known: &Known, made: &Made, run: &Run, failed: bool) {
    let Some(rollout) = known.rollout.as_ref().filter(|rollout| rollout.stage == Stage::Running) else { return };
    let is_new = *made.digest == *rollout.new;
    if !is_new && *made.digest != *rollout.old {
        return;
    }
    if let Err(wrong) = count(context, known, run, is_new, failed).await {
        tracing::warn!(run.id = %run.id, error = %wrong, "an attempt was not counted for its plugin's version");
    }
}

async fn count(context: &Context, known: &Known, run: &Run, is_new: bool, failed: bool) -> Result<()> {
    let now = context.clock.now();
    let mut tx = context.store.begin().await?;
    let Some(rollout) = tx.rollout_ended(known.job.id, is_new, failed).await? else { return Ok(()) };
    let object = format!("{}/{}", known.job.tenant_name, known.job.spec.name);
    let next = |stage, why: String| Rollout {
        stage,
        // What began with a version that is known to be bad does not have to end with it.
        moved: true,
        why: Some(why),
        changed_at: now,
        changed_by: "windlass".into(),
        ..rollout.clone()
    };
    if let Some(why) = rollout.verdict() {
        tx.move_rollout(&rollout, &next(Stage::RolledBack, why.clone())).await?;
        tx.audit(rollout.tenant, "windlass", "rollout.rollback", &object, Some(&why), now).await?;
        tx.commit().await?;
        tracing::warn!(job.name = object, plugin.digest = rollout.new, "a new version of a plugin was rolled back: {why}");
        let message = format!("this version of the plugin was rolled back: {why}; new runs take the old one");
        let line = Line { at: now, level: Level::Warn, message, fields: Vec::new() };
        return super::conclude::tell(context, run, vec![line]).await;
    }
    if rollout.share == ALL && rollout.stage == Stage::Running && rollout.tally.new_done >= PROVEN {
        let why = format!("{} attempts went well", rollout.tally.new_done);
        tx.move_rollout(&rollout, &next(Stage::Promoted, why)).await?;
    }
    tx.commit().await
}
