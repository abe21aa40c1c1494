//! The page of schedules, and the question before a backfill.

use std::sync::Arc;

use axum::http::StatusCode;
use windlass::clock::ManualClock;
use windlass::domain::job::Job;
use windlass::id::Id;
use windlass::store::ledger::Query;
use windlass::store::schedule::Occurrence;

use super::world::World;
use super::{Browser, NOW, clock, location, text};

#[tokio::test]
async fn the_schedule_shows_what_fires_and_what_came_of_what_was_due() {
    let world = World::new(clock()).await;
    let browser = Browser::of(&world).await;
    let mut tx = world.app.store.begin().await.unwrap();
    let trigger =
        tx.triggers_of(world.alpha.id).await.unwrap().into_iter().find(|trigger| trigger.spec.schedule().is_some()).unwrap();
    let line = |hours: u64, result, note: &str| Occurrence {
        trigger: trigger.id,
        due_at: NOW.minus(std::time::Duration::from_secs(hours * 3_600)),
        tenant: trigger.tenant,
        job: trigger.job,
        result,
        run: None,
        note: Some(note.to_owned()),
    };
    tx.put_occurrences(&[line(12, "missed", "Windlass was not there"), line(13, "queued", "waited for run x")], NOW)
        .await
        .unwrap();
    tx.commit().await.unwrap();

    let page = browser.page("/schedule?zone=Europe/Berlin").await;
    for says in [
        "alpha / drain-jobs",
        "Sun 25 Oct 02:30",
        "clocks go back at",
        "class=\"twice\"",
        "suppressed: the job is paused",
        "aria-current=\"page\">Schedule",
    ] {
        assert!(page.contains(says), "{says}: {page}");
    }
    let page = browser.page("/schedule?window=2h").await;
    assert!(page.contains("not in this window") && !page.contains("clocks go"), "{page}");
    assert!(!browser.page("/schedule?q=epsilon").await.contains("alpha / drain-jobs"));

    let page = browser.page("/schedule?window=past").await;
    assert!(page.contains("Windlass was not there") && page.contains("pill waiting\">queued"), "{page}");
    let page = browser.page("/schedule?window=past&result=missed").await;
    assert!(page.contains("Windlass was not there") && !page.contains("waited for run x"), "{page}");
    let part = browser.fragment("/schedule?window=past", "timeline").await;
    assert!(part.starts_with("<div id=\"timeline\"") && part.contains("Windlass was not there"), "{part}");
}

/// A search, and a filter, see the whole day: not the lines of the first page alone.
#[tokio::test]
async fn what_has_passed_is_found_behind_any_number_of_other_lines() {
    let world = World::new(clock()).await;
    let browser = Browser::of(&world).await;
    let mut tx = world.app.store.begin().await.unwrap();
    let epsilon = tx.tenants().await.unwrap().into_iter().find(|tenant| tenant.name == "epsilon").unwrap();
    let rare = tx.need_job(epsilon.id, "drain-jobs").await.unwrap();
    let line = |job: &Job, minutes: u64, result, note: &str| Occurrence {
        trigger: Id(7_000_000 + job.id.0 % 1_000),
        due_at: NOW.minus(std::time::Duration::from_secs(minutes * 60)),
        tenant: job.tenant,
        job: job.id,
        result,
        run: None,
        note: Some(note.to_owned()),
    };
    let mut lines: Vec<_> = (0..200).map(|n| line(&world.alpha, n, "ran", &format!("often {n}"))).collect();
    lines.extend((0..50).map(|n| line(&rare, 300 + n, if n == 49 { "missed" } else { "ran" }, &format!("seldom {n}"))));
    tx.put_occurrences(&lines, NOW).await.unwrap();
    tx.commit().await.unwrap();
    let page = browser.page("/schedule?window=past&q=Epsilon").await;
    assert!(page.contains("seldom 0<") && page.contains("seldom 39<") && !page.contains("often"), "{page}");
    let next = page.split("href=\"").find(|href| href.contains("after=")).unwrap().split('"').next().unwrap();
    assert!(next.contains("q=Epsilon"), "{next}");
    let page = browser.page(&next.replace("&#38;", "&")).await;
    assert!(page.contains("seldom 40<") && page.contains("seldom 49<") && !page.contains("seldom 39<"), "{page}");
    let page = browser.page("/schedule?window=past&q=epsilon&result=missed").await;
    assert!(page.contains("seldom 49<") && !page.contains("seldom 48<"), "{page}");
    let page = browser.page("/schedule?window=past&result=missed").await;
    assert!(page.contains("seldom 49<") && !page.contains("often"), "{page}");
    assert!(!browser.page("/schedule?window=past&q=nobody").await.contains("often"));
    // As for more jobs than are sought one by one.
    let mut tx = world.app.store.read().await.unwrap();
    for (tenant, result, found) in
        [(None, None, 50), (Some(epsilon.id), None, 50), (None, Some("missed"), 1), (Some(world.alpha.tenant), None, 0)]
    {
        let result = result.map(str::to_owned);
        let query = Query { tenant, words: "epsilon / ".into(), result, limit: 100, ..Query::default() };
        assert_eq!(tx.ledger(&query).await.unwrap().len(), found, "{query:?}");
    }
}

