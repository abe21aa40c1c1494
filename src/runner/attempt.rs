//! One attempt of one run, from the claim to the record.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::artifacts::Uploads;
use super::conclude::{Ended, conclude};
use super::definitions::{Known, Made};
use super::live::{Live, Why};
use super::worker::Slot;
use super::{Context, guest, items, prober, random, recorder, tell, trace, version};
use crate::clock::Timestamp;
use crate::domain::attempt::{Class, Outcome};
use crate::domain::item::{ItemCounts, unless_left_open};
use crate::domain::job::Record;
use crate::domain::log::{Level, Line};
use crate::domain::retry::{Budget, Decision, decide};
use crate::domain::run::{Final, Reason, Run};
use crate::error::{Error, Result};
use crate::plugin::tape::Header;
use crate::plugin::{Answer, ArtifactsPort, ItemsPort, Secret, StatePort, Tape, Work};
use crate::span::Size;
use crate::store::claim::Claimed;
use crate::store::record::{Finished, Recorded};

/// Characters of an error that stand in its run's row; the log has the whole.
const MESSAGE: usize = 4_096;
/// The longest pause between two tries to record an end. It is tried as long as the store is there: until then the lease
/// keeps the run ours, and nobody else has it.
const RECORD_PAUSE: Duration = Duration::from_secs(5);
/// So often the database refuses an end before it is recorded without the guest's words.
const REFUSED: u32 = 5;
/// How long after a change of its job a run waits for secrets that the job was granted and nobody has set: `apply` and
/// `secret set` are two commands, and the first poll comes between them.
const SETTING_UP: Duration = Duration::from_secs(600);
/// How soon it looks again.
const SET_YET: Duration = Duration::from_secs(5);

/// Executes the run and records what it came to; the slot is free again in between, so that guests do not wait for the database to
/// take ends. Never fails: what goes wrong is an outcome.
pub(super) async fn make(context: &Arc<Context>, claimed: Claimed, slot: Slot) {
    let Claimed { run, input } = claimed;
    let live = Arc::new(Live::new(run, context.pulse.right.clone()));
    context.live.add(live.clone());
    trace::begins(context, &live);
    tell::began(&live.run);
    if context.live.is_draining() {
        live.ask(Why::Drained, context.clock.now());
    }
    let made = match context.definitions.revision(&context.store, live.run.revision).await {
        Ok(made) => {
            version::chosen(context, context.definitions.job(live.run.job).as_deref(), &live.run, live.run.attempt > 1, made)
                .await
        }
        wrong => wrong,
    };
    let (outcome, made) = match made {
        Ok(made) => (execute(context, &live, &made, input).await, Some(made)),
        // The database was busy, or away: that is no reason to give a run up.
        Err(Error::Unavailable(_)) => (Outcome::Drained, None),
        Err(wrong) => (Outcome::Undecodable { message: format!("its definition cannot be read: {wrong}") }, None),
    };
    drop(slot);
    let (outcome, items) = with_items(context, &live, outcome, made.as_ref()).await;
    let outcome = settle(outcome, live.why(), live.stop.was_cut());
    let failed = version::failed(&outcome);
    let finished = finish(context, &live, outcome, made.as_ref(), items).await;
    match finished {
        Some(finished) => {
            let failed = version::after_all(failed, &finished.decision);
            record(context, finished).await;
            if let (Some(made), Some(known), Some(failed)) = (&made, context.definitions.job(live.run.job), failed) {
                version::ended(context, &known, made, &live.run, failed).await;
            }
        }
        None => {
            tracing::error!(run.id = %live.run.id, "the server stops in the middle of an end; the run is taken back at the next start")
        }
    }
    context.live.remove(&live);
}

/// The run's items, and what they make of the outcome: a guest that leaves some open has not done its work.
async fn with_items(context: &Context, live: &Live, outcome: Outcome, made: Option<&Made>) -> (Outcome, Option<ItemCounts>) {
    let Some(made) = made.filter(|_| live.may_have_items()) else { return (outcome, None) };
    let items = insist(context, || items::standing(context, &live.run)).await.filter(|items| items.total() > 0);
    match &items {
        Some(counts) => (unless_left_open(outcome, counts, &made.spec.items), items),
        None => (outcome, items),
    }
}

