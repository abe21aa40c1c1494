//! What was noticed and waits for its run: many at a time, more than may wait, and some that cannot have theirs.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use windlass::domain::job::Job;
use windlass::domain::run::{NewRun, State};
use windlass::error::Error;
use windlass::id::Id;
use windlass::store::notice::NewNotice;

use super::SECOND;
use crate::world::{TEN, World, new_run, tenant, well};

fn notice(job: &Job, key: Option<String>) -> NewNotice {
    NewNotice { tenant: job.tenant, job: job.id, key, payload: "{}".into(), due_at: TEN }
}

/// A job's waiting runs, whatever their tenant.
async fn waiting(world: &World, job: &Job) -> u64 {
    let mut tx = world.store.read().await.unwrap();
    let query = windlass::store::run::RunQuery { job: Some(job.id), limit: 50, ..Default::default() };
    let runs = tx.runs(job.tenant, &query).await.unwrap();
    runs.iter().filter(|run| matches!(run.state, State::Waiting { .. })).count() as u64
}

#[tokio::test]
async fn notifications_that_come_together_are_each_taken_in_once_and_no_more_than_may_wait() {
    let world = World::new().await;
    let job = world.job("notify", json!({"triggers": [{"webhook": {}}]})).await;
    let plain = world.job("plain", json!({})).await;
    // While the connection is lent, all of them gather.
    let loan = world.store.begin().await.unwrap();
    let ask = |new: NewNotice| {
        let store = world.store.clone();
        tokio::spawn(async move { store.notice(new).await })
    };
    let keyed: Vec<_> = (0..1_200).map(|n| ask(notice(&job, Some(format!("key-{}", n % 600))))).collect();
    let rest: Vec<_> = (0..500).map(|_| ask(notice(&job, None))).collect();
    let none = ask(notice(&plain, None));
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(loan);
    let mut ids: Vec<Vec<Id>> = vec![Vec::new(); 600];
    let (mut repeated, mut taken, mut refused) = (0, 0, 0);
    for (n, answer) in keyed.into_iter().enumerate() {
        let noticed = answer.await.unwrap().unwrap();
        ids[n % 600].push(noticed.id);
        repeated += u32::from(noticed.repeated);
    }
    assert!(repeated == 600 && ids.iter().all(|same| same[0] == same[1]), "{repeated}");
    for answer in rest {
        match answer.await.unwrap() {
            Ok(noticed) => taken += u32::from(!noticed.repeated),
            Err(Error::Unavailable(why)) => {
                assert!(why.starts_with("1000 notifications wait for this job"), "{why}");
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((taken, refused), (400, 100));
    assert!(matches!(none.await.unwrap(), Err(Error::Conflict(_))), "its neighbours are not refused for it");
}

#[tokio::test]
async fn jobs_of_a_full_tenant_keep_no_other_waiting_for_what_was_noticed() {
    let world = World::new().await;
    let mut tx = world.store.begin().await.unwrap();
    let mut full = tenant(tx.new_id(), "full");
    full.limits.waiting = Some(1);
    tx.put_tenant(&full, TEN).await.unwrap();
    let mut stuck = Vec::new();
    for n in 0..300 {
        let spec =
            serde_json::from_value(json!({"name": format!("j{n}"), "plugin": "noop", "triggers": [{"webhook": {}}]})).unwrap();
        let job: Job = tx.put_job(full.id, &spec, "sha256:none", "test", TEN).await.unwrap();
        tx.put_triggers(full.id, job.id, &job.spec.triggers, TEN, |_| None).await.unwrap();
        tx.pause_job(full.id, job.id, "ann", None, TEN).await.unwrap();
        stuck.push(job);
    }
    tx.commit().await.unwrap();
    for job in &stuck {
        world.store.notice(notice(job, None)).await.unwrap();
    }
    let free = world.job("free", json!({"triggers": [{"webhook": {}}]})).await;
    let last = NewNotice { due_at: TEN.plus(SECOND), ..notice(&free, None) };
    world.store.notice(last).await.unwrap();
    let runner = world.start().await;
    world.until("it has its run", SECOND, async || (world.guests.attempts("free") == 1).then_some(())).await;
    let mut waits = 0;
    for job in &stuck {
        waits += waiting(&world, job).await;
    }
    assert_eq!(waits, 1, "as many as the full tenant may have");
    runner.drain().await;
}

/// More than may wait are counted, not lost.
#[tokio::test]
async fn each_end_of_a_run_that_is_followed_is_told_however_many_there_are() {
    let world = World::new().await;
    let job = world.job("import", json!({"max_live": 0})).await;
    world.job("report", json!({"triggers": [{"after": {"job": "import"}}]})).await;
    let gate = Arc::new(Semaphore::new(0));
    let told: Arc<std::sync::Mutex<u64>> = Arc::default();
    let (held, sum) = (gate.clone(), told.clone());
    world.guests.script("report", move |work| {
        let (gate, sum) = (held.clone(), sum.clone());
        let input: Value = serde_json::from_str(&work.input).unwrap();
        async move {
            gate.acquire().await.unwrap().forget();
            let of = |one: &Value| 1 + one["more"].as_u64().unwrap_or(0);
            *sum.lock().unwrap() += input["after"].as_array().unwrap().iter().map(of).sum::<u64>();
            well(None)
        }
    });
    let runner = world.start().await;
    // The first wave fills what may wait; what comes then is counted on the last of it.
    for wave in [1_150, 300, 300] {
        let runs: Vec<NewRun> = vec![new_run(&job); wave];
        let ids: Vec<Id> = world.store.enqueue(runs).await.unwrap().into_iter().map(|run| run.unwrap().id()).collect();
        for id in ids {
            world.ended(id, Duration::ZERO).await;
        }
    }
    gate.add_permits(1_000);
    world.until("all are told", SECOND, async || (*told.lock().unwrap() == 1_750).then_some(())).await;
    assert!(world.guests.attempts("report") < 15, "at most 100 a run, and those that were counted with one of them");
    runner.drain().await;
}
