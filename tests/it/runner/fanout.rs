//! Runs that many guests work on at a time, and what comes after their last item.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::sync::Semaphore;
use windlass::clock::Clock;
use windlass::domain::attempt::{Class, Outcome};
use windlass::domain::item::{Ask, DELIVERY, ItemCounts, ItemState, NewItem};
use windlass::domain::retry::Decision;
use windlass::domain::run::{Reason, Run, State};
use windlass::runner::Runner;
use windlass::span::Size;
use windlass::store::item::Asked;
use windlass::store::outside::Chunk;
use windlass::store::record::{Finished, OpenItems, Recorded};

use super::items::{Items, counts, items_of, log_of, named};
use super::reason;
use super::steps::with_a_real_guest;
use crate::plugin::guests;
use crate::world::{World, transient, well};

const SECOND: Duration = Duration::from_secs(1);
/// So small that a machine that is slow to write does not miss a renewal.
const STEP: Duration = Duration::from_millis(200);

/// What `finish` was told, call by call; the first so many calls fail.
fn finishing(world: &World, failing: u32) -> Arc<Mutex<Vec<ItemCounts>>> {
    let told: Arc<Mutex<Vec<ItemCounts>>> = Arc::default();
    let (noted, calls) = (told.clone(), AtomicU32::new(0));
    let finish = move |_: &windlass::plugin::Work, totals: ItemCounts| {
        noted.lock().unwrap().push(totals);
        if calls.fetch_add(1, Ordering::Relaxed) < failing {
            return transient("the index is busy");
        }
        Outcome::Succeeded { summary: format!("{} results", totals.done), data: None, counts: None }
    };
    world.guests.finishing.lock().unwrap().insert("gather".into(), Box::new(finish));
    told
}

/// Works on all that it is handed; `broken` says what an item comes to instead, when it does.
fn gather(world: &World, n: usize, broken: impl Fn(&str) -> Option<Outcome> + Clone + Send + Sync + 'static) {
    world.guests.script("gather", move |work| {
        let (items, broken) = (Items::of(work), broken.clone());
        async move {
            items.declare(&named(n)).await;
            while let Some(name) = items.next(1).await.pop() {
                if let Some(outcome) = broken(&name) {
                    return outcome;
                }
                items.done(&name).await;
            }
            well(None)
        }
    });
}

#[tokio::test]
async fn c13_the_finisher_runs_once_also_after_a_worker_died() {
    let world = World::new().await;
    let job = world.job("gather", json!({"items": {"parallel": 3, "chunk": 5}})).await;
    // A run that has declared its items, and a node that takes a chunk of them and dies.
    let id = world.enqueue(&job).await;
    let run = world.claim(job.id, 1).await.remove(0).run;
    let mut tx = world.store.begin().await.unwrap();
    let all = named(30).into_iter().map(|name| NewItem { name, input: String::new() }).collect();
    let ask =
        Asked { tenant: job.tenant, run: id, fence: run.fence, attempt: 1, strict: false, most: 10_000, ask: Ask::Declare(all) };
    tx.items(&[ask], world.clock.now()).await.unwrap().remove(0).unwrap();
    tx.commit().await.unwrap();
    assert_eq!(world.store.record(vec![handed_out(run)]).await.unwrap(), [Recorded::Yes]);
    let run = world.run(id).await;
    let mut tx = world.store.begin().await.unwrap();
    let chunk = Chunk { worker: "node 9, chunk 1", size: 5, parallel: 3, lease: DELIVERY };
    assert_eq!(tx.claim_chunk(&run, &chunk, world.clock.now()).await.unwrap().len(), 5);
    tx.commit().await.unwrap();

    // Of the others one fails in the middle of its chunk, once.
    let failed = Arc::new(AtomicBool::new(false));
    let once = failed.clone();
    gather(&world, 30, move |name| {
        (name == "item-17" && !once.swap(true, Ordering::Relaxed)).then(|| transient("connection reset"))
    });
    let told = finishing(&world, 0);
    let runner = world.start().await;
    let ended = world.ended(id, STEP).await;
    runner.drain().await;
    assert_eq!((ended.state.word(), ended.message.as_deref()), ("succeeded", Some("30 results")));
    assert_eq!(*told.lock().unwrap(), [ItemCounts { done: 30, ..ItemCounts::default() }], "once, after all");
    assert!(failed.load(Ordering::Relaxed));
    let items = items_of(&world, id).await;
    assert!(items[..5].iter().all(|item| item.deliveries == 2 && item.worker.as_deref() != Some("node 9, chunk 1")), "{items:?}");
    let workers: BTreeSet<_> = items.iter().map(|item| item.worker.clone()).collect();
    assert!(workers.len() >= 6, "chunks of five: {workers:?}");
    let (State::Succeeded { ended_at, .. }, Some(last)) = (&ended.state, items.iter().filter_map(|item| item.ended_at).max())
    else {
        panic!("{ended:?}")
    };
    assert!(ended_at.since(last) <= 60 * SECOND);
    assert!(log_of(&world, id).await.contains("connection reset"));
}