#[tokio::test]
async fn a_backfill_is_asked_for_shown_confirmed_and_followed() {
    let world = World::new(clock()).await;
    let browser = Browser::of(&world).await;
    let path = "/t/alpha/jobs/drain-jobs/backfill";
    assert!(browser.page("/t/alpha/jobs/drain-jobs").await.contains(&format!("href=\"{path}\"")));
    assert!(browser.page(path).await.contains("Show what it would do"));
    let asked = format!("{path}?from=2026-10-20T00:00&to=2026-10-24T00:00");
    let page = browser.page(&asked).await;
    assert!(
        page.contains("Backfill 4 runs?") && page.contains("Tue 20 Oct 02:30") && page.contains("name=\"total\" value=\"4\""),
        "{page}"
    );
    let page = browser.page(&format!("{path}?from=2026-10-24T00:00&to=2026-10-20T00:00")).await;
    assert!(page.contains("is not after from") && !page.contains("name=\"total\""), "{page}");
    let fields = "from=2026-10-20T00:00&to=2026-10-24T00:00&rate=10&reason=the+clock";
    let stale = browser.send_form(path, &format!("{fields}&total=3")).await;
    assert_eq!(stale.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(text(stale).await.contains("these are 4 runs now, and not 3"));
    let begun = browser.send_form(path, &format!("{fields}&total=4")).await;
    assert_eq!(begun.status(), StatusCode::SEE_OTHER);
    let operation = location(&begun).to_owned();
    world.work().await;
    let page = browser.page(&operation).await;
    for says in ["Backfill 4 missed runs", "4 of 4", "Tue 20 Oct 00:30", "made a run", "“the clock”"] {
        assert!(page.contains(says), "{says}: {page}");
    }
    assert!(browser.page("/t/alpha/jobs/drain-jobs").await.contains(">backfilled<"));
    let page = browser.page(&asked).await;
    assert!(
        page.contains("Backfill 0 runs?") && page.contains("left as they are") && !page.contains("name=\"reason\""),
        "{page}"
    );
}

#[tokio::test]
async fn a_backfill_says_what_it_waits_for_and_what_the_ledger_does_not_know() {
    // The job is older than what the ledger knows.
    let age = std::time::Duration::from_secs(9 * 24 * 3_600);
    let clock = Arc::new(ManualClock::at(NOW.minus(age)));
    let world = World::new(clock.clone()).await;
    clock.advance(age);
    let browser = Browser::of(&world).await;
    let path = "/t/alpha/jobs/drain-jobs/backfill";
    let forgotten = format!("{path}?from=2026-10-10T00:00&to=2026-10-12T00:00");
    let page = browser.page(&forgotten).await;
    assert!(page.contains("is not known any more") && !page.contains("name=\"total\""), "{page}");
    let page = browser.page(&format!("{forgotten}&again=yes")).await;
    assert!(page.contains("Not known") && page.contains("name=\"total\" value=\"2\""), "{page}");

    let mut tx = world.app.store.begin().await.unwrap();
    let mut alpha = tx.tenants().await.unwrap().into_iter().find(|tenant| tenant.name == "alpha").unwrap();
    alpha.limits.waiting = Some(2);
    tx.put_tenant(&alpha, NOW).await.unwrap();
    tx.commit().await.unwrap();
    let fields = "from=2026-10-20T00:00&to=2026-10-24T00:00&rate=10&total=4";
    let begun = browser.send_form(path, fields).await;
    let operation = location(&begun).to_owned();
    world.work().await;
    let page = browser.page(&operation).await;
    assert!(page.contains("waits for limits.waiting of alpha (2 of 2)") && page.contains("<b>0</b> left as they were"), "{page}");
}