/// Reads from the store as long as it is there: a run must not end in ignorance. `None` when the server stops.
async fn insist<T, F: Future<Output = Result<T>>>(context: &Context, read: impl Fn() -> F) -> Option<T> {
    let mut pause = Duration::from_millis(200);
    loop {
        match read().await {
            Ok(found) => return Some(found),
            Err(_) if context.store.is_closed() => return None,
            Err(wrong) => {
                tracing::error!(error = %wrong, "the items of a run could not be read yet; it is tried again");
                context.clock.sleep(pause).await;
                pause = (pause * 2).min(RECORD_PAUSE);
            }
        }
    }
}

/// A guest that ended because it was told to has not failed.
fn settle(outcome: Outcome, why: Option<Why>, cut: bool) -> Outcome {
    match (outcome, why) {
        (Outcome::Succeeded { summary, data, counts }, _) => Outcome::Succeeded { summary, data, counts },
        (_, Some(Why::Cancelled)) => Outcome::Cancelled,
        // Not what it came to by itself: the node's right to it had lapsed, if only for a moment, or the grace was over.
        (Outcome::Cancelled, None) => Outcome::Drained,
        (_, _) if cut => Outcome::Drained,
        // It cannot tell a drain from its own limit: what would be retried is handed back instead.
        (
            Outcome::Cancelled | Outcome::TimedOut { .. } | Outcome::Failed { class: Class::Transient | Class::Snooze, .. },
            Some(Why::Drained),
        ) => Outcome::Drained,
        (outcome, _) => outcome,
    }
}

async fn execute(context: &Arc<Context>, live: &Arc<Live>, made: &Made, input: Option<String>) -> Outcome {
    let run = &live.run;
    if run.attempt == 1 && run.start_by.is_some_and(|by| by < context.clock.now()) {
        return Outcome::TooLate;
    }
    if context.definitions.job(run.job).is_none() && context.definitions.refresh(&context.store).await.is_err() {
        return Outcome::Drained;
    }
    let Some(known) = context.definitions.job(run.job) else {
        return Outcome::failed(Class::Permanent, "its job was removed");
    };
    let secrets = match guest::secrets(context, &known).await {
        Ok(secrets) => secrets,
        Err(Error::Unavailable(_)) => return Outcome::Drained,
        Err(wrong) => return Outcome::failed(Class::Permanent, wrong.to_string()),
    };
    if let Some(waiting) = waits_for_secret(&known, &secrets, context.clock.now()) {
        return waiting;
    }
    let guest =
        Guest { context, live, made, known: &known, secrets: Arc::new(secrets), input: input.unwrap_or_else(|| "{}".into()) };
    guest.attempt().await
}

/// What calling the run's guest takes.
struct Guest<'a> {
    context: &'a Arc<Context>,
    live: &'a Arc<Live>,
    made: &'a Made,
    known: &'a Known,
    secrets: Arc<HashMap<String, Secret>>,
    input: String,
}

