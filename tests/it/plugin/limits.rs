//! Time, memory, stack, output: whatever a guest takes, it ends, the end is told in words, and others go on.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde_json::json;
use windlass::cli::serve::Server;
use windlass::config::Settings;
use windlass::domain::attempt::{Class, Outcome};
use windlass::domain::grant::{Ceiling, Grant};
use windlass::domain::limits::{Limits, LimitsSpec};
use windlass::domain::span::Size;
use windlass::plugin::Executor;
use windlass::plugin::journal::Level;

use super::{attack, attack_with, data, guests, house, modules, work};

const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_busy_loop_is_stopped_at_its_limit() {
    let (outcome, _) = attack_with(json!({ "attack": "loop" }), |work| work.time_limit = SHORT).await;
    let Outcome::TimedOut { message } = &outcome else { panic!("{outcome:?}") };
    assert!(message.contains("300ms") && message.contains("endless_loop"), "{message}");
}

#[tokio::test]
async fn a_sleeping_host_call_is_stopped_at_the_limit_too() {
    let (outcome, _) = attack_with(json!({ "attack": "sleep" }), |work| work.time_limit = SHORT).await;
    assert!(matches!(&outcome, Outcome::TimedOut { message } if message.contains("300ms")), "{outcome:?}");
}

#[tokio::test]
async fn busy_guests_do_not_keep_others_from_their_end() {
    let house = house().await;
    let busy: Vec<_> = (0..6)
        .map(|_| {
            let mut work = work(&house.hostile, &json!({ "attack": "loop" }));
            work.time_limit = Duration::from_secs(2);
            tokio::spawn(house.sandbox.execute(work))
        })
        .collect();
    let (outcome, _) = attack(json!({ "attack": "spin_then_ok", "ms": 50 })).await;
    assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
    for run in busy {
        assert!(matches!(run.await.unwrap(), Outcome::TimedOut { .. }));
    }
}

/// Guests have threads of their own: pages and the API are answered while all of those spin.
#[tokio::test(flavor = "multi_thread")]
async fn pages_are_answered_while_sixteen_guests_spin() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        data_dir: dir.path().join("data"),
        listen: ([127, 0, 0, 1], 0).into(),
        binary: crate::BINARY.into(),
        ..Settings::default()
    };
    let server = Server::start(settings).await.unwrap();
    let hostile = server.app.catalog.add(guests::hostile().to_vec()).await.unwrap().digest;
    let spinning: Vec<_> = (0..16)
        .map(|_| {
            let mut work = work(&hostile, &json!({ "attack": "loop" }));
            work.time_limit = Duration::from_secs(60);
            tokio::spawn(server.app.executor.execute(work))
        })
        .collect();
    for path in ["/healthz", "/login", "/api/openapi.json"] {
        let url = format!("{}{path}", server.url());
        let status = tokio::task::spawn_blocking(move || ureq::get(&url).call().unwrap().status().as_u16()).await.unwrap();
        assert_eq!(status, 200, "{path}");
    }
    assert!(spinning.iter().all(|guest| !guest.is_finished()));
    // Who does not wait for a guest any more stops it.
    spinning.iter().for_each(tokio::task::JoinHandle::abort);
    server.stop().await;
}

#[tokio::test]
async fn without_progress_the_stall_limit_ends_it_and_with_progress_not() {
    let (outcome, _) = attack_with(json!({ "attack": "sleep" }), |work| work.stall_limit = Some(SHORT)).await;
    assert!(matches!(&outcome, Outcome::TimedOut { message } if message == "no progress for 300ms"), "{outcome:?}");
    let (outcome, _) = attack_with(json!({ "attack": "loop" }), |work| work.stall_limit = Some(SHORT)).await;
    assert!(matches!(&outcome, Outcome::TimedOut { message } if message == "no progress for 300ms"), "{outcome:?}");
    let slow = json!({ "attack": "progress", "n": 8, "ms": 1_600 });
    let (outcome, journal) = attack_with(slow, |work| work.stall_limit = Some(Duration::from_secs(1))).await;
    assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
    assert_eq!(journal.take().progress.map(|last| (last.done, last.total)), Some((8, Some(8))));
}

#[tokio::test]
async fn should_stop_turns_true_before_the_limit() {
    let (outcome, _) = attack_with(json!({ "attack": "until_stopped" }), |work| {
        (work.time_limit, work.grace) = (Duration::from_secs(10), Duration::from_millis(9_700));
    })
    .await;
    assert!(matches!(&outcome, Outcome::Succeeded { summary, .. } if summary == "stopped"), "{outcome:?}");
}

