//! Items of runs: guests that follow a script ask for them over the port that real ones have.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use windlass::clock::Clock;
use windlass::domain::attempt::{Class, Outcome};
use windlass::domain::item::{Answer, Ask, Ending, Item, ItemCounts, ItemState, NewItem};
use windlass::domain::run::{Reason, Run};
use windlass::id::Id;
use windlass::plugin::{Call, ItemsPort, Refusal, Work};
use windlass::store::item::Asked;
use windlass::store::item_list::ItemQuery;

use super::reason;
use crate::database::Beside;
use crate::world::{TEN, World, well};

const SECOND: Duration = Duration::from_secs(1);

/// The `items` interface, as a script calls it.
#[derive(Clone)]
pub struct Items(ItemsPort);

impl Items {
    pub fn of(work: &Work) -> Self {
        Self(work.items.clone().unwrap())
    }

    pub async fn ask(&self, ask: Ask) -> Result<Answer, Refusal> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.0.send(Call { ask, answer }).await.unwrap();
        answered.await.unwrap()
    }

    /// How many are open.
    pub async fn declare(&self, names: &[String]) -> u64 {
        let items = names.iter().map(|name| NewItem { name: name.clone(), input: "1".into() }).collect();
        match self.ask(Ask::Declare(items)).await.unwrap() {
            Answer::Count(open) => open,
            other => panic!("{other:?}"),
        }
    }

    pub async fn next(&self, max: u32) -> Vec<String> {
        match self.ask(Ask::Next(max)).await.unwrap() {
            Answer::Items(items) => items.into_iter().map(|item| item.name).collect(),
            other => panic!("{other:?}"),
        }
    }

    pub async fn finish(&self, name: &str, state: ItemState, message: &str) -> Result<u64, Refusal> {
        let output = (state == ItemState::Done).then(|| format!("{name:?}"));
        let ending = Ending { name: name.into(), state, message: message.into(), output };
        match self.ask(Ask::Finish(vec![ending])).await? {
            Answer::Count(ended) => Ok(ended),
            other => panic!("{other:?}"),
        }
    }

    pub async fn done(&self, name: &str) {
        assert_eq!(self.finish(name, ItemState::Done, "").await.unwrap(), 1, "{name}");
    }
}

pub fn named(n: usize) -> Vec<String> {
    (0..n).map(|at| format!("item-{at:02}")).collect()
}

pub async fn counts(world: &World, run: Id) -> ItemCounts {
    let tenant = world.tenant.id;
    world.store.read().await.unwrap().item_counts(&[(tenant, run)]).await.unwrap().remove(&run).unwrap_or_default()
}

pub async fn items_of(world: &World, run: Id) -> Vec<Item> {
    let query = ItemQuery { limit: 1_000, ..ItemQuery::default() };
    world.store.read().await.unwrap().items_of(world.tenant.id, run, query).await.unwrap()
}

pub async fn log_of(world: &World, run: Id) -> String {
    let (lines, _) = world.store.read().await.unwrap().log_of(world.tenant.id, run, 0, 0).await.unwrap();
    lines.into_iter().map(|line| line.line.message + "\n").collect()
}

/// A guest with so many items that does `ends` with each it is handed, in this order; `None` leaves it open.
pub fn guest(world: &World, job: &str, n: usize, ends: impl Fn(usize) -> Option<ItemState> + Clone + Send + Sync + 'static) {
    world.guests.script(job, move |work| {
        let (items, ends) = (Items::of(work), ends.clone());
        async move {
            items.declare(&named(n)).await;
            loop {
                let next = items.next(5).await;
                if next.is_empty() {
                    return well(None);
                }
                for name in next {
                    let at = name[5..].parse().unwrap();
                    if let Some(state) = ends(at) {
                        items.finish(&name, state, "as told").await.unwrap();
                    }
                }
            }
        }
    });
}

pub async fn ended(world: &World, job: &str, spec: serde_json::Value) -> Run {
    let job = world.job(job, spec).await;
    let runner = world.start().await;
    let id = world.enqueue(&job).await;
    let run = world.ended(id, SECOND).await;
    runner.drain().await;
    run
}

#[tokio::test]
async fn a1_seventeen_of_twenty_are_kept_and_three_lost_are_failed() {
    let world = World::new().await;
    guest(&world, "j", 20, |at| (at < 17).then_some(ItemState::Done));
    let run = ended(&world, "j", json!({"retry": {"attempts": 2}})).await;
    assert_eq!((run.state.word(), run.attempt), ("succeeded", 2));
    assert_eq!(counts(&world, run.id).await, ItemCounts { done: 17, failed: 3, ..ItemCounts::default() });
    let items = items_of(&world, run.id).await;
    assert!(items[..17].iter().all(|item| item.output == Some(format!("{:?}", item.name)) && item.deliveries == 1));
    let lost = items[19].message.as_deref().unwrap();
    assert!(lost.starts_with("lost: it ended with 3 of 20 items still open") && items[19].deliveries == 2, "{:?}", items[19]);
    assert_eq!(run.message.as_deref(), Some("lost 3 of 20 items: item-17, item-18, item-19"));
    assert_eq!(run.counts.map(|counts| (counts.taken, counts.done, counts.failed, counts.left)), Some((20, 17, 3, None)));
}