impl Guest<'_> {
    /// Runs it, and finishes it once its last item has ended. Where nothing is open any more, that alone is left to do.
    async fn attempt(&self) -> Outcome {
        let executor = &self.context.executor;
        if let Some(totals) = self.to_finish().await {
            return self.call(Some(totals), |work| executor.finish(work, totals)).await;
        }
        let outcome = self.call(None, |work| executor.execute(work)).await;
        match (&outcome, self.to_finish().await) {
            (Outcome::Succeeded { .. }, Some(totals)) => self.call(Some(totals), |work| executor.finish(work, totals)).await,
            _ => outcome,
        }
    }

    /// The run's items, when all have ended and the plugin has a `finish`.
    async fn to_finish(&self) -> Option<ItemCounts> {
        if !self.live.may_have_items() || !self.context.executor.finishes(&self.made.digest) {
            return None;
        }
        let counts = insist(self.context, || items::standing(self.context, &self.live.run)).await?;
        (counts.total() > 0 && counts.open() == 0).then_some(counts)
    }

    /// `finish`: what its items came to, when that is called and not `run`.
    async fn call(&self, finish: Option<ItemCounts>, call: impl FnOnce(Work) -> Answer<Outcome>) -> Outcome {
        let Self { context, live, made, known, .. } = self;
        let ((state, state_calls), (items, item_calls)) = (mpsc::channel(16), mpsc::channel(16));
        let (artifacts, artifact_calls) = mpsc::channel(1);
        let run = &live.run;
        let mut uploads = Uploads::new(context, run, known, &live.journal);
        let Some(time_limit) = time_limit(context, run, made, known) else {
            return Outcome::TimedOut { message: "the limit over all attempts was reached before this one could begin".into() };
        };
        let records = made.spec.record != Record::Never;
        let tape = Arc::new(if records { Tape::record(context.clock.now()) } else { Tape::Live });
        let work = Work { tape: tape.clone(), ..self.work(time_limit, state, items, artifacts) };
        let outcome = tokio::select! {
            outcome = call(work) => outcome,
            never = guest::serve_state(context, known, &live.journal, state_calls) => match never {},
            never = items::serve(context, live, &made.spec.items, known.limits().items, item_calls) => match never {},
            never = uploads.serve(artifact_calls) => match never {},
        };
        uploads.end().await;
        if records && self.may_be_kept(&outcome) {
            let header = |began_at, seed| {
                let work = self.work(time_limit, mpsc::channel(1).0, mpsc::channel(1).0, mpsc::channel(1).0);
                Header::new(&work, finish, began_at, seed)
            };
            tape.recording(&outcome, header).into_iter().for_each(|recording| live.recorded(recording, self.secrets.clone()));
        }
        outcome
    }

    /// Most attempts end well, and of most of these nobody wants to know more. With items a good end may yet be none.
    fn may_be_kept(&self, outcome: &Outcome) -> bool {
        let is_well = matches!(outcome, Outcome::Succeeded { .. });
        self.made.spec.record == Record::Always || !is_well || self.live.may_have_items()
    }

    /// What the guest is called with.
    fn work(&self, time_limit: Duration, state: StatePort, items: ItemsPort, artifacts: ArtifactsPort) -> Work {
        let Self { live, made, known, .. } = self;
        let run = &live.run;
        Work {
            tenant: known.job.tenant_name.clone(),
            job: known.job.spec.name.clone(),
            run: run.id,
            attempt: run.attempt,
            trigger: run.cause.word(),
            config: made.config.to_string(),
            input: self.input.clone(),
            digest: made.digest.to_string(),
            time_limit,
            grace: made.spec.grace().0,
            stall_limit: made.spec.stall_limit.map(|limit| limit.0),
            grant: known.grant.clone(),
            ceiling: known.ceiling.clone(),
            secrets: self.secrets.clone(),
            journal: live.journal.clone(),
            stop: live.stop.clone(),
            state,
            items: Some(items),
            artifacts: Some(artifacts),
            tape: Arc::default(),
        }
    }
}

/// Of this attempt: the job's, or what the total limit leaves; none when that is nothing.
fn time_limit(context: &Context, run: &Run, made: &Made, known: &Known) -> Option<Duration> {
    // Apply has checked the one against the other; the ceiling may have been lowered since.
    let limit = made.spec.time_limit.min(known.ceiling.time_limit).0;
    let Some(total) = made.spec.total_limit else { return Some(limit) };
    let used = run.first_started_at.map_or(Duration::ZERO, |first| context.clock.now().since(first));
    total.0.checked_sub(used).filter(|left| !left.is_zero()).map(|left| limit.min(left))
}

fn waits_for_secret(known: &Known, set: &HashMap<String, Secret>, now: Timestamp) -> Option<Outcome> {
    if now >= known.job.updated_at.plus(SETTING_UP) {
        return None;
    }
    let missing = known.grant.secrets.iter().find(|granted| !set.contains_key(&granted.name))?;
    let message =
        format!("the secret {:?} is not set yet: windlass secret set {}/{}", missing.name, known.job.tenant_name, missing.name);
    Some(Outcome::Failed { class: Class::Snooze, message, delay: Some(SET_YET), counts: None, details: Vec::new() })
}

async fn finish(
    context: &Context,
    live: &Live,
    outcome: Outcome,
    made: Option<&Made>,
    items: Option<ItemCounts>,
) -> Option<Finished> {
    let (run, now) = (&live.run, context.clock.now());
    let decision = match made {
        Some(made) => decide(&outcome, run, &made.spec, now, random()),
        None if outcome == Outcome::Drained => {
            let delay = Duration::from_secs(1);
            Decision::Again {
                due_at: now.plus(delay),
                delay,
                why: "its definition could not be read yet".into(),
                spent: Budget::None,
            }
        }
        None => Decision::End(Final::Dead(Reason::Undecodable)),
    };
    let message = message_of(&outcome, live, now);
    let ended = |items| Ended { run, outcome: &outcome, message: message.clone(), decision: decision.clone(), items };
    live.journal.took("items", items.map_or(0, |counts| counts.total()));
    let items = items.and_then(|counts| Some((counts, &made?.spec.items)));
    let (mut finished, lines) = insist(context, || conclude(context, ended(items))).await?;
    lines.into_iter().for_each(|line| live.journal.log(line));
    recorder::keep(context, live, made.map_or(Record::Never, |made| made.spec.record), &finished);
    (finished.log, finished.progress) = live.take();
    trace::called(context, run, finished.log.as_ref());
    (finished.used, finished.asks) = (live.journal.used(), live.journal.asks());
    (finished.output, finished.details) = match &outcome {
        Outcome::Succeeded { data, .. } => (data.clone(), None),
        Outcome::Failed { details, .. } if !details.is_empty() => (None, Some(pairs(details))),
        _ => (None, None),
    };
    Some(finished)
}

