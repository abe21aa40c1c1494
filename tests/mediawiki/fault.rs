//! What goes wrong at a wiki is called by its name, and costs nobody else.

use std::time::{Duration, Instant};

use crate::farm::take;
use crate::harness::{files_with, wait};
use crate::scene::{QUICK, Run, Scene};

#[test]
fn w7_poison_shows_as_stuck_and_fresh_work_is_still_seen() {
    let [wiki] = take(["delta"]);
    wiki.poison(5);
    wiki.drain();
    let poisoned = wiki.queue().claimed;
    assert!(poisoned >= 5, "all that is left has failed: {:?}", wiki.queue());

    let scene = Scene::draining(std::slice::from_ref(&wiki), QUICK);
    let stuck = scene.backlog_is(&wiki, "stuck", Duration::from_secs(60), |backlog| backlog.health == "stuck");
    println!("W7: stuck {:.1?} after the start: {}", scene.began().elapsed(), stuck.why);
    assert!(stuck.why.starts_with(&format!("{poisoned} jobs, none runnable")), "{stuck:?}");
    assert!(["in 5 min", "in 4 min"].iter().any(|pause| stuck.why.contains(pause)), "{stuck:?}");

    // It is polled as before, and nothing is run.
    let (runs, polled) = (scene.runs(&wiki), scene.backlog(&wiki).sampled_at);
    assert_eq!(runs.len(), 3, "{runs:?}");
    scene.backlog_is(&wiki, "polled again", Duration::from_secs(20), |backlog| backlog.sampled_at != polled);
    let polled = scene.backlog(&wiki).sampled_at;
    scene.backlog_is(&wiki, "and again", Duration::from_secs(20), |backlog| backlog.sampled_at != polled);
    assert_eq!(scene.runs(&wiki).len(), runs.len(), "{:?}", scene.runs(&wiki));

    // Twice: the first edit must not leave a pause behind for the second.
    for category in ["Fresh", "Fresher"] {
        let began = Instant::now();
        wiki.edit(category);
        wait(category, Duration::from_secs(180), || (wiki.visible(category) == 1).then_some(()));
        println!("W7: fresh work beside {poisoned} that cannot run was done after {:.1?}", began.elapsed());
    }
}

#[test]
fn w8_jobs_that_all_failed_are_never_a_success() {
    let [wiki] = take(["delta"]);
    wiki.poison(15);
    let scene = Scene::draining(std::slice::from_ref(&wiki), QUICK);
    let took = |run: &Run| run.counts.map_or(0, |counts| counts.taken);
    let runs = wait("all have been tried", Duration::from_secs(60), || {
        Some(scene.runs(&wiki)).filter(|runs| runs.iter().map(took).sum::<u64>() == 15)
    });
    // One run, unless the wiki says too early that it has no more.
    for run in runs.iter().filter(|run| took(run) > 0) {
        println!("W8: {} after {:.1?}: {:?}", run.page_state, scene.began().elapsed(), run.error);
        let n = took(run);
        assert_eq!((run.state.as_str(), run.cause.as_deref()), ("dead", Some("items_failed")), "{run:?}");
        assert!(run.error.as_deref().unwrap().contains(&format!("partly failed {n} of {n}")), "{run:?}");
        assert!(run.error.as_deref().unwrap().contains("poison job failed"), "{run:?}");
        assert_eq!(run.counts.map(|counts| (counts.done, counts.failed)), Some((0, n)), "{run:?}");
    }
}

#[test]
fn w9_an_answer_without_a_number_is_a_failed_poll_and_never_zero() {
    let [wiki] = take(["delta"]);
    wiki.switch("private", true);
    let scene = Scene::draining(std::slice::from_ref(&wiki), QUICK);
    // The API says "readapidenied" with HTTP 200.
    let failed = scene.backlog_is(&wiki, "the poll failed", Duration::from_secs(60), |backlog| backlog.error.is_some());
    println!("W9: {}", failed.error.as_deref().unwrap());
    assert!(failed.error.as_deref().unwrap().contains("readapidenied"), "{failed:?}");
    assert_eq!(failed.size, None, "not zero");
    let failing = scene.backlog_is(&wiki, "failing", Duration::from_secs(60), |backlog| backlog.health == "failing");
    assert!(failing.why.starts_with("poll failed 3 times"), "{failing:?}");

    wiki.switch("private", false);
    scene.backlog_is(&wiki, "measured", Duration::from_secs(60), |backlog| backlog.size.is_some() && backlog.error.is_none());
}

