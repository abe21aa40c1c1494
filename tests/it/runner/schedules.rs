//! What becomes of the times of a schedule while a run is unfinished, and of jobs that follow others.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Semaphore;
use windlass::clock::Timestamp;
use windlass::domain::attempt::{Class, Outcome};
use windlass::domain::run::State;
use windlass::domain::trigger::{Cause, TriggerSpec};
use windlass::id::Id;

use crate::world::{TEN, World, well};

const STEP: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_secs(60);

type Line = (Timestamp, String, Option<Id>, Option<String>);

/// The ledger of a job, the oldest first.
async fn ledger(world: &World, job: Id) -> Vec<Line> {
    let mut lines = world.store.read().await.unwrap().occurrences_of(job, 100).await.unwrap();
    lines.reverse();
    lines
}

/// Waits until the instant so long after ten o'clock has this result.
async fn comes_to(world: &World, job: Id, after: Duration, result: &str) -> Line {
    let due_at = TEN.plus(after);
    let found = async || ledger(world, job).await.into_iter().find(|line| line.0 == due_at && line.1 == result);
    world.until(&format!("{due_at:?} {result}"), STEP, found).await
}

/// Waits until an instant so long after ten o'clock, or later, has its run.
async fn has_run_after(world: &World, job: Id, after: Duration) {
    let found = async || ledger(world, job).await.into_iter().find(|line| line.0 > TEN.plus(after) && line.2.is_some());
    let line = world.until("what was slept through is made up for", STEP, found).await;
    world.ended(line.2.unwrap(), Duration::ZERO).await;
}