#[tokio::test]
async fn a2_half_of_the_items_may_fail_and_one_more_is_the_runs_death() {
    for (failed, word) in [(10, "succeeded"), (11, "dead")] {
        let world = World::new().await;
        guest(&world, "j", 20, move |at| Some(if at < failed { ItemState::Failed } else { ItemState::Done }));
        let run = ended(&world, "j", json!({})).await;
        assert_eq!((run.state.word(), run.attempt), (word, 1), "a failed item is not tried again by itself");
        assert_eq!(counts(&world, run.id).await.failed, failed as u64);
        if word == "dead" {
            assert_eq!(reason(&run.state), Some(Reason::ItemsFailed));
            let message = run.message.unwrap();
            assert!(
                message.starts_with("11 of 20 items failed: item-00, ") && message.ends_with("item-09 … and 1 more"),
                "{message}"
            );
        }
    }
}

#[tokio::test]
async fn a6_ten_of_the_lost_are_shown_and_all_are_in_the_log() {
    let world = World::new().await;
    guest(&world, "j", 40, |at| (at < 15).then_some(ItemState::Done));
    let run = ended(&world, "j", json!({"retry": {"attempts": 1}})).await;
    assert_eq!((reason(&run.state), run.counts.unwrap().failed), (Some(Reason::ItemsFailed), 25));
    let message = run.message.unwrap();
    assert!(message.starts_with("lost 25 of 40 items: item-15, item-16"), "{message}");
    assert!(message.ends_with("item-24 … and 15 more") && !message.contains("item-39"), "{message}");
    assert!(log_of(&world, run.id).await.contains("item-38, item-39"));
}

#[tokio::test]
async fn a7_a_result_counts_once_however_often_it_is_reported() {
    let world = World::new().await;
    let job = world.job("j", json!({})).await;
    let kept: Arc<Mutex<Option<Items>>> = Arc::default();
    let keep = kept.clone();
    world.guests.script("j", move |work| {
        let items = Items::of(work);
        *keep.lock().unwrap() = Some(items.clone());
        async move {
            items.declare(&named(2)).await;
            items.next(2).await;
            items.done("item-00").await;
            for state in [ItemState::Done, ItemState::Failed, ItemState::Skipped] {
                assert_eq!(items.finish("item-00", state, "again").await.unwrap(), 0, "it has ended");
            }
            items.done("item-01").await;
            assert_eq!(items.finish("item-99", ItemState::Done, "").await.unwrap_err().code, "not-declared");
            well(None)
        }
    });
    let runner = world.start().await;
    let id = world.enqueue(&job).await;
    let run = world.ended(id, SECOND).await;
    runner.drain().await;
    assert_eq!(run.state.word(), "succeeded");
    let before = (items_of(&world, id).await, run);
    // Under the lease that was: the run's end has taken it away.
    for ask in [
        Ask::Finish(vec![Ending { name: "item-00".into(), state: ItemState::Failed, message: String::new(), output: None }]),
        Ask::Declare(vec![NewItem { name: "more".into(), input: String::new() }]),
        Ask::Next(1),
    ] {
        let mut tx = world.store.begin().await.unwrap();
        let asked = Asked { tenant: job.tenant, run: id, fence: 1, attempt: 1, strict: false, most: 10_000, ask };
        let told = tx.items(&[asked], TEN).await.unwrap().remove(0);
        tx.commit().await.unwrap();
        assert_eq!(told.unwrap_err().code, "late");
    }
    assert_eq!(before, (items_of(&world, id).await, world.run(id).await));
}

