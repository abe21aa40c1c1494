//! Where a request arrives: names by a resolver that follows a script, connections that are used again, circuits.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::StatusCode;
use axum::routing::any;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use windlass::clock::ManualClock;
use windlass::config::Target;
use windlass::domain::grant::{Ceiling, Grant, HttpGrant};
use windlass::egress::{Egress, Resolve};
use windlass::plugin::journal::Taken;
use windlass::plugin::{Executor, Sandbox, Work};

use super::{data, guests, settings, work};

/// A sandbox whose names go where the test says.
struct Reach {
    sandbox: Sandbox,
    digest: String,
    clock: ManualClock,
    asked: Arc<AtomicUsize>,
    _folder: tempfile::TempDir,
}

impl Reach {
    /// `names`: the addresses of a name, by how often it was asked for.
    async fn new(names: impl Fn(&str, usize) -> Vec<&'static str> + Send + Sync + 'static) -> Self {
        Self::with(Target::default(), names).await
    }

    async fn with(target: Target, names: impl Fn(&str, usize) -> Vec<&'static str> + Send + Sync + 'static) -> Self {
        let (folder, asked, clock) = (tempfile::tempdir().unwrap(), Arc::new(AtomicUsize::new(0)), ManualClock::default());
        let counted = Arc::clone(&asked);
        let mut settings = settings(folder.path(), b"");
        settings.clock = Arc::new(clock.clone());
        let resolve: Resolve = Arc::new(move |host, port| {
            let found = names(&host, counted.fetch_add(1, Relaxed));
            let found = found.into_iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), port)).collect();
            Box::pin(std::future::ready(Ok(found)))
        });
        settings.egress = Arc::new(Egress::new(b"", Vec::new(), target, resolve, settings.clock.clone()).unwrap());
        let sandbox = Sandbox::new(settings).unwrap();
        let digest = sandbox.catalog().add(guests::hostile().to_vec()).await.unwrap().digest;
        Self { sandbox, digest, clock, asked, _folder: folder }
    }

    /// A run of a tenant that may ask this URL.
    fn work(&self, tenant: &str, url: &str, input: &Value) -> Work {
        let mut work = work(&self.digest, input);
        let host = format!("http://{}", url.split('/').nth(2).unwrap());
        tenant.clone_into(&mut work.tenant);
        let methods = vec!["GET".into(), "POST".into()];
        work.grant = Arc::new(Grant { http: vec![HttpGrant { host: host.clone(), methods }], ..Grant::default() });
        work.ceiling = Arc::new(Ceiling { hosts: vec![host], networks: vec!["127.0.0.0/8".into()], ..Ceiling::default() });
        work
    }

    /// One that asks it once; what it was told, and what it leaves.
    async fn ask(&self, tenant: &str, method: &str, url: &str) -> (Value, Taken) {
        let work = self.work(tenant, url, &json!({ "attack": "http", "url": url, "method": method }));
        let journal = Arc::clone(&work.journal);
        let told = data(&self.sandbox.execute(work).await);
        (told, journal.take())
    }
}

/// A server that says by which connections it was asked, and answers with the statuses of its script, then with 200.
async fn server(script: Vec<u16>) -> (u16, Arc<Mutex<Vec<SocketAddr>>>) {
    let came: Arc<Mutex<Vec<SocketAddr>>> = Arc::default();
    let (noted, script) = (Arc::clone(&came), Arc::new(Mutex::new(script.into_iter())));
    let answer = move |ConnectInfo(peer): ConnectInfo<SocketAddr>| {
        noted.lock().unwrap().push(peer);
        let status = script.lock().unwrap().next().unwrap_or(200);
        std::future::ready((StatusCode::from_u16(status).unwrap(), "here"))
    };
    let app = Router::new().route("/", any(answer)).into_make_service_with_connect_info::<SocketAddr>();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (port, came)
}

