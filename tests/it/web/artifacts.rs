//! What a run left behind, on its page; and what its job keeps, on the job's.

use axum::http::{Request, StatusCode};
use windlass::clock::Clock;
use windlass::domain::artifact::Artifact;

use super::world::{HOSTILE, World};
use super::{Browser, clock, text};

#[tokio::test]
async fn a_runs_page_lists_its_files_and_a_click_saves_one() {
    let world = World::new(clock()).await;
    let browser = Browser::of(&world).await;
    let page = format!("/t/alpha/runs/{}", world.running);
    assert!(browser.page(&page).await.contains("id=\"artifacts\"") && !browser.page(&page).await.contains("Artifacts</h2>"));
    let mut writer = world.app.objects.write("alpha/x/1-a").unwrap();
    writer.write(HOSTILE.as_bytes().to_vec()).await.unwrap();
    let (bytes, digest) = writer.finish().await.unwrap();
    let now = clock().now();
    let mut tx = world.app.store.begin().await.unwrap();
    let run = tx.need_run(world.alpha.tenant, world.running).await.unwrap();
    let name = format!("{HOSTILE}.html").replace('/', "|");
    let artifact = Artifact { name, media_type: "text/html".into(), bytes, digest, place: "alpha/x/1-a".into(), created_at: now };
    tx.put_artifact(&run, &artifact).await.unwrap();
    tx.state_put(run.job, HOSTILE, b"x".to_vec(), 7, now).await.unwrap();
    tx.commit().await.unwrap();

    let html = browser.page(&page).await;
    assert!(html.contains("Artifacts</h2>") && !html.contains(HOSTILE), "{html}");
    let href = html.split("/artifacts/").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let response = browser.send(Request::get(format!("{page}/artifacts/{href}")), String::new()).await;
    assert_eq!(response.status(), StatusCode::OK);
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert!(header("content-disposition").starts_with("attachment;") && header("content-security-policy").starts_with("sandbox"));
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(text(response).await, HOSTILE);
    assert_eq!(browser.get(&format!("{page}/artifacts/other")).await.0, StatusCode::NOT_FOUND);
    assert!(browser.fragment(&page, "artifacts").await.starts_with("<section"));

    let job = browser.page("/t/alpha/jobs/drain-jobs").await;
    assert!(job.contains("State</h2>") && !job.contains(HOSTILE), "{job}");
}
