//! Dead runs and what a person does with them, through the use cases, on the manual clock.

use std::time::Duration;

use serde_json::json;
use windlass::app::Who;
use windlass::clock::Clock;
use windlass::domain::attempt::{Class, Outcome};
use windlass::domain::dead::{Action, Operation, OperationState, Order, Standing, Which};
use windlass::domain::job::Job;
use windlass::domain::log::{Level, Line};
use windlass::domain::run::{NewRun, Reason, State};
use windlass::domain::span::Span;
use windlass::domain::tenant::TenantRetention;
use windlass::error::Error;
use windlass::id::Id;
use windlass::runner::Runner;

use crate::api::world::Served;
use crate::runner::fairness;
use crate::world::{new_run, transient, well};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn all() -> Which {
    Which { tenant: Some("alpha".into()), ..Which::default() }
}

fn order(which: Which, rate: u32) -> Order {
    Order { which, rate, reason: "known".into(), backfill: None }
}

/// So many runs of a job that fails for good, each with its number as input; ended.
async fn dead(served: &Served, job: &str, n: u64) -> (Job, Vec<Id>, Runner) {
    let world = &served.world;
    let job = world.job(job, json!({ "max_live": 0, "retry": { "attempts": 1 } })).await;
    let name = job.spec.name.clone();
    world.guests.script(&name, move |work| {
        let again = work.trigger == "rerun";
        std::future::ready(if again { well(None) } else { Outcome::failed(Class::Permanent, "400 bad") })
    });
    let runs = (0..n).map(|n| NewRun { input: Some(json!({ "n": n })), ..new_run(&job) }).collect();
    let ids: Vec<Id> = world.store.enqueue(runs).await.unwrap().into_iter().map(|answer| answer.unwrap().id()).collect();
    let runner = world.start().await;
    world.ended(*ids.last().unwrap(), Duration::ZERO).await;
    for id in &ids {
        world.ended(*id, Duration::ZERO).await;
    }
    (job, ids, runner)
}

async fn over(served: &Served, operation: Id) -> Operation {
    let found = async || Some(served.app.operation(operation, &Who::server()).await.unwrap()).filter(|o| o.ended_at.is_some());
    served.world.until("the operation is over", SECOND, found).await
}

/// Runs that find no place among those that wait are not ticked off.
#[tokio::test]
async fn a_rerun_of_many_waits_for_room_among_the_tenants_waiting_runs() {
    let served = Served::new().await;
    let world = &served.world;
    let (job, _, runner) = dead(&served, "j", 5).await;
    fairness::limit(world, |limits| limits.waiting = Some(2)).await;
    let pause = async |paused: bool| {
        let mut tx = world.store.begin().await.unwrap();
        let now = world.clock.now();
        if paused {
            tx.pause_job(job.tenant, job.id, "ann", None, now).await.unwrap();
        } else {
            tx.resume_job(job.tenant, job.id, now).await.unwrap();
        }
        tx.commit().await.unwrap();
    };
    pause(true).await;
    let begun = served.app.operate(Action::Rerun, order(all(), 10), Some(5), &Who::server()).await.unwrap();
    let look = async || served.app.operation(begun.id, &Who::server()).await.unwrap();
    let waits = world.until("it waits", SECOND, async || Some(look().await).filter(|o| o.waits.is_some())).await;
    assert_eq!((waits.done, waits.left, waits.ended_at), (2, 0, None));
    assert_eq!(waits.waits.as_deref(), Some("limits.waiting of alpha (2 of 2)"));
    pause(false).await;
    let done = over(&served, begun.id).await;
    assert_eq!((done.done, done.left, done.state), (5, 0, OperationState::Done));
    runner.drain().await;
}

