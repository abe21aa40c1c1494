//! Nodes that share a PostgreSQL, as far as one process can show it. What happens when they die: tests/chaos.

use std::sync::Arc;
use std::time::Duration;

use windlass::clock::Clock;
use windlass::config::Settings;
use windlass::domain::admission::{Bounds, Need, Used};
use windlass::domain::tenant::TenantLimits;
use windlass::runner::{Context, Runner};
use windlass::store::Store;
use windlass::store::claim::{Lane, Want};
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

/// Both claim at once and again; what one has counts for the other.
#[tokio::test]
async fn limits_of_class_job_and_starts_hold_over_all_nodes() {
    if !database::is_postgres() {
        return;
    }
    let world = World::new().await;
    let mut tenant = world.tenant.clone();
    tenant.limits = TenantLimits { running: 100, starts_per_minute: Some(20), waiting: None };
    let mut tx = world.store.begin().await.unwrap();
    tx.put_tenant(&tenant, world.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    let other = Store::open(world.store.database().clone(), Arc::new(world.clock.clone())).await.unwrap();
    let bounds = Bounds { tenant: 100, starts: 20, ..Bounds::default() };
    for (name, bounds, most) in
        [("heavy", Bounds { class: 3, ..bounds }, 3), ("narrow", Bounds { job: 5, ..bounds }, 5), ("paced", bounds, 12)]
    {
        let job = world.job(name, serde_json::json!({"max_live": 0, "class": name})).await;
        world.store.enqueue(vec![new_run(&job); 60]).await.unwrap();
        let class = (name == "heavy").then(|| name.into());
        let lane = Lane { tenant: job.tenant, job: job.id, runs: 2, bounds, class };
        let mut claims = tokio::task::JoinSet::new();
        for store in [&world.store, &other].into_iter().cycle().take(40) {
            let (store, want) = (store.clone(), Want { lanes: vec![lane.clone()] });
            claims.spawn(async move { store.claim(want).await.unwrap() });
        }
        let mut claimed: usize = claims.join_all().await.into_iter().map(|taken| taken.runs.len()).sum();
        // One at a time, nobody is in the other's way.
        for store in [&other, &world.store].into_iter().cycle().take(12) {
            claimed += store.claim(Want { lanes: vec![lane.clone()] }).await.unwrap().runs.len();
        }
        assert_eq!(claimed, most, "{name}: all that may, and no more");
        let held = other.claim(Want { lanes: vec![lane] }).await.unwrap().held;
        let full =
            Used { used: if name == "paced" { 20 } else { u32::try_from(most).unwrap() }, most: u32::try_from(most).unwrap() };
        let lacks = match name {
            "heavy" => Need::Class(full),
            "narrow" => Need::Job(full),
            _ => Need::Starts(Used { most: 20, ..full }),
        };
        assert_eq!(held.get(&job.id), Some(&lacks));
    }
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
    let far = Context::new(
        world.store.clone(),
        world.guests.clone(),
        world.egress(),
        clock,
        Arc::new(Settings::default()),
        vault,
        world.objects(),
    );
    let runner = Runner::start(far.clone()).await.unwrap();
    assert!(!far.pulse.may_claim() && !far.pulse.leads());
    runner.drain().await;
}
