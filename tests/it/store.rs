//! The store, on a real file.

use std::time::Duration;

use serde_json::json;
use windlass::clock::Clock;
use windlass::domain::retry::{Budget, Decision};
use windlass::domain::run::{Enqueued, Final, Idempotency, NewRun, Reason, StateFilter};
use windlass::error::Error;
use windlass::id::Id;
use windlass::store::Database;
use windlass::store::cancel::Cancelled;
use windlass::store::claim::Claimed;
use windlass::store::dead::DeadQuery;
use windlass::store::prune::Cut;
use windlass::store::record::{Finished, Recorded};
use windlass::store::run::RunQuery;

use crate::world::{TEN, World, new_run};

async fn claim(world: &World, job: Id, n: u32) -> Vec<Claimed> {
    world.claim(job, n).await
}

fn finished(claimed: &Claimed, decision: Decision) -> Finished {
    Finished::new(claimed.run.clone(), decision, "succeeded", "done")
}

fn dead(claimed: &Claimed, print: i64) -> Finished {
    Finished {
        outcome: "permanent",
        print: Some(print),
        message: "400 bad".into(),
        ..finished(claimed, Decision::End(Final::Dead(Reason::Permanent)))
    }
}

/// PostgreSQL's text cannot hold one; what a target answered must not make an end impossible to record.
#[tokio::test]
async fn a_nul_in_a_message_keeps_no_end_from_being_recorded() {
    let world = World::new().await;
    let job = world.job("j", json!({})).await;
    let id = world.enqueue(&job).await;
    let claimed = claim(&world, job.id, 1).await.remove(0);
    let end = Finished { message: "it said \u{0}!".into(), ..finished(&claimed, Decision::End(Final::Succeeded)) };
    assert_eq!(world.store.record(vec![end]).await.unwrap(), [Recorded::Yes]);
    let message = world.run(id).await.message.unwrap();
    assert!(message.starts_with("it said ") && message.ends_with('!'), "{message:?}");
}

#[tokio::test]
async fn a_run_goes_from_ready_to_done() {
    let world = World::new().await;
    let job = world.job("j", json!({})).await;
    let run = NewRun { input: Some(json!({"n": 1})), ..new_run(&job) };
    let id = world.store.enqueue(vec![run]).await.unwrap().remove(0).unwrap().id();
    assert_eq!(world.run(id).await.state.word(), "waiting");

    let claimed = claim(&world, job.id, 5).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].input.as_deref(), Some(r#"{"n":1}"#));
    assert_eq!((claimed[0].run.attempt, claimed[0].run.fence), (1, 1));
    assert_eq!(world.run(id).await.state.word(), "running");
    assert!(claim(&world, job.id, 5).await.is_empty(), "nobody gets it twice");

    let recorded = world.store.record(vec![finished(&claimed[0], Decision::End(Final::Succeeded))]).await.unwrap();
    assert_eq!(recorded, [Recorded::Yes]);
    let run = world.run(id).await;
    assert_eq!((run.state.word(), run.message.as_deref()), ("succeeded", Some("done")));
    let tally = world.store.read().await.unwrap().tally_since(TEN).await.unwrap()[&(job.tenant, job.id)];
    assert_eq!((tally.enqueued, tally.succeeded, tally.dead), (1, 1, 0));
}

#[tokio::test]
async fn a_late_or_repeated_end_changes_nothing() {
    let world = World::new().await;
    let job = world.job("j", json!({"max_live": 0})).await;
    let (first, second) = (world.enqueue(&job).await, world.enqueue(&job).await);
    let claimed = claim(&world, job.id, 2).await;
    let again = Decision::Again { due_at: TEN, delay: Duration::ZERO, why: "lost".into(), spent: Budget::Lost };
    world.store.record(vec![finished(&claimed[0], again)]).await.unwrap();
    let anew = claim(&world, job.id, 1).await;
    assert_eq!((anew[0].run.id, anew[0].run.fence, anew[0].run.attempt, anew[0].run.lost), (first, 2, 2, 1));

    // The node that lost it speaks up, beside a good end, twice.
    let stale = finished(&claimed[0], Decision::End(Final::Succeeded));
    let good = finished(&claimed[1], Decision::End(Final::Succeeded));
    let recorded = world.store.record(vec![stale.clone(), good.clone(), good]).await.unwrap();
    assert_eq!(recorded, [Recorded::Late, Recorded::Yes, Recorded::Late]);
    assert_eq!(world.run(first).await.state.word(), "running");
    assert_eq!(world.run(second).await.state.word(), "succeeded");
    assert_eq!(world.store.record(vec![stale]).await.unwrap(), [Recorded::Late]);
}