/// For the run's row: cut where it is long, with the whole in the log, as far as that goes.
fn message_of(outcome: &Outcome, live: &Live, now: Timestamp) -> String {
    let mut message = outcome.message();
    if message.chars().nth(MESSAGE).is_some() {
        live.journal.log(Line { at: now, level: Level::Error, message: message.clone(), fields: Vec::new() });
        let said = format!("… truncated, full log ({})", Size(live.journal.logged()));
        let room = MESSAGE - said.chars().count();
        let end = message.char_indices().nth(room).map_or(message.len(), |(at, _)| at);
        message.truncate(end);
        message.push_str(&said);
    }
    message
}

fn pairs(details: &[(String, String)]) -> String {
    let object: serde_json::Map<_, _> = details.iter().map(|(k, v)| (k.clone(), serde_json::Value::from(v.as_str()))).collect();
    serde_json::Value::Object(object).to_string()
}

/// Records the end, and goes on trying while the store is away: until then the lease keeps the run ours.
pub(super) async fn record(context: &Arc<Context>, mut finished: Finished) {
    let (run, counts, decision) = (finished.run.clone(), finished.counts, finished.decision.clone());
    tell::ended(context, &finished);
    let (mut pause, mut refused) = (Duration::from_millis(200), 0);
    loop {
        match context.store.record(vec![finished.clone()]).await {
            Ok(recorded) if recorded.first() == Some(&Recorded::Late) => {
                tracing::warn!(run.id = %run.id, attempt = run.attempt, "late: the lease has passed to another, nothing was recorded");
                return;
            }
            Ok(_) => {
                if finished.decision == Decision::Outside {
                    context.items.note_outside(true);
                }
                prober::run_ended(context, &run, counts, &decision).await;
                trace::ended(context, &finished).await;
                return;
            }
            Err(wrong) if context.store.is_closed() => {
                tracing::error!(run.id = %run.id, error = %wrong, "an end could not be recorded; the run is taken back at the next start");
                return;
            }
            Err(wrong) => {
                tracing::error!(run.id = %run.id, error = %wrong, "an end could not be recorded yet; it is tried again");
                // The database is there and says no: it may be the guest's words that it cannot take.
                refused += u32::from(matches!(wrong, Error::Internal(_)));
                if refused == REFUSED {
                    finished = finished.bare();
                }
                context.clock.sleep(pause).await;
                pause = (pause * 2).min(RECORD_PAUSE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_did_not_come_to_by_itself_is_handed_back() {
        let failed = |class| Outcome::failed(class, "no");
        let well = || Outcome::Succeeded { summary: "done".into(), data: None, counts: None };
        // The node's right lapsed: guests are stopped, and their requests refused.
        for outcome in [Outcome::Cancelled, failed(Class::Transient), failed(Class::Permanent)] {
            for why in [None, Some(Why::Drained)] {
                assert_eq!(settle(outcome.clone(), why, true), Outcome::Drained, "{outcome:?} {why:?}");
            }
            assert_eq!(settle(outcome, Some(Why::Cancelled), true), Outcome::Cancelled, "somebody wanted it");
        }
        assert_eq!(settle(Outcome::Cancelled, None, false), Outcome::Drained, "nobody wanted it");
        assert_eq!(settle(well(), Some(Why::Drained), true), well());
        for class in [Class::Transient, Class::Permanent] {
            assert_eq!(settle(failed(class), None, false), failed(class));
        }
        assert_eq!(settle(failed(Class::Transient), Some(Why::Drained), false), Outcome::Drained);
        assert_eq!(settle(failed(Class::Permanent), Some(Why::Drained), false), failed(Class::Permanent));
    }
}
