//! HTTP out: what is granted arrives, the rest does not leave, and the log says which line would allow it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::Redirect;
use axum::routing::{any, get};
use serde_json::{Value, json};
use windlass::domain::attempt::{Class, Outcome};
use windlass::domain::grant::{Ceiling, Grant, HttpGrant};
use windlass::domain::limits::LimitsSpec;
use windlass::domain::span::Size;
use windlass::plugin::journal::{Call, Taken};

use super::{attack_with, data, house};

/// A server on this machine that counts who came.
pub(super) async fn server() -> (SocketAddr, Arc<AtomicUsize>) {
    let came = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&came);
    let app = Router::new()
        .route("/ok", any(async |body: String| format!("ok {}", body.len())))
        .route("/away", get(async || Redirect::temporary("http://localhost:9/elsewhere")))
        .route("/slow", get(async || tokio::time::sleep(Duration::from_secs(600)).await))
        .route("/busy", get(async || StatusCode::SERVICE_UNAVAILABLE))
        .layer(axum::middleware::map_request(move |request: axum::extract::Request| {
            counted.fetch_add(1, Relaxed);
            std::future::ready(request)
        }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, came)
}

/// Grants this origin for GET and POST, inside a ceiling that holds it and these networks.
struct Allowed {
    host: Option<String>,
    networks: Vec<String>,
}

impl Allowed {
    fn all(address: SocketAddr) -> Self {
        Self { host: Some(format!("http://{address}")), networks: vec!["127.0.0.0/8".into()] }
    }
}

async fn request(input: Value, allowed: Allowed) -> (Outcome, Taken) {
    let mut input = input;
    input["attack"] = input.get("attack").cloned().unwrap_or_else(|| "http".into());
    let (outcome, journal) = attack_with(input, |work| {
        work.time_limit = Duration::from_secs(15);
        let hosts: Vec<String> = allowed.host.into_iter().collect();
        let http =
            hosts.iter().map(|host| HttpGrant { host: host.clone(), methods: vec!["GET".into(), "POST".into()] }).collect();
        work.grant = Arc::new(Grant { http, ..Grant::default() });
        work.ceiling = Arc::new(Ceiling { hosts, networks: allowed.networks, ..Ceiling::default() });
    })
    .await;
    (outcome, journal.take())
}

fn only(taken: &Taken) -> &Call {
    assert_eq!(taken.calls.len(), 1, "{:?}", taken.calls);
    &taken.calls[0]
}

#[tokio::test]
async fn what_is_granted_goes_out_and_is_listed() {
    let (address, _) = server().await;
    let (outcome, taken) = request(json!({ "url": format!("http://{address}/ok?a=b") }), Allowed::all(address)).await;
    assert_eq!(data(&outcome), json!({ "status": 200, "body": "ok 0" }));
    let call = only(&taken);
    assert_eq!((call.method.as_str(), call.status, call.received_bytes, &call.error), ("GET", Some(200), 4, &None));
    assert_eq!(call.url, format!("http://{address}/ok?a=b"));
    let post = json!({ "url": format!("http://{address}/ok"), "method": "POST", "body": "x".repeat(100_000) });
    let (outcome, taken) = request(post, Allowed::all(address)).await;
    assert_eq!(data(&outcome)["body"], "ok 100000");
    assert_eq!(only(&taken).sent_bytes, 100_000);
    let (outcome, _) = request(json!({ "url": format!("http://{address}/busy") }), Allowed::all(address)).await;
    assert_eq!(data(&outcome)["status"], 503);
}

/// Nothing may have arrived, and the log names the line.
async fn denied(input: Value, allowed: Allowed, line: &str) {
    let (outcome, taken) = request(input, allowed).await;
    assert!(data(&outcome)["code"].is_string(), "{outcome:?}");
    let call = only(&taken);
    assert!(call.status.is_none() && call.error.as_ref().is_some_and(|why| why.starts_with("denied: ")), "{call:?}");
    assert!(taken.lines.iter().any(|logged| logged.message.contains(line)), "{line}: {:?}", taken.lines);
}

#[tokio::test]
async fn what_is_not_granted_does_not_leave() {
    let (address, came) = server().await;
    let url = format!("http://{address}/ok");
    let none = Allowed { host: None, networks: vec!["127.0.0.0/8".into()] };
    denied(json!({ "url": url }), none, &format!("grant.http = [{{ host = \"http://{address}\", methods = [\"GET\"] }}]")).await;
    let put = format!("grant.http = [{{ host = \"http://{address}\", methods = [\"GET\", \"POST\", \"PUT\"] }}]");
    denied(json!({ "url": url, "method": "PUT" }), Allowed::all(address), &put).await;
    let outside = Allowed { networks: Vec::new(), ..Allowed::all(address) };
    denied(json!({ "url": url }), outside, "networks = [\"127.0.0.0/8\"]").await;
    assert_eq!(came.load(Relaxed), 0);
}

#[tokio::test]
async fn a_name_is_judged_by_its_addresses() {
    let (address, came) = server().await;
    let host = format!("http://localhost:{}", address.port());
    let outside = Allowed { host: Some(host.clone()), networks: vec!["10.0.0.0/8".into()] };
    denied(json!({ "url": format!("{host}/ok") }), outside, "networks = [").await;
    assert_eq!(came.load(Relaxed), 0);
    let metadata = Allowed { host: Some("http://169.254.169.254".into()), networks: vec!["0.0.0.0/0".into()] };
    denied(json!({ "url": "http://169.254.169.254/latest" }), metadata, "networks = [\"169.254.169.254/32\"]").await;
}

