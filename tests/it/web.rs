//! The dashboard over HTTP: every page with a known past, who may do what, and nothing that a tenant wrote as markup.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode};
use tower::ServiceExt;
use windlass::clock::{ManualClock, Timestamp};
use windlass::id::Id;

mod alerts;
mod artifacts;
mod assets;
mod audit;
mod items;
mod limits;
mod schedules;
mod versions;
mod world;

use world::{CODE, World};

/// Sat 24 Oct 2026, 14:32:08 in Berlin, the day before the clocks go back.
const NOW: Timestamp = Timestamp(1_792_845_128_000);

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(NOW))
}

/// A browser that is logged in.
struct Browser {
    router: Router,
    cookie: String,
}

impl Browser {
    async fn of(world: &World) -> Self {
        Self { router: world.router.clone(), cookie: world.log_in().await }
    }

    async fn send(&self, request: axum::http::request::Builder, body: String) -> Response<Body> {
        let request = request.header("cookie", format!("windlass={}", self.cookie)).body(Body::from(body)).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let response = self.send(Request::get(path), String::new()).await;
        let status = response.status();
        (status, text(response).await)
    }

    async fn page(&self, path: &str) -> String {
        let (status, html) = self.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {html}");
        html
    }

    /// Presses a button: a form with the session's token.
    /// A part of a page.
    async fn fragment(&self, path: &str, name: &str) -> String {
        text(self.send(Request::get(path).header("x-fragment", name), String::new()).await).await
    }

    async fn press(&self, path: &str) -> Response<Body> {
        self.send_form(path, "").await
    }

