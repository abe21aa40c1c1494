//! A plugin's page, and the buttons of a new version beside the old one.

use axum::http::StatusCode;
use serde_json::json;
use windlass::clock::Clock;
use windlass::domain::plugin::Plugin;
use windlass::domain::rollout::{Rollout, Stage, Tally};
use windlass::id::Id;

use super::world::{HOSTILE, World};
use super::{Browser, clock, location};

const NEW: &str = "sha256:0c5e6a7b8d9f0123456789abcdef0123";

/// Its job uses 1.4.2, and 1.5.0 is on trial with a tenth of its runs.
async fn on_trial(world: &World) {
    let now = clock().now();
    let plugin = |version: &str, digest: &str, signature: Option<&str>| Plugin {
        name: "mediawiki-jobs".into(),
        version: version.into(),
        digest: digest.into(),
        tenant: Id(0),
        bytes: 9,
        exports: vec!["windlass:plugin/job@1.0.0".into()],
        imports: vec!["wasi:http/outgoing-handler@0.2.0".into()],
        description: json!({ "summary": HOSTILE }),
        pushed_at: now,
        pushed_by: "ann".into(),
        signature: signature.map(Into::into),
    };
    let job = &world.alpha;
    let mut tx = world.app.store.begin().await.unwrap();
    tx.put_plugin(&plugin("1.4.2", &job.digest, None), b"old".to_vec()).await.unwrap();
    tx.put_plugin(&plugin("1.5.0", NEW, Some("untrusted comment: …")), b"new".to_vec()).await.unwrap();
    tx.put_rollout(&Rollout {
        job: job.id,
        tenant: job.tenant,
        old: job.digest.clone(),
        new: NEW.into(),
        share: 100_000,
        stage: Stage::Running,
        moved: false,
        why: None,
        began_at: now,
        changed_at: now,
        changed_by: "ann".into(),
        tally: Tally { old_done: 41, new_done: 7, new_failed: 1, ..Tally::default() },
    })
    .await
    .unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_plugins_page_leads_to_its_jobs_whose_new_version_is_moved_by_buttons() {
    let world = World::new(clock()).await;
    on_trial(&world).await;
    let browser = Browser::of(&world).await;
    let (job, name) = ("/t/alpha/jobs/drain-jobs", "/plugins/mediawiki-jobs");
    assert!(browser.page("/plugins").await.contains(&format!("href=\"{name}\"")));
    let page = browser.page(name).await;
    for says in ["1.4.2", "1.5.0", "job 1.0.0", "wasi:http/outgoing-handler", "127.0.0.1:8091"] {
        assert!(page.contains(says), "{says}: {page}");
    }
    assert!(page.contains(&format!("href=\"{job}\"")) && !page.contains(HOSTILE), "{page}");
    // The job takes both, and nobody pushes the one away from under it.
    for says in [">1 job<", ">3 jobs<"] {
        assert_eq!(page.matches(says).count(), 1, "{says}: {page}");
    }
    assert!(page.contains("10 % of new runs, on trial") && page.contains("the other runs"), "{page}");
    let list = browser.page("/plugins").await;
    assert!(list.contains(">1 job<") && list.contains(">3 jobs<"), "{list}");
    assert_eq!(page.matches("data-l=\"Signed\">yes").count(), 1, "one of the two: {page}");
    assert_eq!(browser.get("/plugins/nothing").await.0, StatusCode::NOT_FOUND);

    let button = |step: &str| format!("action=\"{job}/rollout/{step}\"");
    let page = browser.page(job).await;
    assert!(page.contains(&format!("href=\"{name}\"")) && page.contains("on trial") && page.contains("10 %"), "{page}");
    for (step, stage, then) in [
        ("pause", Stage::Paused, vec!["resume", "promote", "rollback"]),
        ("resume", Stage::Running, vec!["pause", "promote", "rollback"]),
        ("rollback", Stage::RolledBack, vec![]),
    ] {
        assert!(browser.page(job).await.contains(&button(step)), "{step}");
        let pressed = browser.press(&format!("{job}/rollout/{step}")).await;
        assert_eq!((pressed.status(), location(&pressed)), (StatusCode::SEE_OTHER, "/t/alpha/jobs/drain-jobs#versions"));
        let standing = world.app.store.read().await.unwrap().rollout(world.alpha.id).await.unwrap().unwrap();
        assert_eq!((standing.stage, standing.changed_by.as_str()), (stage, "ann"));
        let page = browser.page(job).await;
        let note = match stage {
            Stage::Running => "1.5.0 on trial with 10 % of new runs",
            Stage::Paused => "1.5.0 paused",
            _ => "1.5.0 rolled back",
        };
        assert!(page.contains(&format!("<span><a href=\"#versions\">{note}</a></span>")), "{step}: {page}");
        let offered: Vec<_> =
            ["pause", "resume", "promote", "rollback"].into_iter().filter(|step| page.contains(&button(step))).collect();
        assert_eq!(offered, then, "{step}");
    }
    assert_eq!(browser.press(&format!("{job}/rollout/promote")).await.status(), StatusCode::CONFLICT);
    // The other way round: what the file names was taken back, and the head says what runs take.
    let mut tx = world.app.store.begin().await.unwrap();
    let standing = tx.rollout(world.alpha.id).await.unwrap().unwrap();
    tx.put_rollout(&Rollout { old: standing.new, new: standing.old, ..standing }).await.unwrap();
    tx.commit().await.unwrap();
    let page = browser.page(job).await;
    assert!(page.contains("mediawiki-jobs 1.5.0</a>") && page.contains(">1.4.2 rolled back</a>"), "{page}");
}