/// Runs of the job wait for a permit each, or until they are told to stop.
fn gated(world: &World, job: &str) -> Arc<Semaphore> {
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    world.guests.script(job, move |work| {
        let (gate, stop) = (held.clone(), work.stop.clone());
        async move {
            loop {
                if let Ok(permit) = gate.try_acquire() {
                    permit.forget();
                    return well(None);
                }
                if stop.asked.load(Ordering::Acquire) {
                    return Outcome::Cancelled;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    gate
}

#[tokio::test]
async fn of_a_schedule_that_queues_one_waits_and_the_others_are_skipped() {
    let world = World::new().await;
    let job = world.job("j", json!({"triggers": [{"schedule": "*/5 * * * *", "overlap": "queue"}]})).await;
    let gate = gated(&world, "j");
    let runner = world.start().await;
    let ran = comes_to(&world, job.id, 5 * MINUTE, "ran").await;
    let queued = comes_to(&world, job.id, 10 * MINUTE, "queued").await;
    assert_eq!((queued.2, queued.3.unwrap()), (None, format!("waited for run {}", ran.2.unwrap())));
    let skipped = comes_to(&world, job.id, 15 * MINUTE, "skipped").await;
    assert!(skipped.3.unwrap().contains("the one due at 2026-11-22T10:10:00.000Z waits already"));
    assert_eq!(world.guests.attempts("j"), 1);
    gate.add_permits(1);
    let late = comes_to(&world, job.id, 10 * MINUTE, "late").await;
    assert_eq!(world.run(ran.2.unwrap()).await.state.word(), "succeeded");
    let second = late.2.expect("it has a run of its own");
    gate.add_permits(100);
    assert_eq!(world.ended(second, Duration::ZERO).await.cause, Cause::Schedule);
    assert_eq!(world.guests.attempts("j"), 2, "what was skipped does not run");
    runner.drain().await;
}

#[tokio::test]
async fn what_waits_in_a_queue_survives_the_process_and_goes_with_its_trigger() {
    let world = World::new().await;
    let spec = json!({"triggers": [{"schedule": "*/5 * * * *", "overlap": "queue"}]});
    let job = world.job("j", spec.clone()).await;
    let gate = gated(&world, "j");
    let runner = world.start().await;
    comes_to(&world, job.id, 10 * MINUTE, "queued").await;
    runner.drain().await;
    let world = world.reopened().await;
    assert!(ledger(&world, job.id).await.iter().any(|line| line.1 == "queued"));
    gate.add_permits(1);
    let runner = world.start().await;
    let has_a_run =
        async || ledger(&world, job.id).await.into_iter().find(|line| line.0 == TEN.plus(10 * MINUTE) && line.2.is_some());
    world.until("it has its run", STEP, has_a_run).await;
    // It runs and holds the job; the next one waits, until its trigger is gone.
    let waiting = world
        .until("another waits", STEP, async || ledger(&world, job.id).await.into_iter().find(|line| line.1 == "queued"))
        .await;
    world.job("j", json!({"triggers": []})).await;
    let gone = ledger(&world, job.id).await.into_iter().find(|line| line.0 == waiting.0).unwrap();
    assert_eq!((gone.1.as_str(), gone.3.as_deref()), ("skipped", Some("its trigger was removed")));
    gate.add_permits(100);
    runner.drain().await;
}

#[tokio::test]
async fn a_schedule_that_cancels_ends_the_old_run_and_then_starts_the_new_one() {
    let world = World::new().await;
    let job = world.job("j", json!({"triggers": [{"schedule": "*/5 * * * *", "overlap": "cancel"}]})).await;
    world.guests.script("j", |work| {
        let stop = work.stop.clone();
        async move {
            while !stop.asked.load(Ordering::Acquire) && !stop.now.load(Ordering::Acquire) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Outcome::Cancelled
        }
    });
    let runner = world.start().await;
    let first = comes_to(&world, job.id, 5 * MINUTE, "ran").await.2.unwrap();
    world.until("the first runs", Duration::ZERO, async || (world.guests.attempts("j") == 1).then_some(())).await;
    let second = world
        .until("the second has its run", STEP, async || {
            ledger(&world, job.id).await.into_iter().find(|line| line.0 == TEN.plus(10 * MINUTE)).and_then(|line| line.2)
        })
        .await;
    let old = world.run(first).await;
    assert_eq!(old.state.word(), "cancelled", "never two at once: {old:?}");
    assert_ne!(first, second);
    runner.drain().await;
}

#[tokio::test]
async fn a_run_with_jitter_starts_later_than_its_time_by_its_own_share() {
    let world = World::new().await;
    let trigger = json!({"schedule": "0 * * * *", "jitter": "30m"});
    let job = world.job("j", json!({"triggers": [trigger]})).await;
    let TriggerSpec::Schedule(spec) = &job.spec.triggers[0] else { unreachable!() };
    let due_at = TEN.plus(60 * MINUTE);
    let delay = spec.delay(job.id, due_at);
    assert!(delay < 30 * MINUTE && delay == spec.delay(job.id, due_at));
    let runner = world.start().await;
    let run = comes_to(&world, job.id, 60 * MINUTE, "ran").await.2.unwrap();
    let State::Waiting { due_at: starts_at, .. } = world.run(run).await.state else { panic!("it waits for its share") };
    assert_eq!(starts_at, due_at.plus(delay));
    let ended = world.ended(run, STEP).await;
    assert!(ended.first_started_at >= Some(starts_at), "{ended:?}");
    runner.drain().await;
}

#[tokio::test]
async fn a_job_that_follows_another_is_told_which_run_ended_and_how() {
    let world = World::new().await;
    let import = world.job("import", json!({})).await;
    let follow = |on: &str| json!({"triggers": [{"after": {"job": "import", "on": on}}]});
    let (report, repair, tidy) = (
        world.job("report", follow("succeeded")).await,
        world.job("repair", follow("dead")).await,
        world.job("tidy", follow("ended")).await,
    );
    world.guests.script("import", |work| {
        let outcome = if work.input.contains("bad") { Outcome::failed(Class::Permanent, "no") } else { well(None) };
        std::future::ready(outcome)
    });
    let runner = world.start().await;
    let good = world.enqueue(&import).await;
    world.ended(good, Duration::ZERO).await;
    world.until("the followers ran", STEP, async || (world.guests.attempts("tidy") == 1).then_some(())).await;
    assert_eq!((world.guests.attempts("report"), world.guests.attempts("repair")), (1, 0));
    let mut bad = crate::world::new_run(&import);
    bad.input = Some(json!("bad"));
    let bad = world.store.enqueue(vec![bad]).await.unwrap().remove(0).unwrap().id();
    world.ended(bad, Duration::ZERO).await;
    let both = || (world.guests.attempts("tidy"), world.guests.attempts("repair")) == (2, 1);
    world.until("the followers ran", STEP, async || both().then_some(())).await;
    assert_eq!((world.guests.attempts("report"), world.guests.attempts("repair")), (1, 1));
    let of = |job: &str| world.guests.made.lock().unwrap().iter().filter(|made| made.0 == job).map(|made| made.1).next_back();
    for (job, name, ended, state) in
        [(&report, "report", good, "succeeded"), (&repair, "repair", bad, "dead"), (&tidy, "tidy", bad, "dead")]
    {
        let run = world.run(of(name).unwrap()).await;
        let input = world.store.read().await.unwrap().payload(job.tenant, run.id).await.unwrap().input.unwrap();
        let input: serde_json::Value = serde_json::from_str(&input).unwrap();
        assert_eq!((run.cause, &input), (Cause::After, &json!({"after": [{"job": "import", "run": ended, "state": state}]})));
    }
    runner.drain().await;
}

async fn next_due(world: &World) -> Option<Timestamp> {
    world.store.read().await.unwrap().next_due().await.unwrap()
}

#[tokio::test]
async fn a_schedule_that_lost_its_next_time_gets_it_back() {
    let world = World::new().await;
    let job = world.job("j", json!({"triggers": [{"schedule": "*/5 * * * *"}]})).await;
    let set = async |next: Option<Timestamp>| {
        let mut tx = world.store.begin().await.unwrap();
        let trigger = tx.triggers_of(job.id).await.unwrap()[0].id;
        tx.advance_schedules(&[(trigger, next)]).await.unwrap();
        tx.commit().await.unwrap();
    };
    let first = TEN.plus(5 * MINUTE);
    // At the start: it would have been silent for ever, or for a year.
    for wrong in [None, Some(TEN.plus(Duration::from_secs(365 * 86_400)))] {
        set(wrong).await;
        let runner = world.start().await;
        world.until("it is mended", Duration::ZERO, async || (next_due(&world).await == Some(first)).then_some(())).await;
        runner.drain().await;
    }
    // And while it runs.
    let runner = world.start().await;
    comes_to(&world, job.id, 5 * MINUTE, "ran").await;
    set(None).await;
    comes_to(&world, job.id, 10 * MINUTE, "ran").await;
    runner.drain().await;
}

#[tokio::test]
async fn a_clock_that_ran_ahead_makes_nothing_twice_and_silences_nothing() {
    let world = World::new().await;
    let job = world.job("j", json!({"triggers": [{"schedule": "*/5 * * * *"}]})).await;
    let runner = world.start().await;
    let first = comes_to(&world, job.id, 5 * MINUTE, "ran").await.2.unwrap();
    world.ended(first, Duration::ZERO).await;
    // An hour ahead, and back: what was missed there is still to come, and what had its run has had it.
    let hour = 3_600_000;
    world.clock.step(hour);
    has_run_after(&world, job.id, 60 * MINUTE).await;
    let ahead = ledger(&world, job.id).await;
    let missed: Vec<_> = ahead.iter().filter(|line| line.1 == "missed").map(|line| line.0).collect();
    let last = ahead.last().unwrap().clone();
    world.clock.step(-hour);
    world.until("the hour is to come", STEP, async || next_due(&world).await.filter(|next| *next < last.0)).await;
    world.until("that hour is over", MINUTE, async || next_due(&world).await.filter(|next| *next > last.0)).await;
    let lines = ledger(&world, job.id).await;
    assert!(lines.iter().any(|line| missed.contains(&line.0) && line.2.is_some()), "it comes again: {lines:?}");
    assert!(lines.contains(&last), "{lines:?}");
    let runs = lines.iter().filter(|line| line.2.is_some()).count();
    world.until("all have run", Duration::ZERO, async || (world.guests.attempts("j") >= runs).then_some(())).await;
    assert_eq!(world.guests.attempts("j"), runs, "nothing twice");
    // A year ahead, and back.
    let year = 365 * 24 * hour;
    world.clock.step(year);
    has_run_after(&world, job.id, Duration::from_secs(86_400)).await;
    world.clock.step(-year);
    world
        .until("the schedule is back", STEP, async || {
            next_due(&world).await.filter(|next| *next < TEN.plus(Duration::from_secs(86_400)))
        })
        .await;
    let before = world.guests.attempts("j");
    world.until("it goes on", MINUTE, async || (world.guests.attempts("j") > before).then_some(())).await;
    runner.drain().await;
}

/// More than a hundred times passed: the hundredth says that there were more, and the last has its run.
#[tokio::test]
async fn t14_times_that_are_too_many_to_list_are_told_of() {
    let world = World::new().await;
    let job = world.job("j", json!({"triggers": [{"schedule": "* * * * *"}]})).await;
    let runner = world.start().await;
    let first = comes_to(&world, job.id, MINUTE, "ran").await.2.unwrap();
    world.ended(first, Duration::ZERO).await;
    let night = Duration::from_secs(8 * 3_600);
    world.clock.step(i64::try_from(night.as_millis()).unwrap());
    has_run_after(&world, job.id, night).await;
    let lines = world.store.read().await.unwrap().occurrences_of(job.id, 1_000).await.unwrap();
    let told = lines.iter().filter(|line| line.3.as_deref().is_some_and(|note| note.contains("too many to list"))).count();
    let missed = lines.iter().filter(|line| line.1 == "missed").count();
    assert!(told == 1 && (100..=102).contains(&missed), "{told} {missed}");
    runner.drain().await;
}

#[tokio::test]
async fn t14_where_all_is_caught_up_with_each_time_has_its_run_up_to_a_hundred() {
    let world = World::new().await;
    let trigger = json!({"schedule": "* * * * *", "overlap": "allow", "catch_up": "all"});
    let job = world.job("j", json!({"max_live": 0, "triggers": [trigger]})).await;
    let runner = world.start().await;
    comes_to(&world, job.id, MINUTE, "ran").await;
    let lines = async || {
        let mut lines = world.store.read().await.unwrap().occurrences_of(job.id, 1_000).await.unwrap();
        lines.reverse();
        assert!(lines.iter().all(|line| line.2.is_some()), "{lines:?}");
        lines
    };
    let follow = |lines: &[Line]| lines.windows(2).all(|two| two[1].0 == two[0].0.plus(MINUTE));
    world.clock.step(3_600_000);
    has_run_after(&world, job.id, 60 * MINUTE).await;
    let hour = lines().await;
    assert!(hour.len() > 60 && follow(&hour), "{hour:?}");
    let night = Duration::from_secs(8 * 3_600);
    world.clock.step(i64::try_from(night.as_millis()).unwrap());
    has_run_after(&world, job.id, night).await;
    let all = lines().await;
    let (first, last) = all.split_at(hour.len() + 100);
    assert!(follow(first) && last[0].0 > first.last().unwrap().0.plus(MINUTE), "a hundred, and the last");
    let told: Vec<_> =
        all.iter().filter(|line| line.3.as_deref().is_some_and(|note| note.contains("too many to list"))).collect();
    assert_eq!(told, [first.last().unwrap()]);
    runner.drain().await;
}

#[tokio::test]
async fn a_machine_that_slept_makes_up_for_the_last_time() {
    let world = World::new().await;
    let job = world.job("j", json!({"triggers": [{"schedule": "*/5 * * * *"}]})).await;
    let runner = world.start().await;
    let first = comes_to(&world, job.id, 5 * MINUTE, "ran").await.2.unwrap();
    world.ended(first, Duration::ZERO).await;
    let night = Duration::from_secs(8 * 3_600);
    world.clock.step(i64::try_from(night.as_millis()).unwrap());
    has_run_after(&world, job.id, night).await;
    assert!(ledger(&world, job.id).await.iter().any(|line| line.1 == "missed"));
    assert_eq!(world.guests.attempts("j"), 2);
    runner.drain().await;
}

#[tokio::test]
async fn a_node_does_what_its_roles_say_and_nothing_else() {
    let world = World::new().await;
    let job = world.job("j", json!({"triggers": [{"schedule": "*/5 * * * *"}]})).await;
    let start = async |roles: serde_json::Value| {
        let context = world.context_with(|settings| settings.roles = serde_json::from_value(roles).unwrap());
        windlass::runner::Runner::start(context).await.unwrap()
    };
    let scheduler = start(json!(["web", "scheduler"])).await;
    let run = comes_to(&world, job.id, 5 * MINUTE, "ran").await.2.unwrap();
    // A job that is added is known, though no worker reads definitions here.
    let other = world.job("other", json!({"triggers": [{"schedule": "*/5 * * * *"}]})).await;
    comes_to(&world, other.id, 10 * MINUTE, "ran").await;
    assert_eq!((world.run(run).await.state.word(), world.guests.attempts("j")), ("waiting", 0));
    scheduler.drain().await;
    let before = ledger(&world, job.id).await.len();
    let worker = start(json!(["worker"])).await;
    assert_eq!(world.ended(run, STEP).await.state.word(), "succeeded");
    for _ in 0..60 {
        world.clock.advance(STEP);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(ledger(&world, job.id).await.len(), before, "nobody schedules");
    worker.drain().await;
}