#[test]
fn w10_read_only_defers_and_costs_no_attempt() {
    let wikis = take(["gamma"]);
    let [wiki] = &wikis;
    wiki.seed("Deferred");
    wiki.switch("read-only", true);
    let scene = Scene::draining(&wikis, QUICK);
    let deferred = wait("the run is deferred", Duration::from_secs(60), || scene.runs(wiki).pop().filter(|run| run.snoozed > 0));
    assert_eq!((deferred.state.as_str(), deferred.failed), ("waiting", 0), "{deferred:?}");
    assert!(deferred.why.as_deref().unwrap().starts_with("deferred: "), "{deferred:?}");
    assert!(deferred.why.as_deref().unwrap().contains("read-only"), "{deferred:?}");
    assert_eq!(scene.backlog(wiki).health, "ok", "nobody's fault");

    let writable = Instant::now();
    wiki.switch("read-only", false);
    let took = scene.drained(&wikis, "Deferred", writable, Duration::from_secs(60));
    println!("W10: drained {took:.1?} after the wiki could be written again");
    let run = wait("the run is over", Duration::from_secs(10), || {
        scene.runs(wiki).into_iter().find(|run| run.id == deferred.id && run.state == "succeeded")
    });
    assert_eq!((run.failed, run.lost), (0, 0), "{run:?}");
}

#[test]
fn w11_a_wrong_secret_fails_for_good_and_shows_nowhere() {
    const WRONG: &str = "not-the-key-of-this-wiki-7d1f0c";
    let [wrong, right] = take(["alpha", "beta"]);
    wrong.seed("Misconfigured");
    right.seed("Configured");
    let mut scene = Scene::start();
    let right_key = right.key.clone();
    scene.apply(&[(&wrong, WRONG), (&right, &right_key)], QUICK);

    let dead = wait("dead", Duration::from_secs(60), || scene.runs(&wrong).pop().filter(|run| run.state == "dead"));
    println!("W11: dead {:.1?} after the start: {:?}", scene.began().elapsed(), dead.error);
    // The first poll may come before the secret: such a run waits for it, at no cost.
    let tried = dead.attempt - dead.snoozed;
    assert_eq!((dead.cause.as_deref(), tried, dead.failed), (Some("permanent"), 1, 1), "{dead:?}");
    assert!(dead.error.as_deref().unwrap().contains("signature"), "{dead:?}");
    let failing = scene.backlog_is(&wrong, "failing", Duration::from_secs(30), |backlog| backlog.health == "failing");
    assert!(failing.why.contains("signature"), "{failing:?}");
    let took = scene.drained(std::slice::from_ref(&right), "Configured", scene.began(), Duration::from_secs(120));
    println!("W11: the other wiki was drained after {took:.1?}");

    let mut shown = String::new();
    for path in ["tenants", "backlogs", "tenants/alpha", "tenants/alpha/jobs", "tenants/alpha/secrets", "tenants/alpha/runs"] {
        shown += &scene.server.api_get(path).to_string();
    }
    let run = format!("tenants/alpha/runs/{}", dead.id);
    shown += &scene.server.api_get(&run).to_string();
    shown += &scene.server.api_get(&format!("{run}/logs")).to_string();
    shown += &scene.server.cli(&["run", "logs", &format!("alpha/{}", dead.id)]).stdout;
    for path in ["/", "/failures", "/runs", "/t/alpha", "/t/alpha/jobs/drain-jobs", &format!("/t/alpha/runs/{}", dead.id)] {
        let page = scene.server.page(path);
        assert_eq!(page.status, 200, "{path}: {page:?}");
        shown += &page.text;
    }
    assert!(shown.contains("signature"), "the reason is shown");
    let secrets = [WRONG, wrong.key.as_str(), right_key.as_str()];
    for secret in secrets {
        assert!(!shown.contains(secret), "a secret is shown: {shown}");
    }
    assert_eq!(files_with(scene.server.dir(), &secrets), [] as [String; 0], "a secret stands in a file");

    // The right key mends it, with no more than that.
    scene.set_key(&wrong, &wrong.key);
    scene.drained(std::slice::from_ref(&wrong), "Misconfigured", Instant::now(), Duration::from_secs(60));
}
