//! Runs that many guests work on at a time: each takes a chunk of the run's items, on whatever node has room. A chunk that
//! is lost or fails is nobody's after a while, and its items go into another.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::artifacts::Uploads;
use super::definitions::{Known, Made};
use super::{Context, DRAIN_GRACE, guest, random, version};
use crate::clock::Timestamp;
use crate::domain::attempt::{Class, Outcome};
use crate::domain::item::{Answer, Ask, DELIVERY, Ending, Item, ItemState, NewItem};
use crate::domain::log::{Level, Line};
use crate::domain::run::{Run, State};
use crate::error::Result;
use crate::id::Id;
use crate::plugin::{ItemsCall, Journal, Refusal, Stop, Work};
use crate::store::log::LogChunk;
use crate::store::outside::{Chunk, Reported, chunk_worker};
use crate::store::record::OUTSIDE_NODE;

/// Chunks that one node works on at a time, of all runs: the pool of guests has room for them beside the runs in flight.
const CHUNKS: usize = 16;
const EVERY: Duration = Duration::from_secs(1);
/// A node that follows looks every so many times, while it knows of no such run.
const FOLLOWING: u32 = 5;
/// How often it is seen whether its run still wants a chunk. Its lease is renewed when a third of it is over.
const LOOK: Duration = Duration::from_secs(3);

pub(super) async fn run(context: Arc<Context>, stop: CancellationToken) {
    let mut chunks = JoinSet::new();
    for looks in 0_u32.. {
        // The reconciler, which says whether there is anything, is on the node that leads.
        if !context.pulse.leads() && looks.is_multiple_of(FOLLOWING) {
            context.items.note_outside(true);
        }
        if let Err(wrong) = take(&context, &mut chunks).await {
            tracing::error!(duty = "fanout", error = %wrong, "a duty failed; it tries again");
        }
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = chunks.join_next() => {}
            () = context.clock.sleep(EVERY) => {}
        }
    }
    while chunks.join_next().await.is_some() {}
}

/// A chunk of a run, in the hands of this node.
struct Held {
    run: Run,
    made: Made,
    known: Arc<Known>,
    worker: String,
    items: Vec<Item>,
}

/// Takes chunks of the runs that have some to give, as long as there is room.
async fn take(context: &Arc<Context>, chunks: &mut JoinSet<()>) -> Result<()> {
    let mut after = Id(0);
    while chunks.len() < CHUNKS && context.items.any_outside() && context.pulse.may_claim() {
        let runs = context.store.read().await?.outside_runs(after).await?;
        let Some(last) = runs.last() else {
            context.items.note_outside(after != Id(0));
            return Ok(());
        };
        after = last.id;
        for run in runs {
            // The reconciler tells of what cannot be read.
            let Ok(made) = context.definitions.revision(&context.store, run.revision).await else { continue };
            if made.spec.items.parallel < 2 {
                continue;
            }
            let Some(known) = context.definitions.job(run.job) else { continue };
            // Not here, ever; a larger node has room for it.
            if known.memory().in_mib() > context.memory.budget() {
                continue;
            }
            let Ok(made) = version::chosen(context, Some(&known), &run, true, made).await else { continue };
            while chunks.len() < CHUNKS {
                let worker = chunk_worker(context.store.node(), context.store.new_id());
                let items = claim(context, &run, &made, &worker).await?;
                if items.is_empty() {
                    break;
                }
                let held = Held { run: run.clone(), made: made.clone(), known: known.clone(), worker, items };
                let context = context.clone();
                chunks.spawn(async move { work(&context, held).await });
            }
        }
    }
    Ok(())
}

async fn claim(context: &Context, run: &Run, made: &Made, worker: &str) -> Result<Vec<Item>> {
    let items = &made.spec.items;
    let mut tx = context.store.begin().await?;
    if tx.cancelled_by(run.tenant, run.id).await?.is_some() {
        return Ok(Vec::new());
    }
    let chunk = Chunk { worker, size: items.chunk, parallel: items.parallel, lease: DELIVERY };
    let taken = tx.claim_chunk(run, &chunk, context.clock.now()).await?;
    tx.commit().await?;
    Ok(taken)
}