#[tokio::test]
async fn c12_a_guest_that_loops_is_told_then_stopped_and_the_next_one_runs() {
    let limit = |work: &mut windlass::plugin::Work| (work.time_limit, work.grace) = (2 * SHORT, SHORT);
    let (told, _) = attack_with(json!({ "attack": "until_stopped" }), limit).await;
    assert!(matches!(&told, Outcome::Succeeded { summary, .. } if summary == "stopped"), "{told:?}");
    let (stopped, _) = attack_with(json!({ "attack": "loop" }), limit).await;
    assert_eq!(stopped.word(), "timed_out", "{stopped:?}");
    let (next, _) = attack(json!({ "attack": "spin_then_ok", "ms": 1 })).await;
    assert!(matches!(next, Outcome::Succeeded { .. }), "{next:?}");
}

#[tokio::test]
async fn should_stop_turns_true_when_asked() {
    let (outcome, _) = attack_with(json!({ "attack": "until_stopped" }), |work| work.stop.asked.store(true, Relaxed)).await;
    assert!(matches!(&outcome, Outcome::Succeeded { summary, .. } if summary == "stopped"), "{outcome:?}");
}

#[tokio::test]
async fn a_run_is_stopped_from_outside_busy_or_asleep() {
    for what in ["loop", "sleep"] {
        let house = house().await;
        let work = work(&house.hostile, &json!({ "attack": what }));
        let stop = Arc::clone(&work.stop);
        let run = tokio::spawn(house.sandbox.execute(work));
        tokio::time::sleep(Duration::from_millis(50)).await;
        stop.now.store(true, Relaxed);
        assert_eq!(run.await.unwrap(), Outcome::Cancelled, "{what}");
    }
}