#[tokio::test]
async fn c5_a_dead_run_keeps_all_that_is_needed_and_runs_again_with_a_fresh_budget() {
    let served = Served::new().await;
    let world = &served.world;
    let job = world.job("j", json!({ "retry": { "attempts": 2 } })).await;
    world.guests.script("j", |work| {
        let (journal, attempt, at) = (work.journal.clone(), work.attempt, windlass::clock::Timestamp(0));
        journal.log(Line { at, level: Level::Warn, message: format!("said in attempt {attempt}"), fields: Vec::new() });
        std::future::ready(transient(&format!("error of attempt {attempt}")))
    });
    let runner = world.start().await;
    let run = NewRun { input: Some(json!({ "page": 7 })), ..new_run(&job) };
    let id = world.store.enqueue(vec![run]).await.unwrap().remove(0).unwrap().id();
    world.ended(id, SECOND).await;

    // Six days and 23 hours later nothing of it is gone.
    world.clock.advance(6 * 24 * HOUR + 23 * HOUR);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let json = served.get(&format!("tenants/alpha/runs/{id}")).await.body;
    assert_eq!(
        (&json["state"], &json["cause"], &json["input"]),
        (&json!("dead"), &json!("attempts_spent"), &json!({ "page": 7 }))
    );
    assert_eq!(json["plugin"]["digest"], "sha256:none");
    let said: Vec<_> = json["attempts"].as_array().unwrap().iter().map(|attempt| attempt["message"].clone()).collect();
    assert_eq!(said, ["error of attempt 2", "error of attempt 1"]);
    let log = served.get(&format!("tenants/alpha/runs/{id}/logs")).await.body;
    assert_eq!(log["items"].as_array().unwrap().len(), 2, "{log}");
    let list = served.get("tenants/alpha/dead").await.body;
    assert_eq!((&list["count"]["value"], &list["items"][0]["id"]), (&json!(1), &json!(id.to_string())));
    assert_eq!(list["expiring"], 1, "it goes within 24 h: {list}");

    let again = served.post(&format!("tenants/alpha/runs/{id}/rerun"), &json!({})).await.body;
    assert_eq!(again["rerun_of"], id.to_string());
    let again = world.ended(again["id"].as_str().unwrap().parse().unwrap(), SECOND).await;
    assert_eq!((again.attempt, again.failed), (2, 2), "a budget of its own");
    let mut tx = world.store.read().await.unwrap();
    assert!(tx.run(job.tenant, id).await.unwrap().is_some());
    drop(tx);
    world.clock.advance(2 * HOUR);
    let gone = async || world.store.read().await.unwrap().run(job.tenant, id).await.unwrap().is_none().then_some(());
    world.until("its time is over", 30 * SECOND, gone).await;
    runner.drain().await;
}