fn handed_out(run: Run) -> Finished {
    Finished {
        run,
        decision: Decision::Outside,
        outcome: "succeeded",
        message: String::new(),
        counts: None,
        print: None,
        output: None,
        details: None,
        log: None,
        progress: None,
        items: OpenItems::Wait,
        used: None,
        asks: windlass::domain::trace::Asks::default(),
    }
}

#[tokio::test]
async fn many_guests_share_a_run_and_its_threshold_decides() {
    let world = World::new().await;
    let job = world.job("gather", json!({"items": {"parallel": 4, "chunk": 3}})).await;
    gather(&world, 20, |name| {
        // Two chunks, one of them the last and short.
        (name == "item-04" || name == "item-18").then(|| Outcome::failed(Class::Permanent, "no such image"))
    });
    let runner = world.start().await;
    let id = world.enqueue(&job).await;
    let run = world.ended(id, STEP).await;
    runner.drain().await;
    assert_eq!((run.state.word(), run.attempt), ("succeeded", 1));
    let items = items_of(&world, id).await;
    let failed: Vec<_> = items.iter().filter(|item| item.state == ItemState::Failed).map(|item| item.position).collect();
    assert_eq!(failed, [4, 5, 18, 19], "what its guest had not done of the chunk");
    assert_eq!(items[4].message.as_deref(), Some("no such image"));
}

#[tokio::test]
async fn a_chunk_that_never_ends_well_is_given_up_after_its_attempts() {
    let world = World::new().await;
    let job = world.job("gather", json!({"items": {"parallel": 2, "chunk": 2}, "retry": {"attempts": 3}})).await;
    gather(&world, 4, |name| (name != "item-00").then(|| transient("no answer")));
    let runner = world.start().await;
    let id = world.enqueue(&job).await;
    let run = world.ended(id, STEP).await;
    runner.drain().await;
    assert_eq!(reason(&run.state), Some(Reason::ItemsFailed));
    assert_eq!(counts(&world, id).await, ItemCounts { done: 1, failed: 3, ..ItemCounts::default() });
    assert!(items_of(&world, id).await[1..].iter().all(|item| item.deliveries == 3));
}

#[tokio::test]
async fn a_finisher_that_fails_is_tried_again_and_the_items_are_not() {
    let world = World::new().await;
    let job = world.job("gather", json!({})).await;
    gather(&world, 3, |_| None);
    let told = finishing(&world, 2);
    let runner = world.start().await;
    let id = world.enqueue(&job).await;
    let run = world.ended(id, STEP).await;
    runner.drain().await;
    assert_eq!((run.state.word(), run.attempt, run.message.as_deref()), ("succeeded", 3, Some("3 results")));
    assert_eq!(world.guests.attempts("gather"), 1, "its `run` is called once");
    assert_eq!(told.lock().unwrap().len(), 3);
}

