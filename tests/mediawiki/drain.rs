//! Backlogs go to zero: for all wikis, for a single edit, whatever triggers it, and after a crash.

use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use crate::farm::{PAGES, Wiki, take};
use crate::harness::wait;
use crate::scene::{QUICK, Scene, Setup, USUAL};

#[test]
fn w1_three_backlogs_drain_without_a_page_view() {
    let wikis = take(["alpha", "beta", "gamma"]);
    wikis.iter().for_each(|wiki| wiki.seed("Drained"));
    let before = wikis.each_ref().map(Wiki::requests);

    let scene = Scene::draining(&wikis, QUICK);
    let took = scene.drained(&wikis, "Drained", scene.began(), Duration::from_secs(120));
    let requests: Vec<u64> = wikis.iter().zip(&before).map(|(wiki, before)| wiki.requests().total - before.total).collect();
    println!("W1: three backlogs of {PAGES} pages drained {took:.1?} after the start of the server, by {requests:?} requests");

    for (wiki, before) in wikis.iter().zip(before) {
        assert_eq!(wiki.requests().page_views, before.page_views, "{}: nobody looked at a page", wiki.name);
        assert!(wiki.requests().most <= 1, "{}: one drain at a time", wiki.name);
        scene.backlog_is(wiki, "Windlass knows that it is empty", Duration::from_secs(20), |backlog| backlog.size == Some(0));
        assert!(scene.runs(wiki).iter().all(|run| run.state == "succeeded"), "{:?}", scene.runs(wiki));
    }
}

#[test]
fn w2_an_edit_is_visible_within_three_minutes() {
    const BOUND: Duration = Duration::from_secs(180);
    let [wiki] = take(["epsilon"]);
    let scene = Scene::draining(std::slice::from_ref(&wiki), USUAL);
    let idle = || scene.backlog_is(&wiki, "idle", Duration::from_secs(60), |backlog| backlog.size == Some(0));
    let edit = |category: &str| {
        let began = Instant::now();
        wiki.edit(category);
        wait(&format!("readers see {category}"), BOUND, || {
            let backlog = scene.backlog(&wiki);
            assert_eq!(backlog.health, "ok", "{backlog:?}");
            (wiki.visible(category) == 1).then_some(())
        });
        began.elapsed()
    };

    idle();
    println!("W2: an edit was visible after {:.1?}", edit("Live"));

    // The worst case: the wiki has just counted, and will say the same for a minute.
    wiki.switch("cached", true);
    let before = idle().sampled_at;
    scene.backlog_is(&wiki, "counted from now on by the cache", Duration::from_secs(60), |backlog| backlog.sampled_at != before);
    println!("W2: with a count that is a minute old, after {:.1?}", edit("Cached"));
    // Now the count still has what is done, runs find nothing, and then as many jobs come anew.
    let in_vain = || scene.runs(&wiki).iter().filter(|run| run.counts.is_some_and(|counts| counts.taken == 0)).count();
    let before = in_vain();
    wait("three runs in vain, or no more work is counted", Duration::from_secs(120), || {
        (in_vain() >= before + 3 || scene.backlog(&wiki).size == Some(0)).then_some(())
    });
    println!("W2: after {} runs in vain the next edit after {:.1?}", in_vain() - before, edit("Cached-again"));
}

#[test]
fn w5_one_drain_per_wiki_whatever_triggers_it() {
    let wikis = take(["alpha", "beta"]);
    // Small batches, so that a drain lasts long enough to be met by all its triggers.
    let mut scene = Scene::draining(&wikis, Setup { every: "1s", batch: 10, schedule: Some("* * * * *") });
    let merged_by_schedule = (1..=3).any(|round| {
        let category = format!("Round-{round}");
        until_before_the_minute(Duration::from_secs(3));
        wikis.iter().for_each(|wiki| wiki.seed_beside_drains(&category));
        let merged = start_until_drained(&scene, &wikis);
        assert!(merged.iter().all(|merged| *merged > 0), "runs asked for by hand were merged: {merged:?}");
        println!("W5: round {round}: {merged:?} runs asked for by hand were merged with one that was there");
        scene.drained(&wikis, &category, Instant::now(), Duration::from_secs(120));
        wikis.iter().all(|wiki| {
            let page = scene.server.page(&format!("/t/{}/jobs/drain-jobs", wiki.name));
            assert_eq!(page.status, 200, "{page:?}");
            page.text.contains("merged with run ")
        })
    });
    assert!(merged_by_schedule, "in no round did the schedule meet the drain");
    for wiki in &wikis {
        let requests = wiki.requests();
        println!("W5: {}: {requests:?}", wiki.name);
        assert_eq!(requests.most, 1, "{}: one request to run jobs at a time", wiki.name);
    }
}

/// Asks for runs of all wikis without end, until the queues are empty and the minute is over; answers how many of each were
/// merged with one that was there. Each names the run it is merged with.
fn start_until_drained(scene: &Scene, wikis: &[Wiki]) -> Vec<u32> {
    let (mut merged, began) = (vec![0; wikis.len()], Instant::now());
    wait("all are drained and the minute is over", Duration::from_secs(120), || {
        for (wiki, merged) in wikis.iter().zip(&mut merged) {
            let started = scene.server.api_post(&format!("tenants/{}/jobs/drain-jobs/runs", wiki.name), &json!({})).json();
            if started["merged"] == true {
                *merged += 1;
                let with = started["id"].as_str().unwrap();
                assert!(scene.runs(wiki).iter().any(|run| run.id == with), "{started}");
            }
        }
        let drained = wikis.iter().all(|wiki| wiki.queue().ready == 0);
        (drained && began.elapsed() > Duration::from_secs(5)).then_some(())
    });
    merged
}

/// Waits until so long before the next full minute.
fn until_before_the_minute(ahead: Duration) {
    wait("the end of a minute", Duration::from_secs(70), || {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        let left = 60_000 - u64::try_from(now.as_millis() % 60_000).unwrap();
        (left <= u64::try_from(ahead.as_millis()).unwrap()).then_some(())
    });
}

#[test]
fn w16_a_killed_server_finishes_after_its_restart() {
    let wikis = take(["alpha", "beta", "gamma"]);
    wikis.iter().for_each(|wiki| wiki.seed("Survived"));
    // Small batches, so that the kill falls in the middle.
    let mut scene = Scene::draining(&wikis, Setup { batch: 20, ..QUICK });
    wait("a drain is under way", Duration::from_secs(60), || {
        wikis.iter().any(|wiki| (1..PAGES - 20).contains(&wiki.queue().ready)).then_some(())
    });
    scene.server.kill();
    let left: Vec<u64> = wikis.iter().map(|wiki| wiki.queue().ready).collect();
    assert!(left.iter().any(|left| *left > 0), "killed in the middle: {left:?}");

    let restarted = Instant::now();
    scene.server.restart();
    let took = scene.drained(&wikis, "Survived", restarted, Duration::from_secs(120));
    println!("W16: killed with {left:?} jobs left, all drained {took:.1?} after the restart");
    for wiki in &wikis {
        assert!(wiki.requests().most <= 1, "{}: no second drain beside the one of the dead server", wiki.name);
        let runs = scene.runs(wiki);
        assert!(runs.iter().all(|run| run.failed == 0 && run.cause.is_none()), "a crash costs no attempt: {runs:?}");
    }
    let lost = |wiki| scene.runs(wiki).iter().any(|run| run.lost == 1);
    assert!(wikis.iter().any(lost), "the crash is told");
}