#[tokio::test]
async fn w15_a_tenant_keeps_its_runs_as_long_as_its_file_says() {
    let served = Served::new().await;
    let world = &served.world;
    let (job, dead, runner) = dead(&served, "j", 1).await;
    let well = world.job("well", json!({})).await;
    let done = world.enqueue(&well).await;
    world.ended(done, Duration::ZERO).await;
    let mut tenant = world.tenant.clone();
    tenant.retention = TenantRetention { succeeded: Some(Span::secs(3600)), dead: Some(Span::secs(30 * 86_400)), logs: None };
    let mut tx = world.store.begin().await.unwrap();
    tx.put_tenant(&tenant, world.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    let there = async |job: &Job, run: Id| world.store.read().await.unwrap().run(job.tenant, run).await.unwrap().is_some();
    world.clock.advance(2 * HOUR);
    world.until("the success is gone", 30 * SECOND, async || (!there(&well, done).await).then_some(())).await;
    world.clock.advance(29 * 24 * HOUR);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(there(&job, dead[0]).await, "a month is not over");
    world.clock.advance(24 * HOUR);
    world.until("the dead run is gone", 30 * SECOND, async || (!there(&job, dead[0]).await).then_some(())).await;
    runner.drain().await;
}

#[tokio::test]
async fn an_operation_runs_again_all_that_fit_at_its_pace_and_each_with_its_own_input() {
    let served = Served::new().await;
    let world = &served.world;
    let (job, ids, runner) = dead(&served, "j", 25).await;
    let who = Who::server();
    let preview = served.app.preview(Action::Rerun, &all(), &who).await.unwrap();
    assert_eq!((preview.total, preview.jobs, preview.sample.len()), (25, vec![("alpha".into(), "j".into(), 25)], 10));
    let refused = served.app.operate(Action::Rerun, order(all(), 10), Some(24), &who).await;
    assert!(matches!(refused, Err(Error::Conflict(why)) if why.contains("25 runs now")));
    let begun = served.app.operate(Action::Rerun, order(all(), 10), Some(25), &who).await.unwrap();
    let first = async || Some(served.app.operation(begun.id, &who).await.unwrap()).filter(|o| o.done > 0);
    let first = world.until("a first batch", Duration::ZERO, first).await;
    assert_eq!((first.done, first.state), (10, OperationState::Running), "its rate is 10 a second");
    let done = over(&served, begun.id).await;
    assert_eq!((done.done, done.left, done.state), (25, 0, OperationState::Done));
    let mut tx = world.store.read().await.unwrap();
    let runs = tx.operation_runs(begun.id, None, 50).await.unwrap();
    assert_eq!(runs.len(), 25);
    for run in runs {
        let (old, new) =
            (tx.payload(job.tenant, run.run).await.unwrap(), tx.payload(job.tenant, run.rerun.unwrap()).await.unwrap());
        assert_eq!((old.input, Some(run.run)), (new.input, new.parent));
    }
    assert_eq!(tx.state_counts(job.tenant).await.unwrap().dead, 0);
    drop(tx);
    assert_eq!(world.ended(*ids.first().unwrap(), SECOND).await.state.word(), "dead", "a final run does not change");
    runner.drain().await;
}

#[tokio::test]
async fn an_operation_goes_on_after_a_restart_and_stops_where_it_is_told_to() {
    let served = Served::new().await;
    let (job, _, runner) = dead(&served, "j", 30).await;
    runner.drain().await;
    let who = Who::server();
    let begun = served.app.operate(Action::Discard, order(all(), 10), None, &who).await.unwrap();
    let mut tx = served.world.store.begin().await.unwrap();
    tx.work_on(&begun, served.world.clock.now()).await.unwrap();
    assert!(matches!(tx.work_on(&begun, served.world.clock.now()).await, Err(Error::Conflict(_))), "a batch is done once");
    drop(tx);
    let mut tx = served.world.store.begin().await.unwrap();
    let after = tx.work_on(&begun, served.world.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(after.done, 10);

    // Another process, the same file: it goes on where the cursor stands.
    let world = served.world.reopened().await;
    let mut tx = world.store.begin().await.unwrap();
    let open = tx.open_operations().await.unwrap().remove(0);
    assert_eq!((open.done, open.cursor), (10, after.cursor));
    let after = tx.work_on(&open, world.clock.now()).await.unwrap();
    assert_eq!(after.done, 20);
    assert!(tx.cancel_operation(begun.id, world.clock.now()).await.unwrap());
    assert!(matches!(tx.work_on(&after, world.clock.now()).await, Err(Error::Conflict(_))), "it was stopped");
    tx.commit().await.unwrap();
    let mut tx = world.store.read().await.unwrap();
    assert_eq!(tx.state_counts(job.tenant).await.unwrap().dead, 10, "what is done stays done");
    assert_eq!(tx.operation(begun.id).await.unwrap().unwrap().state, OperationState::Cancelled);
}

#[tokio::test]
async fn what_is_discarded_can_be_brought_back_for_a_day() {
    let served = Served::new().await;
    let world = &served.world;
    let (job, ids, runner) = dead(&served, "j", 6).await;
    let who = Who::server();
    let begun = served.app.operate(Action::Discard, order(all(), 50), None, &who).await.unwrap();
    over(&served, begun.id).await;
    let counts = async || world.store.read().await.unwrap().state_counts(job.tenant).await.unwrap().dead;
    assert_eq!(counts().await, 0);
    assert!(
        matches!(served.app.rerun("alpha", ids[0], None, &who).await, Err(Error::Conflict(why)) if why.contains("discarded by windlass"))
    );
    served.app.undo_discard("alpha", ids[0], &who).await.unwrap();
    assert!(matches!(served.app.undo_discard("alpha", ids[0], &who).await, Err(Error::Conflict(_))));
    let undo = served.app.undo_operation(begun.id, &who).await.unwrap();
    let undone = over(&served, undo.id).await;
    assert_eq!((undone.done, undone.left), (5, 1), "one was brought back by hand");
    assert_eq!(counts().await, 6);

    served.app.discard("alpha", ids[1], &who).await.unwrap();
    let discarded = Which { standing: Standing::Discarded, ..all() };
    assert_eq!(served.app.preview(Action::Undo, &discarded, &who).await.unwrap().total, 1);
    world.clock.advance(24 * HOUR + SECOND);
    assert!(
        matches!(served.app.undo_discard("alpha", ids[1], &who).await, Err(Error::Conflict(why)) if why.contains("24 h ago"))
    );
    assert_eq!(served.app.preview(Action::Undo, &discarded, &who).await.unwrap().total, 0);
    runner.drain().await;
}

#[tokio::test]
async fn an_operation_takes_only_what_its_filter_says_and_only_its_tenants() {
    let served = Served::new().await;
    let world = &served.world;
    let (_, ids, runner) = dead(&served, "one", 3).await;
    let (two, of_two, second) = dead(&served, "two", 2).await;
    let who = Who::server();
    let total = async |which: Which| served.app.preview(Action::Discard, &which, &who).await.unwrap().total;
    assert_eq!(total(Which::default()).await, 5);
    assert_eq!(total(Which { job: Some("two".into()), ..all() }).await, 2);
    assert_eq!(total(Which { cause: Some(Reason::AttemptsSpent), ..all() }).await, 0);
    assert_eq!(total(Which { words: Some("400 BAD".into()), ..all() }).await, 5);
    assert_eq!(total(Which { words: Some("4_0".into()), ..all() }).await, 0, "a letter is a letter");
    assert_eq!(total(Which { until: Some(crate::world::TEN), ..all() }).await, 0);
    let print = world.run(of_two[0]).await.print.unwrap();
    assert_eq!(total(Which { groups: vec![("alpha".into(), print)], ..Which::default() }).await, 2);
    assert_eq!(total(Which { runs: vec![("alpha".into(), ids[0]), ("alpha".into(), ids[0])], ..Which::default() }).await, 1);
    assert_eq!(total(Which { standing: Standing::Expiring, ..all() }).await, 0);
    let many = Which { runs: vec![("alpha".into(), ids[0]); 1_001], ..Which::default() };
    assert!(matches!(served.app.preview(Action::Discard, &many, &who).await, Err(Error::Invalid(_))));
    world.clock.advance(6 * 24 * HOUR + HOUR);
    assert_eq!(total(Which { standing: Standing::Expiring, ..all() }).await, 5);

    let beta = world.store.read().await.unwrap().need_tenant("beta").await.unwrap().id;
    let of_beta = Who { tenant: Some(beta), ..Who::server() };
    assert!(matches!(served.app.preview(Action::Discard, &all(), &of_beta).await, Err(Error::NotFound(_))));
    assert!(matches!(
        served.app.operate(Action::Discard, order(Which::default(), 50), None, &of_beta).await,
        Err(Error::Conflict(why)) if why.contains("no dead run fits")
    ));
    let of_alpha = Who { tenant: Some(two.tenant), ..Who::server() };
    let begun = served.app.operate(Action::Discard, order(Which::default(), 50), None, &of_alpha).await.unwrap();
    assert_eq!((begun.tenant, begun.total), (two.tenant, 5));
    assert!(matches!(served.app.operation(begun.id, &of_beta).await, Err(Error::NotFound(_))));
    let viewer = Who { role: windlass::domain::member::Role::Viewer, ..of_alpha };
    assert!(matches!(served.app.cancel_operation(begun.id, &viewer).await, Err(Error::Forbidden(_))));
    assert!(matches!(served.app.operate(Action::Discard, order(all(), 50), None, &viewer).await, Err(Error::Forbidden(_))));
    runner.drain().await;
    second.drain().await;
}

#[tokio::test]
async fn w13_what_is_added_is_polled_within_an_interval_and_what_is_removed_no_more() {
    let served = Served::new().await;
    let world = &served.world;
    let runner = world.start().await;
    let job = world.job("drain", json!({ "triggers": [{ "backlog": { "probe": "plugin", "every": "15s" } }] })).await;
    let polls = || world.guests.measured.lock().unwrap().len();
    let due = world.store.read().await.unwrap().probes_of(job.id).await.unwrap()[0].next_at;
    assert!(due <= job.created_at.plus(15 * SECOND), "{due:?}");
    world.until("it is polled", SECOND, async || (polls() > 0).then_some(())).await;
    let mut tx = world.store.begin().await.unwrap();
    tx.remove_job(job.tenant, job.id, "ann", world.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    // One that was under way ends.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = polls();
    for _ in 0..20 {
        world.clock.advance(15 * SECOND);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(polls(), before);
    runner.drain().await;
}

#[tokio::test]
async fn v11_what_ended_well_is_not_run_again_within_an_hour() {
    let served = Served::new().await;
    let world = &served.world;
    let job = world.job("transcode", json!({ "rerun_after": "3600s", "max_live": 0 })).await;
    let runner = world.start().await;
    let run = world.enqueue(&job).await;
    assert_eq!(world.ended(run, SECOND).await.state.word(), "succeeded");
    let again = format!("tenants/alpha/runs/{run}/rerun");
    world.clock.advance(3500 * SECOND);
    let refused = served.post(&again, &json!({})).await;
    assert_eq!(refused.status, 409);
    assert!(refused.body["detail"].as_str().unwrap().contains("(rerun_after): from 2026-11-22T11:0"), "{}", refused.body);
    world.clock.advance(100 * SECOND);
    assert_eq!(served.post(&again, &json!({})).await.status, 201);
    // What failed may be tried again at once.
    world.guests.script("transcode", |_| std::future::ready(Outcome::failed(Class::Permanent, "no")));
    let failed = world.enqueue(&job).await;
    assert_eq!(world.ended(failed, SECOND).await.state.word(), "dead");
    assert_eq!(served.post(&format!("tenants/alpha/runs/{failed}/rerun"), &json!({})).await.status, 201);
    runner.drain().await;
}

#[tokio::test]
async fn w13_a_removed_jobs_dead_runs_can_be_read_and_are_left_by_a_rerun() {
    let served = Served::new().await;
    let (job, ids, runner) = dead(&served, "j", 2).await;
    let mut tx = served.world.store.begin().await.unwrap();
    tx.remove_job(job.tenant, job.id, "ann", served.world.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    let json = served.get(&format!("tenants/alpha/runs/{}", ids[0])).await.body;
    assert_eq!((&json["job"], &json["state"], &json["error"]), (&json!("j"), &json!("dead"), &json!("400 bad")));
    assert_eq!(served.get("tenants/alpha/dead?job=j").await.body["count"]["value"], 2);
    let begun = served.app.operate(Action::Rerun, order(all(), 50), None, &Who::server()).await.unwrap();
    let done = over(&served, begun.id).await;
    assert_eq!((done.done, done.left), (0, 2));
    let state = served.world.run(ids[1]).await.state;
    assert!(matches!(state, State::Dead { reason: Reason::Permanent, .. }));
    runner.drain().await;
}