/// As long as it waits its items are nobody else's, however long that is.
#[tokio::test]
async fn a_chunk_that_waits_for_memory_keeps_its_items() {
    let world = World::new().await;
    let job = world.job("gather", json!({"items": {"parallel": 2, "chunk": 2}})).await;
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    world.guests.script("gather", move |work| {
        let (items, gate) = (Items::of(work), held.clone());
        async move {
            items.declare(&named(4)).await;
            while let Some(name) = items.next(1).await.pop() {
                gate.acquire().await.unwrap().forget();
                items.done(&name).await;
            }
            well(None)
        }
    });
    let context = world.context_with(|settings| settings.worker.memory_budget = Some(Size::mib(100)));
    let runner = Runner::start(context.clone()).await.unwrap();
    let id = world.enqueue(&job).await;
    world.until("both chunks are taken", STEP, async || (counts(&world, id).await.running == 4).then_some(())).await;
    assert!(context.memory.try_take(64).is_none(), "one of them runs, for the other there is no memory");
    let attempts = world.guests.attempts("gather");
    // Longer than a delivery lasts: what is held is renewed meanwhile.
    for _ in 0..DELIVERY.as_secs() * 7 {
        world.clock.advance(STEP);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((counts(&world, id).await.running, world.guests.attempts("gather")), (4, attempts));
    gate.add_permits(4);
    assert_eq!(world.ended(id, STEP).await.state.word(), "succeeded");
    runner.drain().await;
    let items = items_of(&world, id).await;
    assert!(items.iter().all(|item| (item.state, item.deliveries) == (ItemState::Done, 1)), "{items:?}");
}

#[tokio::test]
async fn cancelling_stops_all_chunks() {
    let world = World::new().await;
    let job = world.job("gather", json!({"items": {"parallel": 2, "chunk": 2}})).await;
    world.guests.script("gather", |work| {
        let (items, stop) = (Items::of(work), work.stop.clone());
        async move {
            items.declare(&named(6)).await;
            while !items.next(1).await.is_empty() {
                while !stop.asked.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            well(None)
        }
    });
    let runner = world.start().await;
    let id = world.enqueue(&job).await;
    world.until("two chunks are taken", STEP, async || (counts(&world, id).await.running == 4).then_some(())).await;
    let mut tx = world.store.begin().await.unwrap();
    tx.cancel(job.tenant, id, "ann", world.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(world.ended(id, STEP).await.state.word(), "cancelled");
    assert_eq!(counts(&world, id).await, ItemCounts { skipped: 6, ..ItemCounts::default() });
    // The guests hear of it: draining waits for them.
    let clock = world.clock.clone();
    let ticking = tokio::spawn(async move {
        loop {
            clock.advance(SECOND);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    runner.drain().await;
    ticking.abort();
}

/// Chunk by chunk in a real sandbox, with the SDK's `each`; then its `finish`.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_guest_works_on_chunks_and_finishes() {
    let world = World::new().await;
    let input = json!({"names": named(7), "broken": "item-03"});
    let id = with_a_real_guest(&world, guests::gather(), json!({"items": {"parallel": 2, "chunk": 3}}), input).await;
    let run = world.run(id).await;
    assert_eq!((run.state.word(), run.message.as_deref()), ("succeeded", Some("6 done, 1 failed, 0 skipped in all")));
    let items = items_of(&world, id).await;
    assert_eq!((items[3].message.as_deref(), items[6].message.as_deref()), (Some("is broken"), Some("7 letters")));
    let output = world.store.read().await.unwrap().payload(world.tenant.id, id).await.unwrap().output;
    assert_eq!(output.as_deref(), Some("{\"done\":6}"));
    assert!(log_of(&world, id).await.contains("3 done, 0 failed here"));
}
