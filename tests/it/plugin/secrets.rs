//! Secrets in requests: the value reaches the granted place and nothing else, whatever a guest does to get at it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::any;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use windlass::domain::grant::{Ceiling, Grant, HttpGrant, SecretGrant};
use windlass::plugin::Secret;
use windlass::plugin::journal::Taken;

use super::{attack_with, data};

const VALUE: &str = "v3ry/secret+value=42";

/// What a target got: URL, headers, body.
type Got = Arc<Mutex<Vec<(String, HashMap<String, String>, String)>>>;

/// A target that tells back all that it gets, in many ways and in small pieces.
async fn echo() -> (SocketAddr, Got) {
    let got: Got = Arc::default();
    let noted = Arc::clone(&got);
    let app = Router::new().fallback(any(move |request: Request| {
        let noted = Arc::clone(&noted);
        async move {
            let url = request.uri().to_string();
            let text = |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            let headers: HashMap<_, _> = request.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap_or_default();
            let body = String::from_utf8_lossy(&body).into_owned();
            let said = format!("{url} {headers:?} {body}");
            noted.lock().unwrap().push((url, headers.clone(), body));
            let all = format!("{said} | {} | {}", STANDARD.encode(&said), said.replace('/', "%2F").replace('+', "%2b"));
            let pieces: Vec<_> = all.into_bytes().chunks(7).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
            let echo = format!("{:?}", headers.get("authorization"));
            ([("x-echo", echo)], Body::from_stream(futures_util::stream::iter(pieces)))
        }
    }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, got)
}

/// One theft with this grant of the secret; what the guest tells, and what the run leaves.
async fn theft(mut input: Value, address: SocketAddr, grant: Value) -> (Value, Taken) {
    input["attack"] = "steal".into();
    input["reversed"] = VALUE.chars().rev().collect::<String>().into();
    let secret: SecretGrant = serde_json::from_value(grant).unwrap();
    let (outcome, journal) = attack_with(input, |work| {
        let hosts = [format!("http://{address}"), format!("http://localhost:{}", address.port())].to_vec();
        let methods = vec!["GET".into(), "POST".into()];
        let http = hosts.iter().map(|host| HttpGrant { host: host.clone(), methods: methods.clone() }).collect();
        work.grant = Arc::new(Grant { http, secrets: vec![secret], ..Grant::default() });
        let networks = vec!["127.0.0.0/8".into(), "::1".into()];
        work.ceiling = Arc::new(Ceiling { hosts, networks, ..Ceiling::default() });
        work.secrets = Arc::new(HashMap::from([("key".to_owned(), Secret(Arc::from(VALUE.as_bytes())))]));
    })
    .await;
    (data(&outcome), journal.take())
}

fn header(address: SocketAddr) -> Value {
    json!({ "name": "key", "use": "header", "header": "Authorization", "hosts": [format!("http://{address}")] })
}

/// The guest's memory, its output, log and calls have the value in no form.
fn nowhere(told: &Value, taken: &Taken) {
    assert_eq!(told["hits"], 0, "the value is in the guest's memory");
    let all = format!("{told} {:?} {:?}", taken.lines, taken.calls);
    for form in [VALUE.to_owned(), STANDARD.encode(VALUE), VALUE.replace('/', "%2F").replace('+', "%2b").replace('=', "%3D")] {
        assert!(!all.contains(&form), "{form}: {all}");
    }
    let core = &VALUE[3..10];
    assert!(!all.contains(core), "{core}: {all}");
}

#[tokio::test]
async fn the_value_reaches_the_granted_header_and_nothing_comes_back() {
    let (address, got) = echo().await;
    let url = format!("http://{address}/a");
    for (text, arrives) in [
        ("{}", VALUE.to_owned()),
        ("Bearer {}", format!("Bearer {VALUE}")),
        ("Basic {basic}", format!("Basic {}", STANDARD.encode(format!("user:{VALUE}")))),
    ] {
        let (told, taken) = theft(json!({ "url": url, "header": "authorization", "text": text }), address, header(address)).await;
        let (_, headers, _) = got.lock().unwrap().pop().unwrap();
        assert_eq!(headers["authorization"], arrives);
        assert_eq!(told["found"]["status"], 200, "{told}");
        let body = told["found"]["body"].as_str().unwrap();
        assert!(body.contains("*****") && body.contains("host"), "the rest comes back: {body}");
        assert_eq!(taken.calls[0].secrets, ["key"], "the use is listed");
        nowhere(&told, &taken);
    }
}

#[tokio::test]
async fn a_packed_answer_is_refused_where_secrets_could_be_in_it() {
    let asked: Arc<Mutex<Option<String>>> = Arc::default();
    let noted = Arc::clone(&asked);
    let app = Router::new().fallback(any(move |request: Request| {
        let accepted = request.headers().get("accept-encoding").map(|value| value.to_str().unwrap().to_owned());
        *noted.lock().unwrap() = accepted;
        async { ([("content-encoding", "gzip")], "nobody has searched this") }
    }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    // The stand-in is asked for and not used: an earlier request may have left the value there.
    let input = json!({ "url": format!("http://{address}/"), "header": "accept-encoding", "text": "gzip" });
    let (told, taken) = theft(input, address, header(address)).await;
    assert_eq!(asked.lock().unwrap().as_deref(), Some("identity"));
    assert!(told["found"]["status"].is_null(), "{told}");
    let why = taken.calls[0].error.as_deref().unwrap_or_default();
    assert!(why.contains("the answer is packed (\"gzip\")"), "{why}");
}

#[tokio::test]
async fn the_value_reaches_the_granted_parameter_and_no_list_shows_it() {
    let (address, got) = echo().await;
    let grant = json!({ "name": "key", "use": "query", "parameter": "k", "hosts": [format!("http://{address}")] });
    let (told, taken) = theft(json!({ "url": format!("http://{address}/a?x=1&k={{}}") }), address, grant).await;
    assert_eq!(got.lock().unwrap()[0].0, "/a?x=1&k=v3ry%2Fsecret%2Bvalue%3D42");
    assert_eq!(taken.calls[0].url, format!("http://{address}/a?x=1&k=<key>"));
    nowhere(&told, &taken);
}

#[tokio::test]
async fn the_value_reaches_the_body_as_its_type_wants_it() {
    let (address, got) = echo().await;
    let grant = json!({ "name": "key", "use": "body", "hosts": [format!("http://{address}")] });
    let url = format!("http://{address}/a");
    for (kind, body, arrives) in [
        ("application/x-www-form-urlencoded", "a=1&k={}", "a=1&k=v3ry%2Fsecret%2Bvalue%3D42".to_owned()),
        ("application/json", "{\"k\":\"{}\"}", format!("{{\"k\":\"{VALUE}\"}}")),
    ] {
        let input = json!({ "url": url, "method": "POST", "name": kind, "body": body });
        let (told, taken) = theft(input, address, grant.clone()).await;
        let (_, headers, body) = got.lock().unwrap().pop().unwrap();
        assert_eq!((&body, &headers["content-length"]), (&arrives, &arrives.len().to_string()), "{told}");
        assert_eq!(taken.calls[0].sent_bytes, arrives.len() as u64);
        nowhere(&told, &taken);
    }
}

#[tokio::test]
async fn a_stand_in_anywhere_else_is_refused_and_the_line_that_would_allow_it_is_said() {
    let (address, got) = echo().await;
    let (url, elsewhere) = (format!("http://{address}/a"), format!("http://localhost:{}/a", address.port()));
    let big = format!("{}{{}}", "x".repeat(100_000));
    for (input, line) in [
        (json!({ "url": url, "header": "x-other" }), r#"use = "header", header = "x-other", hosts = ["#),
        (json!({ "url": elsewhere, "header": "authorization" }), r#"hosts = ["http://127.0.0.1:"#),
        (json!({ "url": format!("{url}/{{}}") }), "the URL's path"),
        (json!({ "url": format!("{url}?k={{}}") }), r#"use = "query", parameter = "k""#),
        (json!({ "url": format!("{url}?{{}}=1") }), "the name of a parameter"),
        (json!({ "url": url, "method": "POST", "body": "k={}" }), r#"use = "body", hosts = ["#),
        (json!({ "url": url, "method": "POST", "body": big }), "the body of a request"),
    ] {
        let (told, taken) = theft(input, address, header(address)).await;
        assert!(told["found"]["code"].is_string(), "{line}: {told}");
        assert!(taken.lines.iter().any(|logged| logged.message.contains(line)), "{line}: {:?}", taken.lines);
        assert!(taken.calls[0].secrets.is_empty());
        nowhere(&told, &taken);
    }
    let arrived = got.lock().unwrap().clone();
    assert!(arrived.iter().all(|(url, headers, body)| !format!("{url}{headers:?}{body}").contains(VALUE)), "{arrived:?}");
}

#[tokio::test]
async fn no_stand_in_is_given_for_what_is_not_granted_or_not_set() {
    let (address, _) = echo().await;
    let sign = json!({ "name": "key", "use": "sign", "algorithm": "hmac-sha1", "begins_with": "a" });
    let other = json!({ "name": "other", "use": "body", "hosts": [format!("http://{address}")] });
    for (secret, grant, code) in
        [("key", sign, "not-granted"), ("key", other.clone(), "not-granted"), ("other", other, "no-such-secret")]
    {
        let (told, taken) = theft(json!({ "url": "http://unused.test/", "secret": secret }), address, grant).await;
        assert_eq!(told["code"], code, "{told}");
        assert!(taken.lines[0].message.starts_with("stand-in refused: ") && taken.calls.is_empty());
    }
}
