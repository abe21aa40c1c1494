//! The shipped `mediawiki-jobs` in a real sandbox, against a wiki that works on after its client has given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use windlass::domain::grant::Ceiling;
use windlass::domain::run::State;
use windlass::plugin::EMBEDDED;
use windlass::vault::Vault;

use super::steps::real_runner;
use crate::world::{TEN, World, new_run};

/// How long the wiki works on its first drain: beyond the client's patience, within `maxtime` and the margin.
const WORK: Duration = Duration::from_secs(8);

#[derive(Default)]
struct Wiki {
    drains: AtomicUsize,
    works: AtomicBool,
    /// A second drain began while the first was at work.
    overlap: AtomicBool,
}

impl Wiki {
    async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(Arc::clone(&self).answer(stream));
        }
    }

    async fn answer(self: Arc<Self>, mut stream: TcpStream) {
        let mut head = vec![0; 4_096];
        let n = stream.read(&mut head).await.unwrap_or(0);
        let body = if head[..n].starts_with(b"POST") {
            self.overlap.fetch_or(self.works.swap(true, SeqCst), SeqCst);
            if self.drains.fetch_add(1, SeqCst) == 0 {
                // PHP does not notice that nobody listens any more.
                tokio::time::sleep(WORK).await;
            }
            self.works.store(false, SeqCst);
            r#"{"jobs":[],"reached":"none-ready","backoffs":[],"elapsed":0}"#
        } else {
            r#"{"batchcomplete":true,"query":{"statistics":{"jobs":5}}}"#
        };
        let length = body.len();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        let _ = stream.write_all((head + body).as_bytes()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn w12_a_drain_that_timed_out_here_gets_no_second_one_beside_it() {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let wiki: Arc<Wiki> = Arc::default();
    tokio::spawn(Arc::clone(&wiki).serve(listener));
    let mut tenant = world.tenant.clone();
    tenant.ceiling = Ceiling { hosts: vec![origin.clone()], networks: vec!["127.0.0.0/8".into()], ..Ceiling::default() };
    let vault = Vault::open(&world.dir.path().join("secret.key"), None).unwrap();
    let (nonce, sealed) = vault.seal(tenant.id, "wiki-key", b"only for tests").unwrap();
    let mut tx = world.store.begin().await.unwrap();
    tx.put_tenant(&tenant, TEN).await.unwrap();
    tx.put_secret(tenant.id, "wiki-key", nonce, sealed, TEN).await.unwrap();
    tx.commit().await.unwrap();
    let begins = "async=0&maxjobs=";
    let spec = json!({
        "config": { "api": format!("{origin}/api.php"), "index": format!("{origin}/index.php"), "max_time_s": 1 },
        "time_limit": "3s",
        "grace": "100ms",
        "retry": { "attempts": 3, "base": "10ms" },
        "grant": {
            "http": [{ "host": origin, "methods": ["GET", "POST"] }],
            "secrets": [{ "name": "wiki-key", "use": "sign", "algorithm": "hmac-sha1", "begins_with": begins }],
        },
    });
    let plugin = EMBEDDED.iter().find(|plugin| plugin.name == "mediawiki-jobs").unwrap();
    let (runner, job) = real_runner(&world, plugin.bytes, spec).await;
    let id = world.store.enqueue(vec![new_run(&job)]).await.unwrap().remove(0).unwrap().id();

    let deferred = async || match world.run(id).await.state {
        State::Waiting { why: Some(why), .. } => Some(why).filter(|why| why.contains("a second one beside it is not started")),
        _ => None,
    };
    world.until("the next attempt is put off", Duration::ZERO, deferred).await;
    assert!(wiki.works.load(SeqCst), "the wiki is still at its first drain");
    let mut run = world.run(id).await;
    while !run.state.is_final() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        run = world.run(id).await;
    }
    runner.drain().await;
    assert!(matches!(run.state, State::Succeeded { .. }), "{run:?}");
    assert_eq!(wiki.drains.load(SeqCst), 2);
    assert!(!wiki.overlap.load(SeqCst), "two drains at a time");
    assert_eq!(run.failed, 1, "waiting for the first to be over spends no attempt");
}
