//! Items in a strict order: the steps of a deployment.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use windlass::clock::{Clock, SystemClock};
use windlass::config::Settings;
use windlass::domain::attempt::{Class, Outcome};
use windlass::domain::item::{Ask, ItemCounts, ItemState};
use windlass::domain::job::Job;
use windlass::domain::run::{NewRun, Reason, State};
use windlass::id::Id;
use windlass::plugin::Sandbox;
use windlass::runner::{Context, Runner};
use windlass::vault::Vault;

use super::items::{Items, counts, ended, guest, items_of, named};
use super::reason;
use crate::plugin::{guests, sandbox};
use crate::world::{World, new_run, transient, well};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn t5_a_step_that_fails_for_good_skips_what_follows() {
    let world = World::new().await;
    guest(&world, "deploy", 17, |at| Some(if at == 8 { ItemState::Failed } else { ItemState::Done }));
    let run = ended(&world, "deploy", json!({"items": {"order": "strict"}})).await;
    assert_eq!((reason(&run.state), run.attempt), (Some(Reason::ItemsFailed), 1));
    let items = items_of(&world, run.id).await;
    let words: Vec<_> = items.iter().map(|item| (item.state.word(), item.message.as_deref())).collect();
    assert!(words[..8].iter().all(|word| word.0 == "done"), "{words:?}");
    assert_eq!(words[8], ("failed", Some("as told")));
    assert!(words[9..].iter().all(|word| *word == ("skipped", Some("previous failure (step 9)"))), "{words:?}");
    assert_eq!((items.len(), run.message.as_deref()), (17, Some("1 of 17 items failed: item-08")));
}

#[tokio::test]
async fn t5_a_step_whose_attempts_are_spent_is_the_one_that_failed() {
    let world = World::new().await;
    world.guests.script("deploy", |work| {
        let items = Items::of(work);
        async move {
            items.declare(&named(4)).await;
            while let Some(name) = items.next(1).await.pop() {
                if name == "item-01" {
                    return transient("no answer in time");
                }
                items.done(&name).await;
            }
            well(None)
        }
    });
    let run = ended(&world, "deploy", json!({"items": {"order": "strict"}, "retry": {"attempts": 2}})).await;
    assert_eq!((reason(&run.state), run.attempt), (Some(Reason::ItemsFailed), 2));
    let items = items_of(&world, run.id).await;
    let words: Vec<_> = items.iter().map(|item| (item.state.word(), item.message.as_deref().unwrap_or_default())).collect();
    let skipped = ("skipped", "previous failure (step 2)");
    assert_eq!(words, [("done", ""), ("failed", "no answer in time"), skipped, skipped]);
    assert_eq!(run.message.as_deref(), Some("1 of 4 items failed: item-01"));
    assert_eq!(counts(&world, run.id).await, ItemCounts { done: 1, failed: 1, skipped: 2, ..ItemCounts::default() });
}

/// A guest may tell of a later step first: what it died of is still the first that is open.
#[tokio::test]
async fn t5_steps_that_ended_out_of_turn_do_not_change_which_one_failed() {
    let world = World::new().await;
    world.guests.script("deploy", |work| {
        let items = Items::of(work);
        async move {
            items.declare(&named(5)).await;
            items.done("item-02").await;
            items.next(1).await;
            transient("no answer in time")
        }
    });
    let run = ended(&world, "deploy", json!({"items": {"order": "strict"}, "retry": {"attempts": 1}})).await;
    let items = items_of(&world, run.id).await;
    let words: Vec<_> = items.iter().map(|item| (item.state.word(), item.message.as_deref().unwrap_or_default())).collect();
    let skipped = ("skipped", "previous failure (step 1)");
    assert_eq!(words, [("failed", "no answer in time"), skipped, ("done", ""), skipped, skipped]);
    assert_eq!(run.message.as_deref(), Some("1 of 5 items failed: item-00"));
    assert_eq!(counts(&world, run.id).await, ItemCounts { done: 1, failed: 1, skipped: 3, ..ItemCounts::default() });
}

#[tokio::test]
async fn t8_a_step_that_was_done_but_not_told_has_one_effect() {
    let world = World::new().await;
    let effects: Arc<Mutex<BTreeMap<String, u32>>> = Arc::default();
    let target = effects.clone();
    world.guests.script("deploy", move |work| {
        let (items, target, attempt, run) = (Items::of(work), target.clone(), work.attempt, work.run);
        async move {
            items.declare(&named(3)).await;
            while let Some(name) = items.next(1).await.pop() {
                // The target takes a key once: the run's id with the item's name, the same in every attempt.
                target.lock().unwrap().entry(format!("{run}/{name}")).or_insert(1);
                if attempt == 1 && name == "item-01" {
                    return transient("timed out, done at the target all the same");
                }
                items.done(&name).await;
            }
            well(None)
        }
    });
    let run = ended(&world, "deploy", json!({"items": {"order": "strict"}})).await;
    assert_eq!((run.state.word(), run.attempt), ("succeeded", 2));
    let effects = effects.lock().unwrap();
    assert!(effects.len() == 3 && effects.values().all(|n| *n == 1), "{effects:?}");
}

