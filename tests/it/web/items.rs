//! The items on a run's page, and the buttons that run them again.

use windlass::clock::Clock;
use windlass::domain::item::{Ask, Closing, Ending, ItemState, NewItem};
use windlass::domain::retry::Decision;
use windlass::domain::run::{Final, Reason, State};
use windlass::id::Id;
use windlass::store::claim::Claimed;
use windlass::store::item::Asked;
use windlass::store::run::RunQuery;

use super::world::{HOSTILE, World, end};
use super::{Browser, clock, location};

/// Asks for the running run of alpha, as its guest would.
async fn ask(world: &World, ask: Ask) {
    let mut tx = world.app.store.begin().await.unwrap();
    let run = tx.need_run(world.alpha.tenant, world.running).await.unwrap();
    assert!(matches!(run.state, State::Running { .. }));
    let asked =
        Asked { tenant: run.tenant, run: run.id, fence: run.fence, attempt: run.attempt, strict: false, most: 10_000, ask };
    tx.items(&[asked], clock().now()).await.unwrap().remove(0).unwrap();
    tx.commit().await.unwrap();
}

async fn with_items(world: &World, n: usize) {
    let items = (0..n).map(|at| NewItem { name: format!("image-{at:03}"), input: String::new() }).collect();
    ask(world, Ask::Declare(items)).await;
    ask(world, Ask::Next(2)).await;
    let end =
        |at: usize, state, message: &str| Ending { name: format!("image-{at:03}"), state, message: message.into(), output: None };
    ask(world, Ask::Finish(vec![end(0, ItemState::Done, ""), end(2, ItemState::Failed, HOSTILE)])).await;
}

async fn carried(world: &World, run: Id) -> u64 {
    let mut tx = world.app.store.read().await.unwrap();
    tx.item_counts(&[(world.alpha.tenant, run)]).await.unwrap().get(&run).map_or(0, |counts| counts.done)
}

#[tokio::test]
async fn a_runs_page_shows_its_items_by_state_and_page_by_page() {
    let world = World::new(clock()).await;
    let browser = Browser::of(&world).await;
    let path = format!("/t/alpha/runs/{}", world.running);
    assert!(!browser.page(&path).await.contains("Items by state"), "a run without items has no empty table");
    with_items(&world, 120).await;
    let page = browser.page(&path).await;
    assert!(page.contains("aria-label=\"120 items: 117 pending, 1 running, 1 done, 1 failed\""), "{page}");
    assert!(page.contains("50 of 120") && page.contains("image-049") && !page.contains("image-050"));
    assert!(!page.contains(HOSTILE) && page.contains("&#60;script&#62;"), "what a guest says is text");
    let next = page.split("rel=\"next\" href=\"").nth(1).unwrap().split('"').next().unwrap().replace("&#38;", "&");
    let second = browser.page(&next).await;
    assert!(second.contains("image-050") && second.contains("image-099") && !second.contains("image-049"), "{second}");
    let failed = browser.page(&format!("{path}?items=failed")).await;
    assert!(failed.contains("image-002") && !failed.contains("image-003"));
    assert!(failed.contains("pill failed\">failed"), "amber: the run is not dead of it");
}

#[tokio::test]
async fn a15_a_running_runs_page_shows_counts_rate_and_time_left() {
    let world = World::new(clock()).await;
    let browser = Browser::of(&world).await;
    with_items(&world, 4).await;
    // It began 11 s ago; two of four have ended since.
    let part = browser.fragment(&format!("/t/alpha/runs/{}", world.running), "items").await;
    assert!(part.contains("4 items: 1 pending, 1 running, 1 done, 1 failed"), "{part}");
    assert!(part.contains("10.9 a minute, about 11 s left"), "{part}");
    assert!(part.contains("hx-trigger=\"changed from:body\""), "it fetches itself when something has changed");
}

#[tokio::test]
async fn a14_a_jobs_page_shows_items_that_fail_in_the_same_place() {
    let world = World::new(clock()).await;
    let browser = Browser::of(&world).await;
    with_items(&world, 4).await;
    let mut tx = world.app.store.begin().await.unwrap();
    let runs =
        tx.runs(world.alpha.tenant, &RunQuery { job: Some(world.alpha.id), limit: 50, ..RunQuery::default() }).await.unwrap();
    let run = tx.need_run(world.alpha.tenant, world.running).await.unwrap();
    for old in runs.iter().filter(|run| run.state.is_final()).take(3) {
        tx.carry_items(&[(run.tenant, run.id, old.id)]).await.unwrap();
    }
    tx.commit().await.unwrap();
    assert!(!browser.page("/t/alpha/jobs/drain-jobs").await.contains("fail in the same place"), "what was carried is open");
    let mut tx = world.app.store.begin().await.unwrap();
    for old in runs.iter().filter(|run| run.state.is_final()).take(3) {
        let closing = Closing { state: ItemState::Failed, message: "lost".into(), in_order: false };
        tx.close_items(&[(run.tenant, old.id, closing)], clock().now()).await.unwrap();
    }
    tx.commit().await.unwrap();
    let page = browser.page("/t/alpha/jobs/drain-jobs").await;
    assert!(
        page.contains("fail in the same place") && page.contains("<td>step 3</td><td>the plugin</td><td class=\"num\">3</td>"),
        "{page}"
    );
    assert!(!page.contains("<td>step 1</td>"), "that one is done everywhere");
}

#[tokio::test]
async fn the_button_runs_again_what_is_not_done() {
    let world = World::new(clock()).await;
    let browser = Browser::of(&world).await;
    with_items(&world, 4).await;
    let mut tx = world.app.store.begin().await.unwrap();
    let run = tx.need_run(world.alpha.tenant, world.running).await.unwrap();
    tx.commit().await.unwrap();
    let dead = Decision::End(Final::Dead(Reason::ItemsFailed));
    end(&world.app.store, &Claimed { run, input: None }, dead, "3 of 4 items failed", None, clock().now()).await;
    let path = format!("/t/alpha/runs/{}", world.running);
    let page = browser.page(&path).await;
    assert!(
        page.contains("name=\"items\" value=\"open\">Re-run 3 not done") && page.contains("value=\"all\">Re-run all"),
        "{page}"
    );
    assert!(page.contains("pill failed final\">failed") && page.contains("f-dead"), "the run is dead of it");
    let again = browser.send_form(&format!("{path}/rerun"), "items=open").await;
    let new: Id = location(&again).split('?').next().unwrap().rsplit('/').next().unwrap().parse().unwrap();
    assert_eq!(carried(&world, new).await, 1);
    assert!(browser.page(location(&again)).await.contains("already up to date"));
}
