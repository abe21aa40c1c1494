//! Two versions of a plugin: a share of the runs takes the new one, what is worse is taken back, and runs keep what they used.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use windlass::domain::attempt::{Class, Outcome};
use windlass::domain::job::Job;
use windlass::domain::rollout::{Rollout, Stage, Tally};
use windlass::id::Id;

use super::items::{Items, log_of, named};
use crate::world::{World, rollout, transient, well};

const SECOND: Duration = Duration::from_secs(1);

async fn begin(world: &World, job: &Job, share: u32, tally: Tally) {
    let rollout = rollout(job, &job.digest, "sha256:new", share, tally);
    let mut tx = world.store.begin().await.unwrap();
    tx.put_rollout(&rollout).await.unwrap();
    tx.commit().await.unwrap();
}

async fn standing(world: &World, job: &Job) -> Rollout {
    world.store.read().await.unwrap().rollout(job.id).await.unwrap().unwrap()
}

/// Digests that the attempts of each run got, in their order.
type Seen = Arc<Mutex<HashMap<Id, Vec<String>>>>;

fn watched(world: &World, job: &str, outcome: impl Fn(&str, u32) -> Outcome + Clone + Send + Sync + 'static) -> Seen {
    let seen = Seen::default();
    let kept = seen.clone();
    world.guests.script(job, move |work| {
        kept.lock().unwrap().entry(work.run).or_default().push(work.digest.clone());
        std::future::ready(outcome(&work.digest, work.attempt))
    });
    seen
}

fn broken() -> Outcome {
    Outcome::Trapped { message: "unreachable".into() }
}

#[tokio::test]
async fn v3_a_version_that_traps_at_its_start_is_rolled_back_after_three_failures() {
    let world = World::new().await;
    let job = world.job("j", json!({"max_live": 0, "retry": {"attempts": 9}})).await;
    begin(&world, &job, 1_000_000, Tally::default()).await;
    let seen = watched(&world, "j", |digest, _| if digest == "sha256:new" { broken() } else { well(None) });
    let runner = world.start().await;
    let first = world.enqueue(&job).await;
    // Tried again and again, it would spend all its attempts; the old version ends it.
    let run = world.ended(first, SECOND).await;
    assert_eq!(run.state.word(), "succeeded");
    assert_eq!(seen.lock().unwrap()[&first], ["sha256:new", "sha256:new", "sha256:new", "sha256:none"]);
    let rollout = standing(&world, &job).await;
    assert_eq!((rollout.stage, rollout.tally.new_failed, rollout.changed_by.as_str()), (Stage::RolledBack, 3, "windlass"));
    assert!(rollout.why.unwrap().contains("3 failures in a row"), "it says why");
    assert!(log_of(&world, first).await.contains("this version of the plugin was rolled back: 3 failures in a row"));
    let next = world.enqueue(&job).await;
    world.ended(next, SECOND).await;
    assert_eq!(seen.lock().unwrap()[&next], ["sha256:none"], "and what comes takes the old one");
    runner.drain().await;
}

#[tokio::test]
async fn where_the_old_version_fails_too_nothing_is_rolled_back() {
    let world = World::new().await;
    let job = world.job("j", json!({"max_live": 0})).await;
    // The old one has failed before the first of the new does.
    let before = Tally { old_failed: 1, ..Tally::default() };
    begin(&world, &job, 500_000, before).await;
    watched(&world, "j", |_, _| Outcome::failed(Class::Permanent, "the target is down"));
    let runner = world.start().await;
    let mut runs = Vec::new();
    for _ in 0..40 {
        runs.push(world.enqueue(&job).await);
    }
    for run in runs {
        world.ended(run, Duration::ZERO).await;
    }
    let tally = world
        .until("all are counted", Duration::ZERO, async || {
            Some(standing(&world, &job).await.tally).filter(|tally| tally.new_failed + tally.old_failed == 41)
        })
        .await;
    assert!(tally.new_failed > 5 && tally.old_failed > 5 && tally.in_a_row == tally.new_failed, "{tally:?}");
    assert_eq!(standing(&world, &job).await.stage, Stage::Running);
    runner.drain().await;
}

