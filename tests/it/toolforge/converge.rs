//! A deployment by schedule, on a clock that is moved by hand.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use windlass::clock::Clock;
use windlass::config::Settings;
use windlass::domain::grant::Ceiling;
use windlass::domain::item::ItemState;
use windlass::domain::trigger::TriggerSpec;
use windlass::id::Id;
use windlass::plugin::EMBEDDED;
use windlass::runner::{Context, Runner};
use windlass::span::Span;
use windlass::store::run::RunQuery;
use windlass::vault::Vault;

use super::stand_in::{Fault, JobsApi};
use crate::plugin::sandbox;
use crate::runner::items::items_of;
use crate::world::{TEN, World};

/// The job, with its plugin in a real sandbox; answers what runs it.
async fn scheduled(world: &World, api: &JobsApi) -> Runner {
    let sandbox = sandbox(world.dir.path());
    let plugin = EMBEDDED.iter().find(|plugin| plugin.name == "toolforge-deploy").unwrap();
    let digest = sandbox.catalog().add(plugin.bytes.to_vec()).await.unwrap().digest;
    let component = |name: &str| json!({ "name": name, "type": "continuous", "command": "serve", "image": "i" });
    let spec = json!({
        "name": "deploy", "plugin": "toolforge-deploy", "items": { "order": "strict" }, "retry": { "attempts": 1 },
        "config": { "api": api.url(), "tool": "gazette", "components": [component("web"), component("worker")] },
        "triggers": [{ "schedule": "*/5 * * * *" }],
        "grant": { "http": [{ "host": api.origin(), "methods": ["GET", "POST", "PATCH", "DELETE"] }] },
    });
    let mut tenant = world.tenant.clone();
    tenant.ceiling = Ceiling { hosts: vec![api.origin()], networks: vec!["127.0.0.0/8".into()], ..Ceiling::default() };
    let mut tx = world.store.begin().await.unwrap();
    tx.put_tenant(&tenant, TEN).await.unwrap();
    let job = tx.put_job(tenant.id, &serde_json::from_value(spec).unwrap(), &digest, "test", TEN).await.unwrap();
    let first = |trigger: &TriggerSpec| match trigger {
        TriggerSpec::Schedule(spec) => spec.of(job.id, tenant.zone).unwrap().after(TEN),
        TriggerSpec::Backlog { .. } => None,
    };
    tx.put_triggers(tenant.id, job.id, &job.spec.triggers, TEN, first).await.unwrap();
    tx.commit().await.unwrap();
    let vault = Vault::open(&world.dir.path().join("secret.key"), None).unwrap();
    let mut settings = Settings::default();
    // The clock is ours, the database's is the machine's.
    settings.lease.skew = Span::secs(u32::MAX.into());
    let clock: Arc<dyn Clock> = Arc::new(world.clock.clone());
    let egress = world.egress();
    let (store, settings) = (world.store.clone(), Arc::new(settings));
    let context = Context::new(store, Arc::new(sandbox), egress, clock, settings, Arc::new(vault), world.objects());
    Runner::start(context).await.unwrap()
}

async fn newest(world: &World) -> Option<Id> {
    let query = RunQuery { limit: 1, ..RunQuery::default() };
    world.store.read().await.unwrap().runs(world.tenant.id, &query).await.unwrap().first().map(|run| run.id)
}

/// The next period's run: each item's state and message.
async fn next(world: &World) -> Vec<(ItemState, String)> {
    let before = newest(world).await;
    let came = async || newest(world).await.filter(|id| Some(*id) != before);
    let id = world.until("the next period", Duration::from_secs(10), came).await;
    world.ended(id, Duration::ZERO).await;
    let items = items_of(world, id).await;
    items.into_iter().map(|item| (item.state, item.message.unwrap_or_default())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn t7_what_a_fault_cost_is_made_up_for_by_the_next_period() {
    let (world, api) = (World::new().await, JobsApi::start());
    let runner = scheduled(&world, &api).await;
    api.plan("PATCH", "web", Fault::Says(403, "", "not now"));
    let words = next(&world).await;
    assert!(words[0].0 == ItemState::Failed && words[0].1.contains("HTTP 403: not now"), "{words:?}");
    assert_eq!(words[1], (ItemState::Skipped, "previous failure (step 1)".to_owned()));
    assert!(api.jobs().is_empty());

    let done = |message: &str| (ItemState::Done, message.to_owned());
    assert_eq!(next(&world).await, [done("created"), done("created")], "nobody did anything");
    // Somebody deletes one by hand: what is wanted is there again a period later.
    api.effects();
    let gone = ureq::delete(format!("{}/tool/gazette/jobs/worker", api.url()));
    tokio::task::spawn_blocking(move || gone.call().unwrap()).await.unwrap();
    assert_eq!(next(&world).await, [done("already up to date"), done("created")]);
    assert_eq!(api.effects(), ["deleted worker", "created worker"]);
    runner.drain().await;
}
