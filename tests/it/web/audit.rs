//! The audit, as admins find it.

use axum::http::StatusCode;
use windlass::domain::member::Role;
use windlass::id::Id;
use windlass::store::member::Member;

use super::world::World;
use super::{Browser, clock};

#[tokio::test]
async fn admins_find_the_audit_in_their_menu_and_others_do_not() {
    let world = World::new(clock()).await;
    let browser = Browser::of(&world).await;
    assert!(browser.page("/").await.contains("<a href=\"/audit\">Audit</a>"));
    browser.press("/t/alpha/jobs/drain-jobs/pause").await;
    let page = browser.page("/audit").await;
    let row = page.find(">job.pause</th>").unwrap_or_else(|| panic!("{page}"));
    assert!(page[row..].contains("data-l=\"Who\">ann<") && page[row..].contains("<a href=\"/t/alpha\">alpha</a>"), "{page}");
    assert!(!browser.page("/audit?what=member").await.contains(">job.pause</th>"));
    assert!(browser.page("/audit?tenant=zeta&what=secret").await.contains("Nothing was done here."));
    for _ in 0..30 {
        browser.press("/t/alpha/jobs/drain-jobs/pause").await;
        browser.press("/t/alpha/jobs/drain-jobs/resume").await;
    }
    let page = browser.page("/audit?what=job").await;
    let older = page.split("rel=\"next\" href=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().replace("&#38;", "&");
    let page = browser.page(&older).await;
    assert!(
        page.contains("11 shown") && page.contains("href=\"/audit?what=job\">Newest</a>") && !page.contains("Older"),
        "{page}"
    );

    // The same person, with a lesser role.
    let mut tx = world.app.store.begin().await.unwrap();
    let hash = tx.member("ann").await.unwrap().unwrap().password_hash;
    let lesser = Member { name: "ann".into(), tenant: Id(0), role: Role::Operator, password_hash: hash };
    tx.put_member(&lesser, world.app.now()).await.unwrap();
    tx.commit().await.unwrap();
    assert!(!browser.page("/").await.contains("/audit"));
    assert_eq!(browser.get("/audit").await.0, StatusCode::FORBIDDEN);
}
