//! The page of alerts: what needs a person, silenced and told again by buttons; the page of nodes.

use std::time::Duration;

use axum::http::StatusCode;
use windlass::app::Who;
use windlass::app::alert::Standing;
use windlass::domain::alert::{AlertKind, Subject};
use windlass::domain::member::Role;

use super::world::{HOSTILE, World};
use super::{Browser, NOW, clock, location};

#[tokio::test]
async fn an_alert_is_silenced_by_a_button_for_a_time_and_told_again_by_another() {
    let world = World::new(clock()).await;
    let mut tx = world.app.store.begin().await.unwrap();
    let tenant = tx.need_tenant("epsilon").await.unwrap().id;
    let job = tx.need_job(tenant, "drain-jobs").await.unwrap().id;
    let of = |kind| Subject { tenant, job, node: 0, kind };
    tx.raise_alerts(
        &[(of(AlertKind::Stuck), HOSTILE.to_owned()), (of(AlertKind::Dead), "3 dead runs need a person".into())],
        NOW,
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let browser = Browser::of(&world).await;
    let page = browser.page("/alerts").await;
    for part in ["epsilon / drain-jobs", "pill stuck", "3 dead runs need a person", "Who is told", "Nobody. Write an alert"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains(HOSTILE), "what a target said is text");
    let form = "tenant=epsilon&job=drain-jobs&kind=stuck&for=8h&of=";
    let pressed = browser.send_form("/alerts/silence", form).await;
    assert_eq!((pressed.status(), location(&pressed)), (StatusCode::SEE_OTHER, "/alerts?done=silenced"));
    let page = browser.page("/alerts?done=silenced").await;
    assert!(page.contains("epsilon/drain-jobs, stuck") && page.contains("Tell again") && page.contains("Silenced: it is shown"));
    let silences = world.app.silences(None, &Who::server()).await.unwrap();
    assert_eq!(silences[0].silence.until, NOW.plus(Duration::from_secs(8 * 3600)));
    let pressed = browser.send_form("/alerts/speak", "tenant=epsilon&job=drain-jobs&kind=stuck&of=epsilon").await;
    assert_eq!((pressed.status(), location(&pressed)), (StatusCode::SEE_OTHER, "/alerts?tenant=epsilon&done=spoken"));
    assert!(world.app.silences(None, &Who::server()).await.unwrap().is_empty());
    assert!(browser.page("/alerts?tenant=alpha").await.contains("Nothing needs a person."));
    assert!(browser.fragment("/alerts", "open").await.contains("pill stuck"));
    assert!(!browser.page("/alerts").await.contains("Pages of open alerts"));
    let mut tx = world.app.store.begin().await.unwrap();
    let many: Vec<_> = (1..=60).map(|n| (Subject { node: n, ..of(AlertKind::Node) }, format!("node {n} is apart"))).collect();
    tx.raise_alerts(&many, NOW).await.unwrap();
    tx.commit().await.unwrap();
    let page = browser.page("/alerts").await;
    let older = page.split("rel=\"next\" href=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
    assert_eq!(page.matches("is apart</td>").count(), 50, "a page");
    let next = browser.page(&older.replace("&#38;", "&").replace("&amp;", "&")).await;
    assert_eq!(next.matches("is apart</td>").count(), 10, "{older}: {next}");
    assert!(next.contains("pill stuck") && next.contains(">Newest</a>"));
    let narrow = Who { name: "v".into(), role: Role::Viewer, tenant: Some(tenant) };
    assert!(
        world
            .app
            .alerts(None, Standing::Open, None, 9, &narrow)
            .await
            .unwrap()
            .iter()
            .all(|shown| shown.tenant.as_deref() == Some("epsilon"))
    );
    assert!(
        world.app.alerts(Some("alpha"), Standing::Open, None, 9, &narrow).await.is_err()
            && world.app.nodes(&narrow).await.is_err()
    );
}

#[tokio::test]
async fn the_page_of_nodes_shows_who_is_there_and_what_each_took() {
    let world = World::new(clock()).await;
    let page = Browser::of(&world).await.page("/nodes").await;
    let settings = Browser::of(&world).await.page("/nodes/settings").await;
    for part in ["worker.guest_threads", "lease.skew", ">default<"] {
        assert!(settings.contains(part), "{part}: {settings}");
    }
    for part in
        ["Configuration of this one", ", this one", "pill ok\">up", "alpha / drain-jobs", "pill ok\">yes", "Ended in 2 min"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
}