/// Runs the guest over the chunk. What it leaves open comes again later; nothing here fails the run.
async fn work(context: &Arc<Context>, held: Held) {
    let (journal, stop) =
        (Arc::new(Journal::default()), Arc::new(Stop { right: context.pulse.right.clone(), ..Stop::default() }));
    let outcome = match call(context, &held, &journal, &stop).await {
        Ok(outcome) => outcome,
        Err(wrong) => Outcome::failed(Class::Transient, wrong.to_string()),
    };
    let message = format!("{}: {}", held.worker, outcome.message());
    let level = if matches!(outcome, Outcome::Succeeded { .. }) { Level::Info } else { Level::Warn };
    journal.log(Line { at: context.clock.now(), level, message, fields: Vec::new() });
    // One that was told to stop says nothing of its version.
    let failed = version::failed(&outcome).filter(|failed| !failed || !stop.asked.load(Ordering::Acquire));
    if let Err(wrong) = end(context, &held, outcome, &journal).await {
        // Its lease lapses, and its items come again.
        tracing::error!(run.id = %held.run.id, error = %wrong, "the end of a chunk could not be stored");
    }
    if let Some(failed) = failed {
        version::ended(context, &held.known, &held.made, &held.run, failed).await;
    }
}

async fn call(context: &Arc<Context>, held: &Held, journal: &Arc<Journal>, stop: &Arc<Stop>) -> Result<Outcome> {
    let Held { run, made, known, items, .. } = held;
    // Its items stay its own while it waits.
    let _promised = tokio::select! {
        promised = context.memory.take(known.memory().in_mib()) => promised?,
        never = keep(context, held, stop) => match never {},
    };
    let secrets = guest::secrets(context, known).await?;
    let input = context.store.read().await?.payload(run.tenant, run.id).await?.input;
    let ((state, state_calls), (port, calls)) = (mpsc::channel(16), mpsc::channel(16));
    let (artifacts, artifact_calls) = mpsc::channel(1);
    let mut uploads = Uploads::new(context, run, known, journal);
    let work = Work {
        tenant: known.job.tenant_name.clone(),
        job: known.job.spec.name.clone(),
        run: run.id,
        attempt: items.iter().map(|item| item.deliveries).max().unwrap_or(1),
        trigger: run.cause.word(),
        config: made.config.to_string(),
        input: input.unwrap_or_else(|| "{}".into()),
        digest: made.digest.to_string(),
        time_limit: made.spec.time_limit.min(known.ceiling.time_limit).0,
        grace: made.spec.grace().0,
        stall_limit: made.spec.stall_limit.map(|limit| limit.0),
        grant: known.grant.clone(),
        ceiling: known.ceiling.clone(),
        secrets: Arc::new(secrets),
        journal: journal.clone(),
        stop: stop.clone(),
        state,
        items: Some(port),
        artifacts: Some(artifacts),
        // A chunk is no attempt: nothing of it is recorded.
        tape: Arc::default(),
    };
    let outcome = tokio::select! {
        outcome = context.executor.execute(work) => outcome,
        never = guest::serve_state(context, known, journal, state_calls) => match never {},
        never = serve(context, held, calls) => match never {},
        never = keep(context, held, stop) => match never {},
        never = uploads.serve(artifact_calls) => match never {},
    };
    uploads.end().await;
    Ok(outcome)
}

/// Renews the chunk's lease, and tells its guest to stop when the node is going or the run does not want it any more.
async fn keep(context: &Context, held: &Held, stop: &Stop) -> std::convert::Infallible {
    let (mut renewed_at, mut asked) = (context.clock.now(), None);
    loop {
        context.clock.sleep(if asked.is_some() { EVERY } else { LOOK }).await;
        let now = context.clock.now();
        // While the store is away the lease runs on, and then it lapses.
        if context.live.is_draining() || !wanted(context, &held.run).await.unwrap_or(true) {
            let since = *asked.get_or_insert(now);
            stop.asked.store(true, Ordering::Release);
            stop.now.store(now.since(since) >= DRAIN_GRACE / 2, Ordering::Release);
        } else if now.since(renewed_at) >= DELIVERY / 3 && renew(context, held, now).await.is_ok() {
            renewed_at = now;
        }
    }
}