#[tokio::test]
async fn a9_what_was_saved_before_the_process_died_is_not_done_again() {
    let mut world = World::new().await;
    let job = world.job("j", json!({})).await;
    let id = world.enqueue(&job).await;
    let claimed = world.claim(job.id, 1).await.remove(0);
    let mut tx = world.store.begin().await.unwrap();
    let ask = |ask| Asked { tenant: job.tenant, run: id, fence: claimed.run.fence, attempt: 1, strict: false, most: 10_000, ask };
    let all = named(3).into_iter().map(|name| NewItem { name, input: String::new() }).collect();
    tx.items(&[ask(Ask::Declare(all))], TEN).await.unwrap()[0].clone().unwrap();
    tx.items(&[ask(Ask::Next(2))], TEN).await.unwrap()[0].clone().unwrap();
    let saved = Ending { name: "item-00".into(), state: ItemState::Done, message: String::new(), output: None };
    tx.items(&[ask(Ask::Finish(vec![saved]))], TEN).await.unwrap()[0].clone().unwrap();
    tx.commit().await.unwrap();
    assert_eq!(counts(&world, id).await, ItemCounts { done: 1, running: 1, pending: 1, ..ItemCounts::default() });

    world = world.reopened().await;
    let handed: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = handed.clone();
    world.guests.script("j", move |work| {
        let (items, noted) = (Items::of(work), noted.clone());
        async move {
            assert_eq!(items.declare(&named(3)).await, 2, "known ones are left as they are");
            let next = items.next(10).await;
            for name in &next {
                items.done(name).await;
            }
            *noted.lock().unwrap() = next;
            well(None)
        }
    });
    let runner = world.start().await;
    let run = world.ended(id, SECOND).await;
    runner.drain().await;
    assert_eq!((run.state.word(), run.lost, run.failed), ("succeeded", 1, 0));
    assert_eq!(*handed.lock().unwrap(), ["item-01", "item-02"]);
    assert_eq!(counts(&world, id).await, ItemCounts { done: 3, ..ItemCounts::default() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a10_a_moment_without_the_store_costs_nothing_and_lost_state_fails_at_once() {
    let world = World::new().await;
    let (job, gone) = (world.job("j", json!({})).await, world.job("gone", json!({})).await);
    let database = world.store.database().clone();
    world.guests.script("j", move |work| {
        let (items, database) = (Items::of(work), database.clone());
        async move {
            items.declare(&named(20)).await;
            let mut other = Beside::open(&database).await;
            other.hold("item").await;
            let reports = async {
                for name in items.next(20).await {
                    items.done(&name).await;
                }
            };
            let outage = async {
                tokio::time::sleep(SECOND).await;
                other.let_go().await;
            };
            tokio::join!(reports, outage);
            well(None)
        }
    });
    let database = world.store.database().clone();
    world.guests.script("gone", move |work| {
        let (items, database, run) = (Items::of(work), database.clone(), work.run.0);
        async move {
            items.declare(&named(2)).await;
            items.next(2).await;
            let mut other = Beside::open(&database).await;
            other.exec(format!("DELETE FROM item WHERE run = {run} AND name = 'item-01'")).await;
            let refused = items.finish("item-01", ItemState::Done, "").await.unwrap_err();
            Outcome::failed(Class::Permanent, format!("{} ({})", refused.message, refused.code))
        }
    });
    let runner = world.start().await;
    let (well, lost) = (world.enqueue(&job).await, world.enqueue(&gone).await);
    let (well, lost) = (world.ended(well, Duration::ZERO).await, world.ended(lost, Duration::ZERO).await);
    runner.drain().await;
    assert_eq!((well.state.word(), well.attempt, counts(&world, well.id).await.done), ("succeeded", 1, 20));
    assert_eq!((reason(&lost.state), lost.attempt), (Some(Reason::Permanent), 1));
    let message = lost.message.unwrap();
    assert!(message.starts_with("there is no item \"item-01\": declare it first (not-declared)"), "{message}");
}

#[tokio::test]
async fn a11_nothing_to_do_is_done_at_once() {
    let world = World::new().await;
    guest(&world, "j", 0, |_| None);
    let run = ended(&world, "j", json!({})).await;
    assert_eq!((run.state.word(), run.attempt), ("succeeded", 1));
}

#[tokio::test]
async fn a_cancelled_run_leaves_no_item_open() {
    let world = World::new().await;
    let job = world.job("j", json!({})).await;
    world.guests.script("j", |work| {
        let (items, stop) = (Items::of(work), work.stop.clone());
        async move {
            items.declare(&named(3)).await;
            items.next(1).await;
            items.done("item-00").await;
            while !stop.asked.load(std::sync::atomic::Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            well(None)
        }
    });
    let runner = world.start().await;
    let id = world.enqueue(&job).await;
    world.until("one is done", Duration::ZERO, async || (counts(&world, id).await.done == 1).then_some(())).await;
    let mut tx = world.store.begin().await.unwrap();
    tx.cancel(job.tenant, id, "ann", world.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    let run = world.ended(id, SECOND).await;
    runner.drain().await;
    assert_eq!(run.state.word(), "cancelled");
    assert_eq!(counts(&world, id).await, ItemCounts { done: 1, skipped: 2, ..ItemCounts::default() });
}

#[tokio::test]
async fn many_runs_ask_at_a_time_and_each_gets_its_own() {
    let world = World::new().await;
    let job = world.job("j", json!({"max_live": 0})).await;
    guest(&world, "j", 30, |at| Some(if at % 3 == 0 { ItemState::Failed } else { ItemState::Done }));
    let runner = world.start().await;
    let mut runs = Vec::new();
    for _ in 0..40 {
        runs.push(world.enqueue(&job).await);
    }
    for run in runs {
        assert_eq!(world.ended(run, Duration::ZERO).await.state.word(), "succeeded");
        assert_eq!(counts(&world, run).await, ItemCounts { done: 20, failed: 10, ..ItemCounts::default() });
    }
    runner.drain().await;
}
