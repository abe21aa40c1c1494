//! Items that programs outside work on. The guest declares them; workers take, renew and end them.

use std::time::Duration;

use serde_json::json;
use windlass::clock::Clock;
use windlass::domain::item::{DELIVERY, Ending, Item, ItemCounts, ItemState, presence};
use windlass::domain::job::Job;
use windlass::domain::run::{Reason, State};
use windlass::id::Id;
use windlass::runner::Runner;
use windlass::runner::reconciler::{Round, reconcile};
use windlass::store::outside::Reported;

use super::items::{Items, counts, items_of, log_of, named};
use super::reason;
use crate::database::Beside;
use crate::world::{World, well};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A job whose guest declares so many items and leaves them to others; its run, once it is theirs.
async fn outside(world: &World, name: &str, n: usize, mut spec: serde_json::Value) -> (Job, Id) {
    spec["items"] = json!({"outside": true});
    let job = world.job(name, spec).await;
    world.guests.script(name, move |work| {
        let items = Items::of(work);
        async move {
            items.declare(&named(n)).await;
            well(None)
        }
    });
    let runner = world.start().await;
    let id = world.enqueue(&job).await;
    let theirs = async || {
        let run = world.run(id).await;
        (run.state.is_final() || matches!(run.state, State::Running { node: 0, .. })).then_some(())
    };
    world.until("it is outside", Duration::ZERO, theirs).await;
    runner.drain().await;
    (job, id)
}