/// Whether the run's items are still worked on.
async fn wanted(context: &Context, run: &Run) -> Result<bool> {
    let run = context.store.read().await?.run(run.tenant, run.id).await?;
    Ok(run.is_some_and(|run| matches!(run.state, State::Running { node: OUTSIDE_NODE, stopping: false, .. })))
}

async fn renew(context: &Context, held: &Held, now: Timestamp) -> Result<()> {
    let mut tx = context.store.begin().await?;
    tx.keep_items((held.run.tenant, held.run.job), &held.worker, now.plus(DELIVERY)).await?;
    tx.commit().await
}

/// Answers the guest's calls of `items`: it sees its chunk.
async fn serve(context: &Context, held: &Held, mut calls: mpsc::Receiver<ItemsCall>) -> std::convert::Infallible {
    let mut waiting: VecDeque<&Item> = held.items.iter().collect();
    while let Some(ItemsCall { ask, answer }) = calls.recv().await {
        let told = match ask {
            // The run's first guest has declared all of them.
            Ask::Declare(_) => Ok(Answer::Count(waiting.len() as u64)),
            Ask::Next(max) => {
                let next = waiting.drain(..waiting.len().min(max as usize));
                let new = |item: &Item| NewItem { name: item.name.clone(), input: item.input.clone().unwrap_or_default() };
                Ok(Answer::Items(next.map(new).collect()))
            }
            Ask::Finish(endings) => report(context, held, endings).await.map(Answer::Count).map_err(|wrong| {
                tracing::error!(run.id = %held.run.id, error = %wrong, "items of a chunk could not be stored");
                Refusal { code: "unavailable", message: "the store did not answer; try again".into() }
            }),
        };
        let _ = answer.send(told);
    }
    std::future::pending().await
}

async fn report(context: &Context, held: &Held, endings: Vec<Ending>) -> Result<u64> {
    let ends: Vec<(Id, Ending)> = endings.into_iter().map(|ending| (held.run.id, ending)).collect();
    let mut tx = context.store.begin().await?;
    let told = tx.report_items((held.run.tenant, held.run.job), &held.worker, &ends, context.clock.now()).await?;
    tx.commit().await?;
    Ok(told.into_iter().filter(|told| *told == Reported::Recorded).count() as u64)
}

/// What is open of the chunk: failed for good, given back, or for another chunk after a delay. And its log.
async fn end(context: &Context, held: &Held, outcome: Outcome, journal: &Journal) -> Result<()> {
    let (run, now) = (&held.run, context.clock.now());
    if let Outcome::Failed { class: Class::Permanent, message, .. } = &outcome {
        let failed =
            |item: &Item| Ending { name: item.name.clone(), state: ItemState::Failed, message: message.clone(), output: None };
        report(context, held, held.items.iter().map(failed).collect()).await?;
    }
    let attempt = held.items.iter().map(|item| item.deliveries).max().unwrap_or(1);
    let delay = held.made.spec.retry.delay(attempt, random()).max(outcome.delay().unwrap_or_default());
    let mut tx = context.store.begin().await?;
    if context.live.is_draining() {
        tx.give_back(run, &held.worker).await?;
    } else {
        tx.keep_items((run.tenant, run.job), &held.worker, now.plus(delay)).await?;
    }
    let taken = journal.take();
    let (seq, first_line) = tx.log_end(run.tenant, run.id, run.attempt).await?;
    let (lines, calls, dropped) = (taken.lines, taken.calls, taken.dropped);
    tx.append_logs(&[LogChunk { tenant: run.tenant, run: run.id, attempt: run.attempt, seq, first_line, dropped, lines, calls }])
        .await?;
    tx.secrets_used(&journal.take_secrets().into_iter().map(|name| (run.tenant, name)).collect(), now).await?;
    tx.commit().await
}