#[tokio::test]
async fn one_live_run_until_it_is_over() {
    let world = World::new().await;
    let job = world.job("j", json!({"max_live": 2})).await;
    let answers = world.store.enqueue(vec![new_run(&job), new_run(&job), new_run(&job)]).await.unwrap();
    let answers: Vec<Enqueued> = answers.into_iter().map(Result::unwrap).collect();
    let first = answers[0].id();
    assert!(matches!(answers[..], [Enqueued::New(_), Enqueued::New(_), Enqueued::Merged(into)] if into == first));
    assert_eq!(world.store.enqueue(vec![new_run(&job)]).await.unwrap().remove(0).unwrap(), Enqueued::Merged(first));

    let claimed = claim(&world, job.id, 1).await;
    world.store.record(vec![finished(&claimed[0], Decision::End(Final::Succeeded))]).await.unwrap();
    assert!(matches!(world.store.enqueue(vec![new_run(&job)]).await.unwrap().remove(0).unwrap(), Enqueued::New(_)));
}

#[tokio::test]
async fn the_same_key_is_the_same_run_for_a_day() {
    let world = World::new().await;
    let job = world.job("j", json!({"max_live": 0})).await;
    let keyed =
        |hash: &str| NewRun { idempotency: Some(Idempotency { key: "k".into(), request_hash: hash.into() }), ..new_run(&job) };
    let first = world.store.enqueue(vec![keyed("a")]).await.unwrap().remove(0).unwrap();
    assert_eq!(world.store.enqueue(vec![keyed("a")]).await.unwrap().remove(0).unwrap(), Enqueued::Repeated(first.id()));
    let mut refused = world.store.enqueue(vec![keyed("b"), new_run(&job)]).await.unwrap();
    assert!(matches!(refused.remove(0), Err(Error::Conflict(_))));
    assert!(matches!(refused.remove(0), Ok(Enqueued::New(_))), "its neighbour is not kept out");
    world.clock.advance(Duration::from_secs(24 * 3600 + 1));
    assert!(matches!(world.store.enqueue(vec![keyed("b")]).await.unwrap().remove(0), Ok(Enqueued::New(_))));
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let world = World::new().await;
    let job = world.job("j", json!({"max_live": 0})).await;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let (store, job) = (world.store.clone(), job.clone());
        callers.spawn(async move { store.enqueue(vec![new_run(&job)]).await.unwrap().remove(0).unwrap().id() });
    }
    let mut ids = callers.join_all().await;
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 64);
    let world = world.reopened().await;
    for id in &ids {
        assert_eq!(world.run(*id).await.state.word(), "waiting");
    }
    assert!(world.enqueue(&job).await > *ids.last().unwrap(), "ids go on growing");
}

/// Ids that run ahead of the clock keep what is over for longer than was asked, and say nothing of time.
#[tokio::test]
async fn many_restarts_do_not_carry_ids_into_the_future() {
    let mut world = World::new().await;
    let job = world.job("j", json!({ "max_live": 0 })).await;
    let mut last = world.enqueue(&job).await;
    for _ in 0..20 {
        world.clock.advance(Duration::from_secs(1));
        world = world.reopened().await;
        let next = world.enqueue(&job).await;
        assert!(next > last);
        last = next;
    }
    assert_eq!(last.created_at(), world.clock.now());
    // What has ended is known too, when the clock was set back.
    while let Some(claimed) = claim(&world, job.id, 1).await.pop() {
        world.store.record(vec![finished(&claimed, Decision::End(Final::Succeeded))]).await.unwrap();
    }
    world.clock.step(-10_000);
    world = world.reopened().await;
    let next = world.enqueue(&job).await;
    // Nodes that share a database know each other's ids by the node in them.
    assert!(next > last || world.store.is_shared(), "{next} after {last}");
}

#[tokio::test]
async fn what_is_not_committed_has_not_happened() {
    let world = World::new().await;
    let job = world.job("j", json!({})).await;
    let mut tx = world.store.begin().await.unwrap();
    let id = tx.enqueue(&[vec![new_run(&job)]], TEN).await.unwrap().remove(0).remove(0).unwrap().id();
    drop(tx);
    assert!(world.store.read().await.unwrap().run(job.tenant, id).await.unwrap().is_none());
    assert!(
        matches!(world.store.enqueue(vec![new_run(&job)]).await.unwrap().remove(0), Ok(Enqueued::New(_))),
        "the writer goes on"
    );
}

