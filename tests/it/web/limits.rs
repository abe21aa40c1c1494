//! What an attempt took of what it may, and modules on their way to plugins.

use windlass::clock::Clock;
use windlass::domain::attempt::Used;
use windlass::domain::limits::Limits;
use windlass::domain::plugin::{Push, PushState};
use windlass::domain::retry::Decision;
use windlass::domain::run::Final;
use windlass::id::Id;
use windlass::store::record::Finished;

use super::world::{HOSTILE, World};
use super::{Browser, clock};

#[tokio::test]
async fn a_runs_page_says_what_its_attempt_took_of_its_limits() {
    let world = World::new(clock()).await;
    let browser = Browser::of(&world).await;
    let path = format!("/t/alpha/runs/{}", world.running);
    assert!(!browser.page(&path).await.contains("of memory"), "while it runs nobody knows");
    let mut tx = world.app.store.begin().await.unwrap();
    let run = tx.need_run(world.alpha.tenant, world.running).await.unwrap();
    let took = [("open_requests", 3), ("response_bytes", 5 << 20), ("scratch", 7), ("state_keys", 1_001)];
    let took = took.map(|(key, amount)| (key.to_owned(), amount)).into();
    let used = Some(Used { peak_memory: 3 << 20, requests: 1_234, took });
    let finished = Finished {
        used,
        output: Some("{\"done\":1}".into()),
        ..Finished::new(run, Decision::End(Final::Succeeded), "succeeded", "")
    };
    tx.commit().await.unwrap();
    world.app.store.record(vec![finished]).await.unwrap();
    let page = browser.page(&path).await;
    for says in
        ["3.00 MiB of 64.00 MiB of memory", "1,234 of 10,000 requests", "4 of 20,000 lines of log", "10 B of 1.00 MiB of output"]
    {
        assert!(page.contains(says), "{says}: {page}");
    }
    // Each limit there is has its row: what was taken of it, and what may be.
    let row = |key: &str| {
        let (_, row) =
            page.split_once(&format!("<th scope=\"row\" class=\"mono\">{key}</th>")).unwrap_or_else(|| panic!("{key}: {page}"));
        let (row, _) = row.split_once("</tr>").unwrap();
        row.split(['<', '>'])
            .filter(|part| part.chars().next().is_some_and(|first| first.is_numeric() || first == '–'))
            .collect::<Vec<_>>()
            .join(" of ")
    };
    for known in Limits::known() {
        assert!(row(known.key).contains(" of "), "{}", known.key);
    }
    for (key, says) in [
        ("requests", "1,234 of 10,000"),
        ("open_requests", "3 of 16"),
        ("request_bytes", "– of 16.00 MiB"),
        ("response_bytes", "5.00 MiB of 16.00 MiB"),
        ("output_bytes", "10 B of 1.00 MiB"),
        ("state_keys", "1,001 of 1,000"),
        ("scratch", "7 B of 0 B"),
        ("stack", "– of 512.0 KiB"),
    ] {
        assert_eq!(row(key), says, "{key}");
    }
}

#[tokio::test]
async fn a_jobs_page_shows_the_first_hundred_keys_of_its_state_and_leads_to_the_others() {
    let world = World::new(clock()).await;
    let browser = Browser::of(&world).await;
    let mut tx = world.app.store.begin().await.unwrap();
    for n in 0..130 {
        tx.state_put(world.alpha.id, &format!("key {n:03}"), b"x".to_vec(), 1, clock().now()).await.unwrap();
    }
    tx.commit().await.unwrap();
    let path = "/t/alpha/jobs/drain-jobs";
    let page = browser.page(path).await;
    assert!(page.contains("100 of 130") && page.contains("key 099") && !page.contains("key 100"), "{page}");
    let next = format!("{path}?key=key%20099#state");
    assert!(page.contains(&format!("href=\"{next}\"")), "{page}");
    let page = browser.page(next.trim_end_matches("#state")).await;
    assert!(page.contains("30 of 130") && page.contains("key 100") && !page.contains("key 099"), "{page}");
    assert!(page.contains(&format!("href=\"{path}#state\"")), "there is a way back to the first");
}

#[tokio::test]
async fn modules_on_their_way_stand_above_the_plugins_and_refused_ones_say_why() {
    let world = World::new(clock()).await;
    let browser = Browser::of(&world).await;
    assert!(!browser.page("/plugins").await.contains("On their way"));
    let push = |id, name: &str, state, message: Option<&str>| Push {
        id: Id(id),
        tenant: Id(0),
        name: name.into(),
        version: None,
        digest: "sha256:0123456789abcdef".into(),
        bytes: 9,
        state,
        message: message.map(Into::into),
        fresh: false,
        begun_at: clock().now(),
        at: clock().now(),
        pushed_by: "ann".into(),
    };
    let mut tx = world.app.store.begin().await.unwrap();
    tx.put_push(&push(1, "drain", PushState::Ready, None)).await.unwrap();
    tx.put_push(&push(2, "bomb", PushState::Refused, Some(HOSTILE))).await.unwrap();
    tx.commit().await.unwrap();
    let page = browser.page("/plugins").await;
    assert!(page.contains("bomb") && !page.contains(">drain<") && !page.contains(HOSTILE), "{page}");
    assert!(!page.contains("every 2s"), "nothing moves: nothing is asked for again");
    let mut tx = world.app.store.begin().await.unwrap();
    tx.put_push(&push(3, "", PushState::Compiling, None)).await.unwrap();
    tx.commit().await.unwrap();
    let part = browser.fragment("/plugins", "pushes").await;
    assert!(part.contains("compiling") && part.contains("every 2s") && !part.contains("<h1>"), "{part}");
}
