//! What is recorded of an attempt, or of a run that no node has: the decision with its items, its words and its cause.

use super::Context;
use crate::clock::Timestamp;
use crate::domain::attempt::Outcome;
use crate::domain::item::{ItemCounts, ItemState, Names, Verdict, judge};
use crate::domain::job::ItemsSpec;
use crate::domain::log::{Level, Line};
use crate::domain::retry::Decision;
use crate::domain::run::{Final, Run, fingerprint};
use crate::error::Result;
use crate::store::log::LogChunk;
use crate::store::record::{Finished, OpenItems};

/// Names of lost items that one line of the log holds.
const NAMES: usize = 50;

/// An attempt that is over.
pub(super) struct Ended<'a> {
    pub run: &'a Run,
    pub outcome: &'a Outcome,
    /// For the run's row.
    pub message: String,
    pub decision: Decision,
    /// `None`: the run has no items.
    pub items: Option<(ItemCounts, &'a ItemsSpec)>,
}

/// What to record, and lines that belong into the run's log before.
///
/// # Errors
/// When the names of items cannot be read.
pub(super) async fn conclude(context: &Context, ended: Ended<'_>) -> Result<(Finished, Vec<Line>)> {
    let Ended { run, outcome, message, decision, items } = ended;
    let mut finished = Finished { counts: outcome.counts(), ..Finished::new(run.clone(), decision, outcome.word(), message) };
    let mut lines = Vec::new();
    let mut cause = finished.message.clone();
    if let Some((counts, spec)) = items.filter(|(counts, _)| counts.total() > 0) {
        let verdict = judge(finished.decision, counts, spec, &finished.message);
        let names = match verdict.decision {
            Decision::End(_) => context.store.read().await?.item_names(run.tenant, run.id).await?,
            _ => Names::default(),
        };
        if let Some(message) = verdict.message(&finished.message, &names) {
            // Which items they are does not make another cause.
            message.split(':').next().unwrap_or_default().clone_into(&mut cause);
            finished.message = message;
        }
        lines = lost(&verdict, &names, context.clock.now());
        // Once, at the run's end: counters add up what they are told.
        if matches!(verdict.decision, Decision::End(_)) {
            finished.counts = finished.counts.or_else(|| Some(verdict.counts.counts()));
        }
        finished.items = open(&verdict);
        finished.decision = verdict.decision;
    }
    if let Decision::End(Final::Dead(reason)) = finished.decision {
        finished.print = Some(fingerprint(run.job, reason, &cause));
    }
    Ok((finished, lines))
}

fn open(verdict: &Verdict) -> OpenItems {
    match (&verdict.decision, &verdict.closing) {
        (Decision::End(_), Some(closing)) => OpenItems::Close(closing.clone()),
        (Decision::End(_), None) => OpenItems::None,
        (Decision::Again { .. } | Decision::Outside, _) => OpenItems::Wait,
    }
}

/// The message shows the first names of what was lost: here are all.
fn lost(verdict: &Verdict, names: &Names, at: Timestamp) -> Vec<Line> {
    if verdict.closing.as_ref().is_none_or(|closing| closing.state != ItemState::Failed || closing.in_order) {
        return Vec::new();
    }
    let line =
        |names: &[String]| Line { at, level: Level::Warn, message: format!("lost: {}", names.join(", ")), fields: Vec::new() };
    names.lost.chunks(NAMES).map(line).collect()
}

/// Writes into the log of an attempt whose guest is not here any more, behind what stands there. Apart from the run's end,
/// which must not fail because somebody else has written there meanwhile.
///
/// # Errors
/// When it cannot be written.
pub(super) async fn tell(context: &Context, run: &Run, lines: Vec<Line>) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut tx = context.store.begin().await?;
    let (seq, first_line) = tx.log_end(run.tenant, run.id, run.attempt).await?;
    let calls = Vec::new();
    tx.append_logs(&[LogChunk {
        tenant: run.tenant,
        run: run.id,
        attempt: run.attempt,
        seq,
        first_line,
        dropped: 0,
        lines,
        calls,
    }])
    .await?;
    tx.commit().await
}