#[tokio::test]
async fn a_waiting_run_is_cancelled_at_once_and_a_running_one_is_asked() {
    let world = World::new().await;
    let job = world.job("j", json!({"max_live": 0})).await;
    let (first, second) = (world.enqueue(&job).await, world.enqueue(&job).await);
    claim(&world, job.id, 1).await;
    let mut tx = world.store.begin().await.unwrap();
    assert_eq!(tx.cancel(job.tenant, second, "ann", TEN).await.unwrap(), Cancelled::Now);
    assert_eq!(tx.cancel(job.tenant, first, "ann", TEN).await.unwrap(), Cancelled::Asked);
    assert!(matches!(tx.cancel(job.tenant, second, "ann", TEN).await, Err(Error::Conflict(_))));
    assert!(matches!(tx.cancel(Id(42), first, "ann", TEN).await, Err(Error::NotFound(_))), "another tenant's run is not there");
    tx.commit().await.unwrap();
    assert_eq!(world.run(second).await.state.word(), "cancelled");
    assert_eq!(world.run(second).await.message.as_deref(), Some("cancelled by ann"));
    assert_eq!(world.run(first).await.page_state(), "stopping");
    assert!(claim(&world, job.id, 5).await.is_empty());
}

#[tokio::test]
async fn failures_are_grouped_and_lists_are_paged() {
    let world = World::new().await;
    let job = world.job("j", json!({"max_live": 0})).await;
    for _ in 0..7 {
        world.enqueue(&job).await;
    }
    let claimed = claim(&world, job.id, 7).await;
    let ends = claimed.iter().enumerate().map(|(n, run)| dead(run, if n < 5 { 1 } else { 2 })).collect();
    world.store.record(ends).await.unwrap();
    let mut tx = world.store.read().await.unwrap();
    let failures = tx.failures(job.tenant, &DeadQuery::default(), TEN).await.unwrap();
    assert_eq!(failures.iter().map(|f| (f.print, f.count)).collect::<Vec<_>>(), [(1, 5), (2, 2)]);
    assert_eq!(failures[0].last.message.as_deref(), Some("400 bad"));
    assert_eq!(tx.state_counts(job.tenant).await.unwrap().dead, 7);

    let page = |before| RunQuery { state: Some(StateFilter::Dead), before, limit: 4, ..RunQuery::default() };
    let first = tx.runs(job.tenant, &page(None)).await.unwrap();
    let second = tx.runs(job.tenant, &page(first.last().map(|run| run.id))).await.unwrap();
    let ids: Vec<Id> = first.iter().chain(&second).map(|run| run.id).collect();
    assert_eq!(ids.len(), 7);
    assert!(ids.windows(2).all(|pair| pair[0] > pair[1]), "newest first, none twice");
    assert!(tx.runs(Id(42), &page(None)).await.unwrap().is_empty());
}

#[tokio::test]
async fn pruning_cuts_what_ended_long_ago_and_nothing_else() {
    let world = World::new().await;
    let job = world.job("j", json!({"max_live": 0})).await;
    let (old, waiting) = (world.enqueue(&job).await, world.enqueue(&job).await);
    let claimed = claim(&world, job.id, 1).await;
    world.store.record(vec![finished(&claimed[0], Decision::End(Final::Succeeded))]).await.unwrap();
    world.clock.advance(Duration::from_secs(8 * 24 * 3600));
    let fresh = world.enqueue(&job).await;
    let cut = world.clock.now().minus(Duration::from_secs(7 * 24 * 3600));
    let cut = Cut { succeeded: cut, dead: cut, logs: cut };
    let mut tx = world.store.begin().await.unwrap();
    let runs = tx.old_runs(job.tenant, &cut).await.unwrap();
    assert_eq!(runs, [old]);
    tx.prune_runs(job.tenant, &runs).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = world.store.read().await.unwrap();
    assert!(tx.run(job.tenant, old).await.unwrap().is_none());
    assert!(tx.run(job.tenant, waiting).await.unwrap().is_some());
    assert!(tx.run(job.tenant, fresh).await.unwrap().is_some());
}

