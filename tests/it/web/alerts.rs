//! The page of alerts: what needs a person, silenced and told again by buttons; the page of nodes.

use std::time::Duration;

use axum::http::StatusCode;
use windlass::app::Who;
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
    let narrow = Who { name: "v".into(), role: Role::Viewer, tenant: Some(tenant) };
    assert!(world.app.alerts(None, &narrow).await.unwrap().iter().all(|shown| shown.tenant.as_deref() == Some("epsilon")));
    assert!(world.app.alerts(Some("alpha"), &narrow).await.is_err() && world.app.nodes(&narrow).await.is_err());
}

#[tokio::test]
async fn the_page_of_nodes_shows_who_is_there_and_what_each_took() {
    let world = World::new(clock()).await;
    let page = Browser::of(&world).await.page("/nodes").await;
    for part in [", this one", "pill ok\">up", "alpha / drain-jobs", "pill ok\">yes", "Ended in 2 min"] {
        assert!(page.contains(part), "{part}: {page}");
    }
}