#[tokio::test]
async fn a_name_with_one_bad_address_is_refused_as_a_whole() {
    let (port, came) = server(Vec::new()).await;
    let reach = Reach::new(|name, _| match name {
        "mixed.test" => vec!["127.0.0.1", "10.0.0.1"],
        "metadata.test" => vec!["169.254.169.254"],
        "mapped.test" => vec!["::ffff:10.0.0.1"],
        "carried.test" => vec!["64:ff9b::7f00:1"],
        "local6.test" => vec!["fe80::1"],
        "any.test" => vec!["0.0.0.0"],
        _ => vec!["127.0.0.1"],
    })
    .await;
    for (name, says) in [
        ("mixed.test", r#"networks = ["10.0.0.1/32"]"#),
        ("metadata.test", r#"networks = ["169.254.169.254/32"]"#),
        ("mapped.test", r#"networks = ["10.0.0.1/32"]"#),
        ("carried.test", "it is no address of a host, and never a target"),
        ("local6.test", r#"networks = ["fe80::1/128"]"#),
        ("any.test", "never a target"),
    ] {
        let (told, taken) = reach.ask("acme", "GET", &format!("http://{name}:{port}/")).await;
        assert_eq!(told["code"], "DestinationIpProhibited", "{name}: {told}");
        let why = taken.calls[0].error.as_deref().unwrap();
        assert!(why.starts_with("denied: ") && why.contains(says), "{name}: {why}");
        assert!(taken.lines.iter().any(|line| line.message.contains(says)), "{name}: {:?}", taken.lines);
    }
    assert!(came.lock().unwrap().is_empty());
    assert_eq!(reach.ask("acme", "GET", &format!("http://good.test:{port}/")).await.0["body"], "here");
}

#[tokio::test]
async fn a_name_is_asked_for_once_and_what_it_becomes_later_is_checked_again() {
    let (port, came) = server(Vec::new()).await;
    let reach = Reach::new(|_, asked| if asked < 2 { vec!["127.0.0.1"] } else { vec!["10.0.0.1"] }).await;
    let url = format!("http://rebinding.test:{port}/");
    for n in 1..=2 {
        assert_eq!(reach.ask("acme", "GET", &url).await.0["body"], "here");
        assert_eq!(reach.asked.load(Relaxed), n, "one look-up a request");
    }
    // The connection to the old address is there still, and does not count.
    assert_eq!(reach.ask("acme", "GET", &url).await.0["code"], "DestinationIpProhibited");
    assert_eq!(came.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn an_address_in_disguise_is_what_it_resolves_to() {
    let (port, came) = server(Vec::new()).await;
    let reach = Reach::new(|_, _| vec!["10.0.0.1"]).await;
    for host in ["2130706433", "0x7f000001", "0177.0.0.1", "127.1"] {
        let (told, _) = reach.ask("acme", "GET", &format!("http://{host}:{port}/")).await;
        assert!(told["code"].is_string(), "{host}: {told}");
    }
    let (told, _) = reach.ask("acme", "GET", &format!("http://good.test@127.0.0.1:{port}/")).await;
    assert!(told["code"].is_string(), "{told}");
    assert!(came.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_connection_is_used_again_by_the_same_tenant_alone() {
    let (port, came) = server(Vec::new()).await;
    let reach = Reach::new(|_, _| vec!["127.0.0.1"]).await;
    let url = format!("http://a.test:{port}/");
    let mut reused = Vec::new();
    for tenant in ["acme", "acme", "beta", "acme"] {
        let (told, taken) = reach.ask(tenant, "GET", &url).await;
        assert_eq!(told["body"], "here");
        reused.push(taken.calls[0].reused);
    }
    let came = came.lock().unwrap().clone();
    assert_eq!(reused, [false, true, false, true]);
    assert!(came[0] == came[1] && came[1] != came[2] && came[3] == came[0], "{came:?}");
    let (_, other) = reach.ask("acme", "GET", &format!("http://b.test:{port}/")).await;
    assert!(!other.calls[0].reused, "another name is another target");
}

/// Answers the first request of each connection, reads the second one and closes; notes what it read.
async fn breaking() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let read: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&read);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let noted = Arc::clone(&noted);
            tokio::spawn(async move {
                for turn in 0..2 {
                    let mut bytes = vec![0; 4096];
                    let Ok(n @ 1..) = stream.read(&mut bytes).await else { return };
                    noted.lock().unwrap().push(String::from_utf8_lossy(&bytes[..n.min(4)]).trim().to_owned());
                    if turn == 0 {
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
                    }
                }
            });
        }
    });
    (port, read)
}

#[tokio::test]
async fn a_broken_idle_connection_is_no_failure_of_what_may_be_sent_twice() {
    let (port, read) = breaking().await;
    let reach = Reach::new(|_, _| vec!["127.0.0.1"]).await;
    let url = format!("http://a.test:{port}/");
    for _ in 0..2 {
        let (told, taken) = reach.ask("acme", "GET", &url).await;
        assert_eq!((&told["body"], taken.calls.len(), taken.calls[0].reused), (&json!("ok"), 1, false), "{told}");
    }
    assert_eq!(*read.lock().unwrap(), ["GET", "GET", "GET"], "the second of them went out twice");
    let (told, taken) = reach.ask("acme", "POST", &url).await;
    assert!(told["code"].is_string() && told["sent"] == true && taken.calls[0].reused, "{told}");
    assert_eq!(read.lock().unwrap().iter().filter(|method| *method == "POST").count(), 1, "a POST goes out once");
}

#[tokio::test]
async fn t11_w6_a_target_that_fails_is_left_alone_and_found_again() {
    let (port, came) = server(vec![500, 502, 503, 500]).await;
    let reach = Reach::new(|_, _| vec!["127.0.0.1"]).await;
    let url = format!("http://wiki.test:{port}/");
    for status in [500, 502, 503] {
        assert_eq!(reach.ask("acme", "GET", &url).await.0["status"], status);
    }
    for _ in 0..5 {
        let (told, taken) = reach.ask("acme", "GET", &url).await;
        assert_eq!((&told["code"], &told["sent"]), (&json!("CircuitOpen"), &json!(false)), "{told}");
        assert!(told["detail"].as_str().unwrap().contains("try again in 30000 ms"), "{told}");
        let why = taken.calls[0].error.as_deref().unwrap();
        assert!(
            why.contains("failed 3 times in a row, the last time because it answered 503; until 1970-01-01T00:00:30"),
            "{why}"
        );
    }
    assert_eq!(came.lock().unwrap().len(), 3, "nothing arrives in the meantime");
    reach.clock.advance(Duration::from_secs(30));
    assert_eq!(reach.ask("acme", "GET", &url).await.0["status"], 500, "one to see");
    assert_eq!(reach.ask("acme", "GET", &url).await.0["code"], "CircuitOpen");
    reach.clock.advance(Duration::from_secs(30));
    for _ in 0..3 {
        assert_eq!(reach.ask("acme", "GET", &url).await.0["status"], 200, "it has recovered, and is used again");
    }
}

#[tokio::test]
async fn w3_a_target_that_refuses_or_hangs_does_not_delay_another() {
    let (port, _) = server(Vec::new()).await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let reach = Arc::new(Reach::new(|_, _| vec!["127.0.0.1"]).await);
    let hangs = format!("http://hangs.test:{}/", silent.local_addr().unwrap().port());
    let hanging: Vec<_> = (0..8)
        .map(|_| {
            let (reach, hangs) = (Arc::clone(&reach), hangs.clone());
            tokio::spawn(async move { reach.ask("acme", "GET", &hangs).await })
        })
        .collect();
    for n in 0..6 {
        let (told, _) = reach.ask("acme", "GET", &format!("http://gone.test:{gone}/")).await;
        assert_eq!(told["code"], if n < 3 { "ConnectionRefused" } else { "CircuitOpen" }, "{told}");
        assert_eq!(reach.ask("acme", "GET", &format!("http://well.test:{port}/")).await.0["body"], "here");
    }
    assert!(hanging.iter().all(|run| !run.is_finished()), "they hang still");
    hanging.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn who_leaves_an_answer_unread_takes_nobody_s_place_at_the_target() {
    let (port, came) = server(Vec::new()).await;
    let target = Target { concurrency: 1, ..Target::default() };
    let reach = Reach::with(target, |_, _| vec!["127.0.0.1"]).await;
    let url = format!("http://one.test:{port}/");
    let hoards = reach.work("hostile", &url, &json!({ "attack": "unread", "url": url, "n": 3 }));
    let hoards = tokio::spawn(reach.sandbox.execute(hoards));
    while came.lock().unwrap().len() < 3 {
        assert!(!hoards.is_finished());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(reach.ask("acme", "GET", &url).await.0["body"], "here");
    hoards.abort();
}