#[tokio::test]
async fn dropping_the_future_stops_the_guest() {
    let house = house().await;
    let work = work(&house.hostile, &json!({ "attack": "progress", "n": 1_000, "ms": 20_000 }));
    let journal = Arc::clone(&work.journal);
    let run = house.sandbox.execute(work);
    assert!(tokio::time::timeout(Duration::from_millis(500), run).await.is_err());
    // Nobody else holds the journal once the guest is gone.
    while Arc::strong_count(&journal) > 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_memory_bomb_is_told_with_its_numbers() {
    let grant = Arc::new(Grant { memory: Size::mib(16), ..Grant::default() });
    let (outcome, _) = attack_with(json!({ "attack": "memory_bomb" }), |work| work.grant = grant).await;
    let Outcome::OutOfMemory { wanted, limit } = outcome else { panic!("{outcome:?}") };
    assert!(wanted > limit && limit == Size::mib(16), "{wanted} {limit}");
}

#[tokio::test]
async fn endless_recursion_is_a_stack_overflow() {
    let (outcome, _) = attack(json!({ "attack": "recursion" })).await;
    let Outcome::Trapped { message } = &outcome else { panic!("{outcome:?}") };
    assert!(message.starts_with("stack overflow (in ") && message.contains("descend"), "{message}");
}

#[tokio::test]
async fn a_panic_says_where_and_why() {
    let (outcome, journal) = attack(json!({ "attack": "panic" })).await;
    let Outcome::Trapped { message } = &outcome else { panic!("{outcome:?}") };
    assert!(message.starts_with("panicked at ") && message.contains("src/lib.rs:"), "{message}");
    assert!(message.contains("a hostile guest panics") && !message.contains("RUST_BACKTRACE"), "{message}");
    assert!(journal.take().lines.iter().any(|line| line.level == Level::Warn && line.message.contains("a hostile guest panics")));
}

#[tokio::test]
async fn a_plugin_that_exits_has_not_succeeded() {
    let (outcome, _) = attack(json!({ "attack": "exit", "code": 7 })).await;
    assert!(
        matches!(&outcome, Outcome::Trapped { message } if message.contains("exit code 1 instead of returning")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn floods_are_cut_and_counted_and_never_an_error() {
    for (what, ends) in
        [("log_flood", "flooded"), ("stdout_flood", "flooded, 0 writes refused"), ("stderr_flood", "flooded, 0 writes refused")]
    {
        let (outcome, journal) = attack(json!({ "attack": what, "n": 30_000 })).await;
        assert!(matches!(&outcome, Outcome::Succeeded { summary, .. } if summary == ends), "{what}: {outcome:?}");
        let taken = journal.take();
        let (kept, usual) = (taken.lines.iter().map(|line| line.message.len() as u64).sum::<u64>(), Limits::default());
        assert!(kept <= usual.log_bytes.0 && taken.lines.len() as u64 <= usual.log_lines, "{what}: {kept}");
        assert_eq!(taken.lines.len() as u64 + taken.dropped, 30_000, "{what}");
        let level = if what == "stderr_flood" { Level::Warn } else { Level::Info };
        assert_eq!(taken.lines[0].level, level, "{what}");
    }
}

#[tokio::test]
async fn a_long_summary_is_cut() {
    let (outcome, _) = attack(json!({ "attack": "big_output", "bytes": 2_000_000 })).await;
    let Outcome::Succeeded { summary, .. } = &outcome else { panic!("{outcome:?}") };
    assert!(summary.len() < 5_000 && summary.ends_with("(1995904 more bytes)"), "{}", summary.len());
    let (outcome, _) = attack(json!({ "attack": "big_output", "bytes": 32_000_000 })).await;
    assert!(matches!(outcome, Outcome::OutOfMemory { .. } | Outcome::Succeeded { .. }), "copies count too: {outcome:?}");
}

#[tokio::test]
async fn failures_keep_their_class_and_delay() {
    for (what, class, delay) in [
        ("fail_transient", Class::Transient, Some(1_500)),
        ("fail_permanent", Class::Permanent, Some(1_500)),
        ("snooze", Class::Snooze, Some(1_500)),
    ] {
        let (outcome, _) = attack(json!({ "attack": what, "ms": 1_500 })).await;
        let Outcome::Failed { class: found, message, delay: wait, .. } = &outcome else { panic!("{outcome:?}") };
        assert_eq!((*found, message.as_str(), wait.map(|span| span.as_millis())), (class, "as asked", delay), "{what}");
    }
}

#[tokio::test]
async fn items_have_limits() {
    for (input, says) in [
        (json!({ "n": 10_001 }), "10001 items; a run has at most 10000"),
        (json!({ "n": 1, "bytes": 20_000 }), "the limit is 16384"),
        (json!({ "n": 9_000, "bytes": 4_000 }), "at most 33554432: keep them elsewhere"),
    ] {
        let (mut attack_input, mut asked) = (input, tokio::sync::mpsc::channel(1));
        attack_input["attack"] = "items_flood".into();
        let large = Size(256 << 20);
        let (outcome, _) = attack_with(attack_input, |work| {
            work.items = Some(asked.0);
            work.grant = Arc::new(Grant { memory: large, ..Grant::default() });
            work.ceiling = Arc::new(Ceiling { memory: large, ..Ceiling::default() });
        })
        .await;
        let told = data(&outcome);
        assert!(told["message"].as_str().is_some_and(|message| message.contains(says)), "{told}");
        assert!(asked.1.recv().await.is_none(), "nothing of it comes through");
    }
}

fn limited(limits: LimitsSpec) -> impl FnOnce(&mut windlass::plugin::Work) {
    move |work| work.grant = Arc::new(Grant { limits, ..Grant::default() })
}

#[tokio::test]
async fn tables_modules_and_handles_have_limits_that_say_their_names() {
    let house = house().await;
    let digest = house.sandbox.catalog().add(modules::table_bomb()).await.unwrap().digest;
    let mut tables = work(&digest, &json!({}));
    limited(LimitsSpec { table_elements: Some(5_000), ..LimitsSpec::default() })(&mut tables);
    let outcome = house.sandbox.execute(tables).await;
    let Outcome::Trapped { message } = &outcome else { panic!("{outcome:?}") };
    assert!(message.contains("the limit is 5000") && message.contains("table_elements"), "{message}");
    for (attack, limits, says) in [
        ("echo", LimitsSpec { instances: Some(1), ..LimitsSpec::default() }, "limits = { instances = … }"),
        ("handles", LimitsSpec { handles: Some(50), ..LimitsSpec::default() }, "limits = { handles = … }"),
    ] {
        let (outcome, _) = attack_with(json!({ "attack": attack }), limited(limits)).await;
        let Outcome::Trapped { message } = &outcome else { panic!("{outcome:?}") };
        assert!(message.contains(says), "{message}");
    }
}

#[tokio::test]
async fn output_and_log_are_as_large_as_the_grant_says() {
    let small = LimitsSpec { output_bytes: Some(Size(100)), ..LimitsSpec::default() };
    let (outcome, _) = attack_with(json!({ "attack": "big_data", "bytes": 200 }), limited(small)).await;
    assert!(
        matches!(&outcome, Outcome::Failed { class: Class::Permanent, message, .. } if message.contains("the limit is 100") && message.contains("output_bytes")),
        "{outcome:?}"
    );
    for (limits, lines) in [
        (LimitsSpec { log_lines: Some(3), ..LimitsSpec::default() }, 3),
        (LimitsSpec { log_bytes: Some(Size(5_500)), ..LimitsSpec::default() }, 5),
    ] {
        let (outcome, journal) = attack_with(json!({ "attack": "log_flood", "n": 50 }), limited(limits)).await;
        let taken = journal.take();
        assert_eq!((taken.lines.len(), taken.dropped, outcome.word()), (lines, 50 - lines as u64, "succeeded"));
    }
}

#[tokio::test]
async fn a_limit_above_the_ceiling_is_the_ceilings() {
    let (outcome, journal) = attack_with(json!({ "attack": "log_flood", "n": 50 }), |work| {
        let limits = |lines| LimitsSpec { log_lines: Some(lines), ..LimitsSpec::default() };
        work.grant = Arc::new(Grant { limits: limits(40), ..Grant::default() });
        work.ceiling = Arc::new(Ceiling { limits: limits(10), ..Ceiling::default() });
    })
    .await;
    assert_eq!((journal.take().lines.len(), outcome.word()), (10, "succeeded"));
    assert!(journal.used().is_some_and(|used| used.peak_memory > 1024 * 1024 && used.requests == 0));
}