#[tokio::test]
async fn v13_a_share_takes_the_new_version_is_paused_and_promoted_and_retries_keep_theirs() {
    let world = World::new().await;
    let job = world.job("j", json!({"max_live": 0})).await;
    // The old one is known to fail as well: whichever runs fail first, the new one is not rolled back.
    begin(&world, &job, 500_000, Tally { old_failed: 1_000, ..Tally::default() }).await;
    // The target is away at first: nobody's fault, and not counted.
    let seen = watched(&world, "j", |_, attempt| match attempt {
        1 => Outcome::failed(Class::Snooze, "read-only"),
        2 => transient("503"),
        _ => well(None),
    });
    let runner = world.start().await;
    let mut runs = Vec::new();
    for _ in 0..30 {
        runs.push(world.enqueue(&job).await);
    }
    for run in &runs {
        world.ended(*run, SECOND).await;
    }
    let kept = seen.lock().unwrap().clone();
    assert!(kept.values().all(|digests| digests.len() == 3 && digests.iter().all(|it| *it == digests[0])), "{kept:?}");
    let new = kept.values().filter(|digests| digests[0] == "sha256:new").count();
    assert!((4..=26).contains(&new), "{new} of 30");
    let mut reader = world.store.read().await.unwrap();
    for (run, digests) in &kept {
        let entered = reader.used_digest(job.tenant, *run).await.unwrap();
        assert_eq!(entered.as_deref().unwrap_or("sha256:none"), digests[0], "what a run used is known afterwards");
    }
    drop(reader);
    for (stage, digest) in [(Stage::Paused, "sha256:none"), (Stage::Promoted, "sha256:new"), (Stage::RolledBack, "sha256:none")] {
        let from = standing(&world, &job).await;
        let mut tx = world.store.begin().await.unwrap();
        tx.move_rollout(&from, &Rollout { stage, ..from.clone() }).await.unwrap();
        tx.commit().await.unwrap();
        let run = world.enqueue(&job).await;
        world.ended(run, SECOND).await;
        assert!(seen.lock().unwrap()[&run].iter().all(|it| it == digest), "{stage:?}");
    }
    runner.drain().await;
}

#[tokio::test]
async fn chunks_of_a_run_take_its_version() {
    let world = World::new().await;
    let job = world.job("j", json!({"items": {"parallel": 2, "chunk": 2}})).await;
    begin(&world, &job, 1_000_000, Tally::default()).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = seen.clone();
    world.guests.script("j", move |work| {
        kept.lock().unwrap().push(work.digest.clone());
        let items = Items::of(work);
        async move {
            items.declare(&named(6)).await;
            while let Some(name) = items.next(1).await.pop() {
                items.done(&name).await;
            }
            well(None)
        }
    });
    let runner = world.start().await;
    let run = world.enqueue(&job).await;
    assert_eq!(world.ended(run, Duration::from_millis(200)).await.state.word(), "succeeded");
    runner.drain().await;
    let seen = seen.lock().unwrap();
    assert!(
        seen.len() >= 4 && seen.iter().all(|digest| digest == "sha256:new"),
        "a call that declares, and three chunks: {seen:?}"
    );
}

#[tokio::test]
async fn chunks_that_fail_take_a_version_back() {
    let world = World::new().await;
    let items = json!({"items": {"parallel": 2, "chunk": 2}, "retry": {"attempts": 9}});
    let job = world.job("j", items).await;
    begin(&world, &job, 1_000_000, Tally::default()).await;
    world.guests.script("j", move |work| {
        let (is_new, items) = (work.digest == "sha256:new", Items::of(work));
        async move {
            items.declare(&named(8)).await;
            while let Some(name) = items.next(1).await.pop() {
                if is_new {
                    return broken();
                }
                items.done(&name).await;
            }
            well(None)
        }
    });
    let runner = world.start().await;
    let run = world.enqueue(&job).await;
    assert_eq!(world.ended(run, Duration::from_millis(200)).await.state.word(), "succeeded", "the old version ends it");
    let rollout = standing(&world, &job).await;
    assert_eq!((rollout.stage, rollout.changed_by.as_str()), (Stage::RolledBack, "windlass"));
    assert!(rollout.tally.new_failed >= 3, "{:?}", rollout.tally);
    assert!(log_of(&world, run).await.contains("this version of the plugin was rolled back: 3 failures in a row"));
    runner.drain().await;
}
