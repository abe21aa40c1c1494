//! What pages load beside themselves.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use tower::ServiceExt;

use super::world::World;
use super::{Browser, clock};

#[tokio::test]
async fn static_files_are_kept_for_ever_under_their_hash() {
    let world = World::new(clock()).await;
    let html = Browser::of(&world).await.page("/").await;
    for (end, media_type) in [
        ("app.css", "text/css"),
        ("windlass.js", "text/javascript"),
        ("htmx.min.js", "text/javascript"),
        ("icon.svg", "image/svg"),
    ] {
        let url = html.split('"').find(|part| part.starts_with("/static/") && part.ends_with(end)).unwrap();
        let response = world.router.clone().oneshot(Request::get(url).body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.headers()["content-type"].to_str().unwrap().starts_with(media_type));
        assert!(response.headers()["cache-control"].to_str().unwrap().contains("immutable"));
    }
}