#[tokio::test]
async fn a_redirect_is_not_followed_past_the_gate() {
    let (address, _) = server().await;
    let (outcome, taken) = request(json!({ "url": format!("http://{address}/away") }), Allowed::all(address)).await;
    match &outcome {
        Outcome::Succeeded { .. } if data(&outcome)["status"] == 307 => assert_eq!(taken.calls.len(), 1),
        _ => assert!(taken.calls.iter().skip(1).all(|call| call.status.is_none()), "{:?}", taken.calls),
    }
}

#[tokio::test]
async fn windlass_itself_is_never_a_target() {
    let (address, came) = server().await;
    house().await.egress.never(address);
    denied(json!({ "url": format!("http://{address}/ok") }), Allowed::all(address), "it is Windlass's own").await;
    assert_eq!(came.load(Relaxed), 0);
}

#[tokio::test]
async fn an_answer_that_does_not_come_ends_with_the_run() {
    let (address, _) = server().await;
    let input = json!({ "attack": "http", "url": format!("http://{address}/slow") });
    let (outcome, journal) = attack_with(input, |work| {
        work.time_limit = Duration::from_millis(500);
        let host = format!("http://{address}");
        work.grant =
            Arc::new(Grant { http: vec![HttpGrant { host: host.clone(), methods: vec!["GET".into()] }], ..Grant::default() });
        work.ceiling = Arc::new(Ceiling { hosts: vec![host], networks: vec!["127.0.0.0/8".into()], ..Ceiling::default() });
    })
    .await;
    let calls = journal.take().calls;
    assert_eq!(calls.len(), 1, "{outcome:?}");
    assert!(calls[0].status.is_none() && calls[0].error.is_some(), "{calls:?}");
}

#[tokio::test]
async fn a_target_that_is_not_there_is_told_with_its_reason() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (outcome, taken) = request(json!({ "url": format!("http://{gone}/") }), Allowed::all(gone)).await;
    assert!(data(&outcome)["code"].as_str().is_some_and(|code| code == "ConnectionRefused"), "{outcome:?}");
    assert!(only(&taken).error.as_ref().is_some_and(|why| why.contains("cannot be reached")), "{taken:?}");
}

#[tokio::test]
async fn a_request_is_made_once_more_where_the_plugin_asks_for_it() {
    let came = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&came);
    let app = Router::new().fallback(any(move || {
        let n = counted.fetch_add(1, Relaxed);
        let status = if n % 3 == 2 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        std::future::ready((status, [("retry-after", "0")], "as it says"))
    }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let ask = async |tries: u64| {
        request(json!({ "attack": "get", "url": format!("http://{address}/"), "n": tries }), Allowed::all(address)).await
    };
    let (outcome, taken) = ask(3).await;
    assert!(matches!(&outcome, Outcome::Succeeded { summary, .. } if summary == "as it says"), "{outcome:?}");
    assert_eq!((taken.calls.len(), came.load(Relaxed)), (3, 3), "each try is listed");
    let (outcome, taken) = ask(1).await;
    let Outcome::Failed { class: Class::Transient, message, .. } = &outcome else { panic!("{outcome:?}") };
    assert!(message.contains("HTTP 503: as it says") && taken.calls.len() == 1, "{message}");
}

#[tokio::test]
async fn many_requests_one_after_another_are_all_answered() {
    let (address, came) = server().await;
    let input = json!({ "attack": "http_flood", "url": format!("http://{address}/ok"), "n": 100 });
    let (outcome, taken) = request(input, Allowed::all(address)).await;
    assert_eq!(data(&outcome)["answered"], 100, "{outcome:?}");
    assert_eq!((taken.calls.len(), came.load(Relaxed)), (100, 100));
}

#[tokio::test]
async fn requests_in_all_and_bytes_of_an_answer_have_limits() {
    let (address, came) = server().await;
    let limits = LimitsSpec { requests: Some(3), response_bytes: Some(Size(2)), ..LimitsSpec::default() };
    let with = |input: Value| {
        let limits = limits.clone();
        attack_with(input, move |work| {
            let http = vec![HttpGrant { host: format!("http://{address}"), methods: vec!["GET".into()] }];
            work.grant = Arc::new(Grant { http, limits, ..Grant::default() });
            let (hosts, networks) = (vec![format!("http://{address}")], vec!["127.0.0.0/8".into()]);
            work.ceiling = Arc::new(Ceiling { hosts, networks, ..Ceiling::default() });
        })
    };
    let (_, journal) = with(json!({ "attack": "http_flood", "n": 5, "url": format!("http://{address}/ok") })).await;
    let calls = journal.take().calls;
    assert_eq!((calls.len(), came.load(Relaxed)), (5, 3));
    assert!(calls[4].error.as_deref().is_some_and(|why| why.contains("limits = { requests = … }")), "{calls:?}");
    assert_eq!(journal.used().map(|used| used.requests), Some(5));
    let (_, journal) = with(json!({ "attack": "http", "url": format!("http://{address}/ok") })).await;
    let calls = journal.take().calls;
    assert!(calls[0].error.as_deref().is_some_and(|why| why.contains("larger than 2 bytes")), "{calls:?}");
}