async fn take(world: &World, job: &Job, worker: &str, max: u32) -> Vec<Item> {
    let mut tx = world.store.begin().await.unwrap();
    let taken = tx.claim_items((job.tenant, job.id), worker, max, DELIVERY, world.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    taken
}

async fn end(world: &World, job: &Job, worker: &str, run: Id, names: &[&str], state: ItemState) -> Vec<Reported> {
    let ends: Vec<_> = names
        .iter()
        .map(|name| (run, Ending { name: (*name).into(), state, message: format!("by {worker}"), output: None }))
        .collect();
    let mut tx = world.store.begin().await.unwrap();
    let told = tx.end_items((job.tenant, job.id), worker, &ends, world.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    told
}

async fn round(world: &World) -> Round {
    reconcile(&world.context()).await.unwrap()
}

fn names(items: &[Item]) -> Vec<&str> {
    items.iter().map(|item| item.name.as_str()).collect()
}

#[tokio::test]
async fn a1_what_cannot_be_delivered_is_failed_and_the_rest_is_kept() {
    let world = World::new().await;
    let (job, run) = outside(&world, "j", 20, json!({})).await;
    let taken = take(&world, &job, "gpu-1", 100).await;
    let good = names(&taken)[..17].to_vec();
    assert_eq!(end(&world, &job, "gpu-1", run, &good, ItemState::Done).await, [Reported::Recorded; 17]);
    assert_eq!(round(&world).await, Round::default(), "the lease stands still");
    world.clock.advance(DELIVERY);
    assert_eq!(round(&world).await, Round { again: 3, ..Round::default() });
    let again = take(&world, &job, "gpu-2", 100).await;
    assert_eq!(again.iter().map(|item| item.deliveries).collect::<Vec<_>>(), [2, 2, 2]);
    world.clock.advance(DELIVERY);
    // One round: the last delivery has lapsed, so nothing is open any more, so the run is over.
    assert_eq!(round(&world).await, Round { lost: 3, ended: 1, ..Round::default() });
    let ended = world.run(run).await;
    assert_eq!((ended.state.word(), ended.attempt), ("succeeded", 1));
    assert_eq!(counts(&world, run).await, ItemCounts { done: 17, failed: 3, ..ItemCounts::default() });
    let lost = items_of(&world, run).await.remove(19);
    assert_eq!(lost.message.as_deref(), Some("lost: handed out 2 times, and no worker told what became of it"));
}

#[tokio::test]
async fn a2_two_of_twenty_are_too_few() {
    let world = World::new().await;
    let (job, run) = outside(&world, "j", 20, json!({"stall_limit": "10m"})).await;
    take(&world, &job, "w", 2).await;
    end(&world, &job, "w", run, &["item-00", "item-01"], ItemState::Done).await;
    world.clock.advance(9 * MINUTE);
    assert_eq!(round(&world).await, Round::default());
    world.clock.advance(MINUTE);
    assert_eq!(round(&world).await, Round { ended: 1, ..Round::default() });
    let ended = world.run(run).await;
    assert_eq!(reason(&ended.state), Some(Reason::ItemsFailed));
    assert!(ended.message.as_deref().unwrap().starts_with("lost 18 of 20 items: item-02, item-03"), "{ended:?}");
    assert_eq!(counts(&world, run).await, ItemCounts { done: 2, failed: 18, ..ItemCounts::default() });
    assert!(log_of(&world, run).await.contains("item-18, item-19"));
}

#[tokio::test]
async fn a4_while_results_come_nothing_is_given_up() {
    let world = World::new().await;
    let (job, run) = outside(&world, "j", 5, json!({"stall_limit": "10m"})).await;
    for name in ["item-00", "item-01", "item-02", "item-03"] {
        world.clock.advance(9 * MINUTE);
        end(&world, &job, "w", run, &[name], ItemState::Done).await;
        assert_eq!(round(&world).await, Round::default(), "{name}: there was a result within ten minutes");
    }
    assert_eq!(counts(&world, run).await.open(), 1);
}

#[tokio::test]
async fn a5_a_result_that_overtakes_the_reconciler_stands() {
    let world = World::new().await;
    let (job, run) = outside(&world, "j", 2, json!({})).await;
    take(&world, &job, "slow", 2).await;
    world.clock.advance(DELIVERY);
    let chosen = world.store.read().await.unwrap().lapsed_items(world.clock.now()).await.unwrap();
    assert_eq!(chosen.len(), 2);
    assert_eq!(end(&world, &job, "slow", run, &["item-00"], ItemState::Done).await, [Reported::Recorded]);
    let before = items_of(&world, run).await.remove(0);
    let judged: Vec<_> = chosen.into_iter().map(|lapsed| (lapsed, 1)).collect();
    let mut tx = world.store.begin().await.unwrap();
    assert_eq!(tx.take_back(&judged, world.clock.now()).await.unwrap(), (0, 1), "the other one alone");
    tx.commit().await.unwrap();
    assert_eq!(items_of(&world, run).await.remove(0), before);
}

#[tokio::test]
async fn a7_late_repeated_and_raced_results_change_nothing() {
    let world = World::new().await;
    let (job, run) = outside(&world, "j", 3, json!({})).await;
    take(&world, &job, "one", 1).await;
    world.clock.advance(DELIVERY);
    round(&world).await;
    assert_eq!(names(&take(&world, &job, "two", 3).await), ["item-00", "item-01", "item-02"]);
    assert_eq!(end(&world, &job, "one", run, &["item-00"], ItemState::Failed).await, [Reported::Late], "it is another's now");
    assert_eq!(end(&world, &job, "one", run, &["item-00"], ItemState::Done).await, [Reported::Recorded], "done is done");
    for _ in 0..3 {
        let told = end(&world, &job, "two", run, &["item-00", "item-01", "item-01"], ItemState::Failed).await;
        assert_eq!(told[0], Reported::Late);
    }
    end(&world, &job, "two", run, &["item-02"], ItemState::Failed).await;
    assert_eq!(round(&world).await.ended, 1);
    let (ended, items) = (world.run(run).await, items_of(&world, run).await);
    assert_eq!((reason(&ended.state), ended.counts.unwrap().failed), (Some(Reason::ItemsFailed), 2));
    for state in [ItemState::Done, ItemState::Failed] {
        let told = end(&world, &job, "two", run, &["item-00", "item-01", "item-02", "no-such"], state).await;
        assert_eq!(told, [Reported::Late; 4]);
    }
    assert_eq!((ended, items), (world.run(run).await, items_of(&world, run).await));
    assert_eq!(round(&world).await, Round::default());
}

#[tokio::test]
async fn a8_what_can_end_well_is_not_stopped_and_one_broken_run_stops_nothing() {
    let world = World::new().await;
    let limits = json!({"stall_limit": "10m", "total_limit": "1h"});
    let (good, well) = outside(&world, "good", 2, limits.clone()).await;
    let (_, broken) = outside(&world, "broken", 2, limits.clone()).await;
    let (_, stale) = outside(&world, "stale", 2, limits).await;
    // Far beyond all limits, but nothing is open any more.
    end(&world, &good, "w", well, &["item-00", "item-01"], ItemState::Done).await;
    world.clock.advance(120 * MINUTE);
    let revision = world.run(broken).await.revision;
    let spoil = format!("UPDATE job_revision SET spec = '{{' WHERE id = {}", revision.0);
    Beside::open(world.store.database()).await.exec(spoil).await;
    assert_eq!(round(&world).await, Round { ended: 2, unfixable: 1, ..Round::default() });
    assert_eq!(world.run(well).await.state.word(), "succeeded");
    assert_eq!(reason(&world.run(stale).await.state), Some(Reason::ItemsFailed));
    assert_eq!(world.run(broken).await.state.word(), "running");
}

#[tokio::test]
async fn a9_a_worker_that_died_before_it_told_gets_its_item_done_by_another() {
    let world = World::new().await;
    let (job, run) = outside(&world, "j", 4, json!({})).await;
    assert_eq!(names(&take(&world, &job, "dies", 2).await), ["item-00", "item-01"]);
    end(&world, &job, "dies", run, &["item-00"], ItemState::Done).await;
    assert_eq!(names(&take(&world, &job, "lives", 9).await), ["item-02", "item-03"], "each has its own");
    world.clock.advance(DELIVERY - SECOND);
    let mut tx = world.store.begin().await.unwrap();
    assert_eq!(tx.renew_items((job.tenant, job.id), "lives", DELIVERY, world.clock.now()).await.unwrap(), 2);
    tx.commit().await.unwrap();
    world.clock.advance(SECOND);
    assert_eq!(round(&world).await.again, 1, "who asks for more time keeps what it has");
    assert_eq!(names(&take(&world, &job, "lives", 9).await), ["item-01"]);
    end(&world, &job, "lives", run, &["item-01", "item-02", "item-03"], ItemState::Done).await;
    assert_eq!(round(&world).await.ended, 1);
    assert_eq!(counts(&world, run).await, ItemCounts { done: 4, ..ItemCounts::default() });
}

#[tokio::test]
async fn a11_no_item_to_hand_out_is_success_at_once() {
    let world = World::new().await;
    let (_, run) = outside(&world, "j", 0, json!({})).await;
    assert_eq!(world.run(run).await.state.word(), "succeeded");
}

#[tokio::test]
async fn a12_a_cancel_ends_the_run_and_late_results_do_not_revive_it() {
    let world = World::new().await;
    let (job, run) = outside(&world, "j", 3, json!({})).await;
    take(&world, &job, "w", 2).await;
    end(&world, &job, "w", run, &["item-00"], ItemState::Done).await;
    let mut tx = world.store.begin().await.unwrap();
    tx.cancel(job.tenant, run, "ann", world.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(world.run(run).await.page_state(), "stopping");
    assert!(take(&world, &job, "w", 9).await.is_empty(), "nothing more is handed out");
    let asked = world.clock.now();
    let runner = world.start().await;
    let ended = world.ended(run, SECOND).await;
    let State::Cancelled { ended_at, .. } = ended.state else { panic!("{ended:?}") };
    assert!(ended_at.since(asked) <= 10 * SECOND);
    assert_eq!(end(&world, &job, "w", run, &["item-01"], ItemState::Done).await, [Reported::Late]);
    assert_eq!(counts(&world, run).await, ItemCounts { done: 1, skipped: 2, ..ItemCounts::default() });
    runner.drain().await;
}

#[tokio::test]
async fn a13_it_is_said_how_many_workers_are_there_and_since_when_none_is() {
    let world = World::new().await;
    let (job, _) = outside(&world, "j", 3, json!({})).await;
    let said = async || {
        let workers = world.store.read().await.unwrap().item_workers(job.tenant, job.id).await.unwrap();
        presence(&workers, world.clock.now())
    };
    assert_eq!(said().await, "waiting: no worker has come yet");
    for worker in ["a", "b", "c"] {
        take(&world, &job, worker, 1).await;
    }
    assert_eq!(said().await, "3 of 3 workers online");
    world.clock.advance(61 * MINUTE);
    assert_eq!(said().await, "waiting: 0 of 3 workers online; last seen 1 h 1 min ago");
    take(&world, &job, "b", 1).await;
    assert_eq!(said().await, "1 of 3 workers online");
}

#[tokio::test]
async fn a14_items_that_die_in_the_same_place_show_as_a_pattern() {
    let world = World::new().await;
    for n in 0..3 {
        let (job, run) = outside(&world, "j", 20, json!({})).await;
        let taken = take(&world, &job, "gpu-1", 100).await;
        end(&world, &job, "gpu-1", run, &names(&taken)[..12], ItemState::Done).await;
        end(&world, &job, "gpu-1", run, &names(&taken)[12..], ItemState::Failed).await;
        // Once each, elsewhere: no pattern.
        round(&world).await;
        let patterns = world.store.read().await.unwrap().item_patterns(job.tenant, job.id).await.unwrap();
        if n < 2 {
            assert!(patterns.is_empty(), "{patterns:?}");
            continue;
        }
        let places: Vec<_> = patterns.iter().map(|p| (p.position, p.worker.as_str(), p.runs)).collect();
        assert_eq!(places, (12..20).map(|place| (place, "gpu-1", 3)).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_run_outside_survives_the_restart_of_its_server() {
    let world = World::new().await;
    let (job, run) = outside(&world, "j", 2, json!({})).await;
    take(&world, &job, "w", 1).await;
    let world = world.reopened().await;
    let runner = Runner::start(world.context()).await.unwrap();
    assert_eq!(world.run(run).await.lost, 0, "no node had it, so none was lost");
    take(&world, &job, "w", 9).await;
    end(&world, &job, "w", run, &["item-00", "item-01"], ItemState::Done).await;
    assert_eq!(world.ended(run, SECOND).await.state.word(), "succeeded");
    runner.drain().await;
}

#[tokio::test]
async fn a_run_whose_items_are_handed_out_is_no_dead_nodes() {
    let world = World::new().await;
    let (_, run) = outside(&world, "j", 2, json!({})).await;
    let mut tx = world.store.read().await.unwrap();
    assert!(tx.orphans().await.unwrap().is_empty() && tx.leases().await.unwrap().is_empty());
    drop(tx);
    windlass::runner::reaper::take_back(&world.context()).await.unwrap();
    assert_eq!(world.run(run).await.state.word(), "running");
}

#[tokio::test]
async fn many_runs_that_are_run_again_at_a_time_keep_what_was_done_of_each() {
    let world = World::new().await;
    let (job, first) = outside(&world, "j", 3, json!({"max_live": 0})).await;
    let (_, second) = outside(&world, "other", 3, json!({})).await;
    end(&world, &job, "w", first, &["item-00"], ItemState::Done).await;
    for run in [first, second] {
        let mut tx = world.store.begin().await.unwrap();
        tx.cancel(job.tenant, run, "ann", world.clock.now()).await.unwrap();
        tx.commit().await.unwrap();
    }
    assert_eq!(round(&world).await.ended, 2);
    let mut tx = world.store.begin().await.unwrap();
    let over = tx.over(&[(job.tenant, first), (job.tenant, second)]).await.unwrap();
    let again = tx.rerun(&over, None, "ann", world.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    let new: Vec<Id> = again.into_iter().map(|answer| answer.unwrap().id()).collect();
    assert_eq!(counts(&world, new[0]).await, ItemCounts { done: 1, pending: 2, ..ItemCounts::default() });
    assert_eq!(counts(&world, new[1]).await, ItemCounts { pending: 3, ..ItemCounts::default() });
}