#[tokio::test]
async fn an_order_is_kept_also_by_a_guest_that_asks_for_two() {
    let world = World::new().await;
    let job = world.job("j", json!({"items": {"order": "strict"}})).await;
    world.guests.script("j", |work| {
        let items = Items::of(work);
        async move {
            items.declare(&named(3)).await;
            assert_eq!(items.next(3).await, ["item-00"]);
            assert_eq!(items.ask(Ask::Next(1)).await.unwrap_err().code, "order");
            items.done("item-00").await;
            assert_eq!(items.next(3).await, ["item-01"]);
            Outcome::failed(Class::Permanent, "enough")
        }
    });
    let runner = world.start().await;
    let run = world.ended(world.enqueue(&job).await, SECOND).await;
    runner.drain().await;
    assert_eq!(run.message.as_deref(), Some("enough; 1 of 3 items failed: item-01"));
    assert!(matches!(run.state, State::Dead { reason: Reason::Permanent, .. }), "{:?}", run.state);
}

/// Runs a job of this plugin once, in a real sandbox, to its end.
pub async fn with_a_real_guest(world: &World, component: &[u8], spec: serde_json::Value, input: serde_json::Value) -> Id {
    with_a_real_guest_and(world, component, spec, input, Settings::default()).await
}

/// The same on a node with these settings.
pub async fn with_a_real_guest_and(
    world: &World,
    component: &[u8],
    spec: serde_json::Value,
    input: serde_json::Value,
    settings: Settings,
) -> Id {
    let (runner, job) = real_runner_with(world, component, spec, settings).await;
    let run = NewRun { input: Some(input), ..new_run(&job) };
    let id = world.store.enqueue(vec![run]).await.unwrap().remove(0).unwrap().id();
    world.ended(id, Duration::ZERO).await;
    runner.drain().await;
    id
}

/// A runner with a real sandbox and the real time, and a job of this plugin.
pub async fn real_runner(world: &World, component: &[u8], spec: serde_json::Value) -> (Runner, Job) {
    real_runner_with(world, component, spec, Settings::default()).await
}

async fn real_runner_with(world: &World, component: &[u8], spec: serde_json::Value, settings: Settings) -> (Runner, Job) {
    let sandbox = sandbox(world.dir.path());
    let digest = sandbox.catalog().add(component.to_vec()).await.unwrap().digest;
    let mut whole = json!({"name": "deploy", "plugin": "real"});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let mut tx = world.store.begin().await.unwrap();
    let spec = serde_json::from_value(whole).unwrap();
    let job = tx.put_job(world.tenant.id, &spec, &digest, "test", world.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    (started(world, sandbox, settings).await, job)
}

/// A runner with this sandbox and the real time.
pub async fn started(world: &World, sandbox: Sandbox, settings: Settings) -> Runner {
    let vault = Vault::open(&world.dir.path().join("secret.key"), None).unwrap();
    let (store, egress, clock) = (world.store.clone(), world.egress(), Arc::new(SystemClock));
    let settings = Arc::new(settings);
    let context = Context::new(store, Arc::new(sandbox), egress, clock, settings, Arc::new(vault), world.objects());
    Runner::start(context).await.unwrap()
}

/// The same with a real guest, which takes its steps from the SDK.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_guest_works_step_by_step_and_stops_at_the_broken_one() {
    let world = World::new().await;
    let input = json!({"attack": "steps", "text": "redis,relay,flower,core", "name": "flower"});
    let id = with_a_real_guest(&world, guests::hostile(), json!({"items": {"order": "strict"}}), input).await;
    let run = world.run(id).await;
    assert_eq!(reason(&run.state), Some(Reason::ItemsFailed), "{run:?}");
    let items = items_of(&world, id).await;
    let words: Vec<_> =
        items.iter().map(|item| (item.name.as_str(), item.state.word(), item.message.as_deref().unwrap())).collect();
    assert_eq!(
        words,
        [
            ("redis", "done", "redis is up"),
            ("relay", "done", "relay is up"),
            ("flower", "failed", "flower is broken"),
            ("core", "skipped", "previous failure (step 3)"),
        ]
    );
    assert_eq!(counts(&world, id).await, ItemCounts { done: 2, failed: 1, skipped: 1, ..ItemCounts::default() });
}
