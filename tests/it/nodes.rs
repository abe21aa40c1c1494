//! Nodes that share a PostgreSQL, as far as one process can show it. What happens when they die: tests/chaos.

use std::sync::Arc;
use std::time::Duration;

use windlass::clock::Clock;
use windlass::config::Settings;
use windlass::runner::{Context, Runner};
use windlass::store::Store;
use windlass::vault::Vault;

use crate::database;
use crate::world::{World, new_run};

/// The store of the other node polls nothing: what it knows, it was told.
#[tokio::test]
async fn what_one_node_commits_the_other_is_told() {
    if !database::is_postgres() {
        return;
    }
    let world = World::new().await;
    let other = Store::open(world.store.database().clone(), Arc::new(world.clock.clone())).await.unwrap();
    let mut definitions = other.signals().definitions();
    // It hears from now on: opening the ear counts as a change.
    tokio::time::timeout(Duration::from_secs(20), definitions.changed()).await.unwrap().unwrap();
    let job = world.job("j", serde_json::json!({})).await;
    tokio::time::timeout(Duration::from_secs(20), definitions.changed()).await.expect("definitions changed").unwrap();
    world.store.enqueue(vec![new_run(&job)]).await.unwrap().remove(0).unwrap();
    tokio::time::timeout(Duration::from_secs(20), other.signals().work()).await.expect("there is work");
    assert!(other.signals().take_lanes().contains(&(job.tenant, job.id)));
    other.close().await;
}

#[tokio::test]
async fn a_node_whose_clock_is_far_off_claims_and_schedules_nothing() {
    if !database::is_postgres() {
        return;
    }
    let world = World::new().await;
    let near = world.context();
    let runner = Runner::start(near.clone()).await.unwrap();
    assert!(near.pulse.may_claim());
    runner.drain().await;
    // The world's clock stands still at a time of its own, the database's is the machine's.
    let clock: Arc<dyn Clock> = Arc::new(world.clock.clone());
    let vault = Arc::new(Vault::open(&world.dir.path().join("secret.key"), None).unwrap());
    let far =
        Context::new(world.store.clone(), world.guests.clone(), clock, Arc::new(Settings::default()), vault, world.objects());
    let runner = Runner::start(far.clone()).await.unwrap();
    assert!(!far.pulse.may_claim() && !far.pulse.leads());
    runner.drain().await;
}