#[tokio::test]
async fn a_revision_goes_when_no_run_can_name_it_any_more() {
    let world = World::new().await;
    let first = world.job("j", json!({})).await;
    let run = world.enqueue(&first).await;
    world.clock.advance(Duration::from_secs(60));
    let second = world.job("j", json!({ "priority": 1 })).await;
    let hours = |n: u64| Duration::from_secs(n * 3600);
    let old = async || world.store.read().await.unwrap().old_revisions(world.clock.now()).await.unwrap();
    world.clock.advance(hours(5));
    assert_eq!(old().await, [], "a waiting run names it");
    let claimed = claim(&world, first.id, 1).await;
    assert_eq!(old().await, [], "a running one does");
    world.store.record(vec![finished(&claimed[0], Decision::End(Final::Succeeded))]).await.unwrap();
    assert_eq!(old().await, [], "history does");
    let mut tx = world.store.begin().await.unwrap();
    tx.prune_runs(first.tenant, &[run]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(old().await, [first.revision]);
    let mut tx = world.store.begin().await.unwrap();
    tx.prune_revisions(&[first.revision]).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = world.store.read().await.unwrap();
    assert_eq!(tx.need_job(first.tenant, "j").await.unwrap().revision, second.revision);
}

#[tokio::test]
async fn a_request_that_goes_away_does_not_close_the_store() {
    let world = World::new().await;
    let job = world.job("j", json!({"max_live": 0})).await;
    for n in 0..300_u64 {
        let store = world.store.clone();
        let asking = tokio::spawn(async move {
            let _tx = store.begin().await;
        });
        if n % 3 > 0 {
            tokio::time::sleep(Duration::from_micros(n * 7 % 400)).await;
        }
        asking.abort();
    }
    assert!(matches!(world.store.enqueue(vec![new_run(&job)]).await.unwrap().remove(0), Ok(Enqueued::New(_))));
}

#[tokio::test]
async fn with_a_job_its_waiting_runs_go_and_its_running_ones_are_asked_to() {
    let world = World::new().await;
    let (job, other) = (world.job("j", json!({"max_live": 0})).await, world.job("other", json!({})).await);
    let (running, ready) = (world.enqueue(&job).await, world.enqueue(&job).await);
    let later = NewRun { due_at: Some(TEN.plus(Duration::from_secs(60))), ..new_run(&job) };
    let later = world.store.enqueue(vec![later]).await.unwrap().remove(0).unwrap().id();
    let kept = world.enqueue(&other).await;
    claim(&world, job.id, 1).await;
    let mut tx = world.store.begin().await.unwrap();
    tx.remove_job(job.tenant, job.id, "ann", TEN).await.unwrap();
    tx.commit().await.unwrap();
    for gone in [ready, later] {
        let run = world.run(gone).await;
        assert_eq!((run.state.word(), run.message.as_deref()), ("cancelled", Some("cancelled by ann")));
    }
    assert_eq!((world.run(running).await.page_state(), world.run(kept).await.page_state()), ("stopping", "waiting"));
    assert!(world.store.read().await.unwrap().job(job.tenant, "j").await.unwrap().is_none());
}

#[tokio::test]
async fn a_cancelled_run_gets_no_other_attempt() {
    let world = World::new().await;
    let job = world.job("j", json!({})).await;
    let id = world.enqueue(&job).await;
    let claimed = claim(&world, job.id, 1).await;
    let mut tx = world.store.begin().await.unwrap();
    tx.cancel(job.tenant, id, "ann", TEN).await.unwrap();
    tx.commit().await.unwrap();
    let again = Decision::Again { due_at: TEN, delay: Duration::ZERO, why: "503".into(), spent: Budget::Failed };
    world.store.record(vec![finished(&claimed[0], again)]).await.unwrap();
    let run = world.run(id).await;
    assert_eq!((run.state.word(), run.message.as_deref()), ("cancelled", Some("cancelled by ann")));
    assert!(
        matches!(world.store.enqueue(vec![new_run(&job)]).await.unwrap().remove(0), Ok(Enqueued::New(_))),
        "its slot is free"
    );
}

#[tokio::test]
async fn a_stopped_server_leaves_one_file_that_is_whole() {
    let world = World::new().await;
    let job = world.job("j", json!({})).await;
    let id = world.enqueue(&job).await;
    world.store.close().await;
    let copy = world.dir.path().join("copy.db");
    let Database::Sqlite(file) = world.store.database() else { return };
    std::fs::copy(file, &copy).unwrap();
    let store = windlass::store::Store::open(Database::Sqlite(copy), std::sync::Arc::new(world.clock.clone())).await.unwrap();
    assert!(store.read().await.unwrap().run(job.tenant, id).await.unwrap().is_some());
}