    async fn send_form(&self, path: &str, fields: &str) -> Response<Body> {
        let page = self.page("/").await;
        let token = page.split("name=\"csrf\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
        let form = Request::post(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "same-origin");
        self.send(form, format!("csrf={token}&{fields}")).await
    }
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(to_bytes(response.into_body(), 10_000_000).await.unwrap().to_vec()).unwrap()
}

fn location(response: &Response<Body>) -> &str {
    response.headers().get("location").map_or("", |to| to.to_str().unwrap())
}

#[tokio::test]
async fn every_page_shows_and_no_page_takes_words_for_markup() {
    let world = World::new(clock()).await;
    let browser = Browser::of(&world).await;
    let pages = [
        "/".to_owned(),
        "/?q=%3Cscript%3E&sort=backlog".into(),
        "/t/alpha".into(),
        "/t/zeta".into(),
        "/t/alpha/jobs/drain-jobs".into(),
        "/t/epsilon/jobs/drain-jobs".into(),
        "/runs".into(),
        "/runs?state=dead".into(),
        "/runs?state=waiting&tenant=alpha".into(),
        "/t/alpha/runs?job=drain-jobs".into(),
        format!("/t/alpha/runs/{}", world.running),
        format!("/t/epsilon/runs/{}", world.dead),
        "/failures".into(),
        "/failures?tenant=epsilon&q=stale&cause=permanent&since=24h&job=drain-jobs".into(),
        "/failures?state=expiring".into(),
        "/failures?state=discarded".into(),
        "/operations/new?action=rerun&q=%3Cscript%3E".into(),
        "/plugins".into(),
        "/alerts".into(),
        "/alerts?tenant=epsilon".into(),
        "/nodes".into(),
        "/nodes/settings".into(),
        "/audit".into(),
        "/audit?tenant=alpha&what=job&before=01KASV7Q2M4T9".into(),
    ];
    for path in pages {
        let html = browser.page(&path).await;
        assert!(!html.contains("<script>"), "{path}: unescaped");
        assert!(!html.contains("style=") && !html.contains("onclick"), "{path}: what the policy forbids");
        assert!(!html.contains("NaN") && !html.contains("Some("), "{path}");
        assert!(html.len() < 60 * 1024, "{path}: {} bytes", html.len());
    }
}

#[tokio::test]
async fn the_overview_puts_first_what_needs_a_person() {
    let world = World::new(clock()).await;
    let html = Browser::of(&world).await.page("/").await;
    let place = |text: &str| html.find(text).unwrap_or_else(|| panic!("no {text:?} in {html}"));
    assert!(place("Needs a person") < place("epsilon / drain-jobs"));
    assert!(place("3 dead runs of one cause: POST /w/index.php: 400 Invalid or stale signature") < place("id=\"tenants\""));
    assert!(place("title=\"dead runs\">3</b>") < place("Needs a person"));
    assert!(html.contains("Backlog over 24 h: now 93, peak 861"));
}

#[tokio::test]
async fn a_run_shows_its_log_calls_progress_and_numbers_as_they_are() {
    let world = World::new(clock()).await;
    let browser = Browser::of(&world).await;
    let html = browser.page(&format!("/t/alpha/runs/{}", world.running)).await;
    for part in
        ["312 of 500", "id=\"L1-3\"", "&#60;script&#62;alert", "批量作业", "127.0.0.1:8091", "type=refreshLinks", "Cancel run"]
    {
        assert!(html.contains(part), "{part}");
    }
    let dead = browser.page(&format!("/t/epsilon/runs/{}", world.dead)).await;
    for part in ["9007199254740993", "a permanent failure", "failed final", "Re-run", "others that died of it"] {
        assert!(dead.contains(part), "{part}: {dead}");
    }
    let log = browser.page(&format!("/t/alpha/runs/{}/log", world.running)).await;
    assert!(log.starts_with("1.1 2026-10-24T12:31:58.000Z info  attempt 1, 214 jobs wait type=refreshLinks\n"), "{log}");
}

#[tokio::test]
async fn parts_are_fetched_alone_and_cost_nothing_when_they_did_not_change() {
    let world = World::new(clock()).await;
    let browser = Browser::of(&world).await;
    let part = |tag: Option<String>| {
        let request = Request::get("/").header("x-fragment", "tenants");
        tag.iter().fold(request, |request, tag| request.header("if-none-match", tag.as_str()))
    };
    let first = browser.send(part(None), String::new()).await;
    let tag = first.headers()["etag"].to_str().unwrap().to_owned();
    assert!(first.headers()["vary"].to_str().unwrap().contains("X-Fragment"));
    let html = text(first).await;
    assert!(html.starts_with("<div id=\"tenants\"") && !html.contains("<html"), "{html}");
    assert_eq!(browser.send(part(Some(tag)), String::new()).await.status(), StatusCode::NOT_MODIFIED);
    let lines =
        |after: &str| Request::get(format!("/t/alpha/runs/{}?after={after}", world.running)).header("x-fragment", "lines");
    let new = text(browser.send(lines("1.3"), String::new()).await).await;
    assert!(new.contains("id=\"L1-4\"") && !new.contains("id=\"L1-3\""), "{new}");
    assert_eq!(browser.send(lines("1.4"), String::new()).await.status(), StatusCode::NO_CONTENT);
    world::more(&world.app.store, world.alpha.tenant, world.running, NOW).await;
    let new = text(browser.send(lines("1.4"), String::new()).await).await;
    assert!(new.contains("id=\"L1-5\"") && new.contains("one more line"), "{new}");
    let unknown = browser.send(Request::get("/").header("x-fragment", "nothing"), String::new()).await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn strangers_see_the_login_only() {
    let world = World::new(clock()).await;
    let ask = |request: Request<Body>| world.router.clone().oneshot(request);
    let response = ask(Request::get("/runs?state=dead").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!((response.status(), location(&response)), (StatusCode::SEE_OTHER, "/login?to=%2Fruns%3Fstate%3Ddead"));
    for path in ["/t/alpha/jobs/drain-jobs/pause", "/logout"] {
        let response = ask(Request::post(path).body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    let events = ask(Request::get("/events").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(events.status(), StatusCode::SEE_OTHER);
    let policy = response.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"));
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn wrong_passwords_run_into_a_wait() {
    let world = World::new(clock()).await;
    let try_it = async |password: &str| {
        let form = Request::post("/login").header("content-type", "application/x-www-form-urlencoded");
        let request = form.body(Body::from(format!("name=ann&password={password}&to=//evil.example"))).unwrap();
        world.router.clone().oneshot(request).await.unwrap()
    };
    let right = try_it("correct+horse+battery").await;
    assert_eq!((right.status(), location(&right)), (StatusCode::SEE_OTHER, "/"));
    let cookie = right.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("HttpOnly; SameSite=Lax") && !cookie.contains("Secure"), "{cookie}");
    for _ in 0..5 {
        assert_eq!(try_it("wrong").await.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(try_it("correct+horse+battery").await.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn buttons_of_other_sites_and_other_logins_do_nothing() {
    let world = World::new(clock()).await;
    let browser = Browser::of(&world).await;
    let post = || Request::post("/t/alpha/jobs/drain-jobs/pause").header("content-type", "application/x-www-form-urlencoded");
    for request in [post(), post().header("sec-fetch-site", "cross-site"), post().header("sec-fetch-site", "same-origin")] {
        assert_eq!(browser.send(request, "csrf=guessed".into()).await.status(), StatusCode::FORBIDDEN);
    }
    let (status, _) = browser.get("/t/alpha/jobs/drain-jobs/pause").await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "no action by GET");
    assert!(world.app.find_job("alpha", "drain-jobs").await.unwrap().1.paused_at.is_none());
}

#[tokio::test]
async fn buttons_do_what_they_say_and_the_next_page_says_so() {
    let world = World::new(clock()).await;
    let browser = Browser::of(&world).await;
    let paused = browser.press("/t/alpha/jobs/drain-jobs/pause").await;
    assert_eq!(location(&paused), "/t/alpha/jobs/drain-jobs?done=paused");
    let page = browser.page(location(&paused)).await;
    assert!(page.contains("Paused: its triggers") && page.contains("Resume") && page.contains("pill paused"));
    browser.press("/t/alpha/jobs/drain-jobs/resume").await;
    browser.send_form("/t/alpha/jobs/drain-jobs/pause", "for=8h").await;
    assert!(browser.page("/t/alpha/jobs/drain-jobs").await.contains("<span>resumes "));
    browser.press("/t/alpha/jobs/drain-jobs/resume").await;

    let started = browser.press("/t/alpha/jobs/drain-jobs/runs").await;
    assert!(location(&started).starts_with("/t/alpha/jobs/drain-jobs?done=started.alpha."), "{}", location(&started));
    assert!(browser.page(location(&started)).await.contains("Started a run."));

    let again = browser.press(&format!("/t/epsilon/runs/{}/rerun", world.dead)).await;
    let page = browser.page(location(&again)).await;
    assert!(page.contains("Re-run: a new run that names the old one.") && page.contains("re-run of"), "{page}");
    let twice = browser.press(&format!("/t/epsilon/runs/{}/rerun", world.dead)).await;
    assert_eq!(twice.status(), StatusCode::CONFLICT);
    assert!(text(twice).await.contains("was run again by ann already"));

    let cancelled = browser.press(&format!("/t/alpha/runs/{}/cancel", world.running)).await;
    assert!(browser.page(location(&cancelled)).await.contains("pill stopping"));
}

/// The numbers are those of the buttons, and the largest cause is there however many tenants have smaller ones.
#[tokio::test]
async fn failures_of_many_tenants_are_counted_whole_and_the_largest_stand_first() {
    let world = World::new(clock()).await;
    for n in 0..110 {
        world.dies(&format!("small-{n}"), 1).await;
    }
    world.dies("zz-last", 9).await;
    let browser = Browser::of(&world).await;
    let page = browser.page("/failures").await;
    assert!(page.contains("<b class=\"red\">122</b> dead runs") && page.contains("Re-run all 122…"), "{page}");
    assert!(page.contains("the largest <b>100</b> causes") && page.contains("Causes of fewer runs are not listed"), "{page}");
    let at = |line: &str| page.find(line).unwrap_or_else(|| panic!("{line} in {page}"));
    assert!(
        at("zz-last / drain-jobs") < at("epsilon / drain-jobs") && at("epsilon / drain-jobs") < page.rfind("small-").unwrap(),
        "{page}"
    );
    let one = browser.page("/failures?tenant=zz-last").await;
    assert!(one.contains("<b class=\"red\">9</b> dead runs") && one.contains("Dead <b class=\"red\">9</b>"), "{one}");
}

#[tokio::test]
async fn dead_runs_are_previewed_then_dealt_with_by_an_operation() {
    let world = World::new(clock()).await;
    let browser = Browser::of(&world).await;
    let failures = browser.page("/failures").await;
    assert!(failures.contains("<b class=\"red\">3</b> dead runs") && failures.contains("<b>1</b> cause<"), "{failures}");
    let href = |page: &str, start: &str| {
        page.split("href=\"")
            .find_map(|rest| rest.starts_with(start).then(|| rest.split('"').next().unwrap().replace("&#38;", "&")))
            .unwrap()
    };
    let cause = browser.page(&href(&failures, "/t/epsilon/failures/")).await;
    assert_eq!(cause.matches("name=\"run\" value=\"epsilon.").count(), 3, "{cause}");

    // One is ticked and discarded.
    let one = format!("/operations/new?ticked=1&run=epsilon.{}&action=discard", world.dead);
    let question = browser.page(&one).await;
    assert!(question.contains("Discard 1 dead run?") && question.contains("Nothing has happened yet"), "{question}");
    let (status, html) = browser.get("/operations/new?ticked=1&action=discard").await;
    assert!(status == StatusCode::UNPROCESSABLE_ENTITY && html.contains("nothing is ticked"), "{status}: {html}");
    let form = |what: &str| format!("action={what}&total=1&run=epsilon.{}&rate=10&reason=known", world.dead);
    let begun = browser.send_form("/operations", &form("discard")).await;
    assert!(location(&begun).starts_with("/operations/"), "{}", location(&begun));
    let page = browser.page(location(&begun)).await;
    assert!(page.contains("pill running") && page.contains("0 of 1") && page.contains("“known”"), "{page}");
    world.work().await;
    let page = browser.page(location(&begun)).await;
    assert!(page.contains("pill done") && page.contains("1 of 1") && page.contains("Bring back 1"), "{page}");
    let discarded = browser.page("/failures?state=discarded").await;
    assert!(discarded.contains("<b>1</b> discarded run"), "{discarded}");
    let run = browser.page(&format!("/t/epsilon/runs/{}", world.dead)).await;
    assert!(run.contains("Discarded by ann") && run.contains("Bring back") && !run.contains("/rerun"), "{run}");

    // What the page showed is not what is there now: nothing is done.
    let all = href(&browser.page("/failures").await, "/operations/new?action=rerun");
    assert!(browser.page(&all).await.contains("Re-run 2 dead runs?"));
    let stale = browser.send_form("/operations", "action=rerun&total=3").await;
    assert_eq!(stale.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(text(stale).await.contains("these are 2 runs now, and not 3"));
    let begun = browser.send_form("/operations", "action=rerun&total=2").await;
    world.work().await;
    let page = browser.page(location(&begun)).await;
    assert!(page.contains("2 of 2") && page.matches("pill waiting").count() == 2, "{page}");
    let list = browser.page("/runs?state=dead").await;
    assert_eq!(list.matches("dead, settled").count(), 3, "red is for what needs a person");

    browser.press(&format!("/t/epsilon/runs/{}/undo", world.dead)).await;
    assert!(browser.page("/failures?done=undone").await.contains("<b class=\"red\">1</b> dead run<"));
}

#[tokio::test]
async fn errors_are_pages_with_an_id_and_other_peoples_things_are_not_there() {
    let world = World::new(clock()).await;
    let browser = Browser::of(&world).await;
    for path in ["/t/nobody", "/t/alpha/jobs/nothing", "/t/alpha/runs/01KASV7Q2M4T9", "/t/alpha/runs/short", "/nowhere"] {
        let (status, html) = browser.get(path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert!(html.contains("req-") && html.contains("Not here, or not yours to see"), "{path}: {html}");
    }
    let (status, html) = browser.get(&format!("/t/alpha/runs/{}", world.dead)).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "a run of another tenant: {html}");
}

#[tokio::test]
async fn the_first_operator_needs_the_code_that_the_server_printed() {
    let (_, router, _folder) = World::empty(clock()).await;
    let send = async |path: &str, body: Option<String>| {
        let request = match body {
            Some(body) => Request::post(path).header("content-type", "application/x-www-form-urlencoded").body(Body::from(body)),
            None => Request::get(path).body(Body::empty()),
        };
        router.clone().oneshot(request.unwrap()).await.unwrap()
    };
    assert_eq!(location(&send("/login", None).await), "/first-start");
    let form = |code: &str, password: &str| Some(format!("code={code}&name=ann&password={password}"));
    assert_eq!(send("/first-start", form("WRON-GCOD-E000", "long+enough+password")).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(send("/first-start", form(CODE, "short")).await.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let made = send("/first-start", form(CODE, "long+enough+password")).await;
    assert_eq!((made.status(), location(&made)), (StatusCode::SEE_OTHER, "/?done=welcome"));
    assert_eq!(location(&send("/first-start", None).await), "/login", "this page works once");
    assert_eq!(send("/first-start", form(CODE, "long+enough+password")).await.status(), StatusCode::SEE_OTHER);
    let cookie = made.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let page = router.clone().oneshot(Request::get("/").header("cookie", cookie).body(Body::empty()).unwrap()).await.unwrap();
    assert!(text(page).await.contains("No tenants yet"));
}

#[tokio::test]
async fn a_run_is_found_by_its_id() {
    let world = World::new(clock()).await;
    let browser = Browser::of(&world).await;
    let found = |q: String| browser.send(Request::get(format!("/find?q={q}")), String::new());
    assert_eq!(location(&found(world.dead.to_string()).await), format!("/t/epsilon/runs/{}", world.dead));
    assert_eq!(location(&found("alpha%2Fdrain-jobs".into()).await), "/t/alpha/jobs/drain-jobs");
    assert_eq!(location(&found("zz".into()).await), "/?q=zz");
    assert_eq!(location(&found(Id(1).to_string()).await), "/?q=0000000000001");
}

#[tokio::test]
async fn a_change_is_told_to_open_pages() {
    use futures_util::StreamExt;
    let world = World::new(Arc::new(windlass::clock::SystemClock)).await;
    let browser = Browser::of(&world).await;
    let response = browser.send(Request::get("/events"), String::new()).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut stream = response.into_body().into_data_stream();
    let open = stream.next().await.unwrap().unwrap();
    assert!(open.starts_with(b":") || open.starts_with(b"retry"), "{open:?}");
    world.app.pause("alpha", "drain-jobs", None, &World::operator()).await.unwrap();
    let told = stream.next().await.unwrap().unwrap();
    assert!(told.starts_with(b"event: changed"), "{told:?}");
}
