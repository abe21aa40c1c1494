//! Sinks: signed, within the ceiling, tried again, shown when they fail; a real mail server.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use windlass::config::{Mail, Settings};
use windlass::domain::attempt::{Class, Outcome};
use windlass::runner::Runner;
use windlass::sink::sign;

use super::world::{Hook, SECOND, alerts, rule, secret};
use crate::api::world::Served;
use crate::world::World;

/// A job of alpha whose run dies.
async fn dies(world: &World) {
    let job = world.job("bad", json!({})).await;
    world.guests.script("bad", |_| std::future::ready(Outcome::failed(Class::Permanent, "no")));
    world.enqueue(&job).await;
}

#[tokio::test]
async fn a_webhook_is_signed_and_its_url_has_its_secret() {
    let world = World::new().await;
    let hook = Hook::open().await;
    let url = format!("{}/hook/{{{{secret.path}}}}", hook.origin);
    alerts(&world, &hook, &[json!({ "when": ["dead"], "webhook": url, "secret": "key" })]).await;
    secret(&world, "path", b"T0/B0\n").await;
    secret(&world, "key", b"hunter2").await;
    dies(&world).await;
    let runner = world.start().await;
    let got = world.until("it is told", SECOND, async || hook.got().first().cloned()).await;
    assert_eq!((got.path.as_str(), got.words().as_str()), ("/hook/T0/B0", "raised dead alpha/bad"));
    let (id, seconds) = (got.header("webhook-id"), got.header("webhook-timestamp"));
    assert_eq!(got.header("webhook-signature"), sign(&id, &seconds, &got.text, b"hunter2"));
    drop(runner);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_fails_is_shown_and_tried_again_with_the_same_id() {
    let served = Served::new().await;
    let (world, hook) = (&served.world, Hook::open().await);
    alerts(world, &hook, &[json!({ "when": ["dead"], "webhook": format!("{}/hook", hook.origin) })]).await;
    hook.refuses(&[500, 404]);
    dies(world).await;
    let runner = world.start().await;
    world.until("the first try", SECOND, async || (!hook.got().is_empty()).then_some(())).await;
    let failing = async || Some(served.get("sinks").await.body["items"][0].clone()).filter(|sink| sink["ok"] == false);
    let sink = world.until("it is shown", SECOND / 10, failing).await;
    assert!(sink["error"].as_str().unwrap().starts_with("it answered 500"), "{sink}");
    assert!(sink["sink"].as_str().unwrap().starts_with(&format!("webhook {}/…", hook.origin)), "{sink}");
    let well = async || Some(served.get("sinks").await.body["items"][0].clone()).filter(|sink| sink["ok"] == true);
    let sink = world.until("it is taken", SECOND, well).await;
    assert_eq!(sink["tries"], 3);
    let bodies: Vec<_> = hook.got().iter().map(|got| got.json()["data"]["id"].clone()).collect();
    assert!(bodies.len() == 3 && bodies.iter().all(|id| *id == bodies[0]), "{bodies:?}");
    drop(runner);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_to_a_host_that_the_ceiling_does_not_name_any_more() {
    let served = Served::new().await;
    let (world, hook) = (&served.world, Hook::open().await);
    let mut tenant = world.tenant.clone();
    tenant.alerts = vec![rule(&json!({ "when": ["dead"], "matrix": format!("{}/hook", hook.origin) }))];
    let mut tx = world.store.begin().await.unwrap();
    tx.put_tenant(&tenant, tenant.created_at).await.unwrap();
    tx.commit().await.unwrap();
    dies(world).await;
    let runner = world.start().await;
    let failing = async || Some(served.get("sinks").await.body["items"][0].clone()).filter(|sink| sink["ok"] == false);
    let sink = world.until("it is refused", SECOND, failing).await;
    assert!(sink["error"].as_str().unwrap().contains("is not within the tenant's ceiling"), "{sink}");
    assert!(hook.got().is_empty(), "not a byte");
    drop(runner);
}

/// Debian's, which has Debian's packages.
const PYTHON: &str = "/usr/bin/python3";

/// aiosmtpd, that prints what it gets.
struct MailServer {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    port: u16,
}

const SERVER: &str = "
import asyncio, aiosmtpd.controller, sys
class Print:
    async def handle_DATA(self, server, session, envelope):
        print(envelope.mail_from, envelope.rcpt_tos, repr(envelope.content.decode()), flush=True)
        return '250 taken'
c = aiosmtpd.controller.Controller(Print(), hostname='127.0.0.1', port=int(sys.argv[1]))
c.start()
print('up', flush=True)
sys.stdin.read()
";

impl MailServer {
    /// `None` without the package.
    fn open() -> Option<Self> {
        let there = Command::new(PYTHON).args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
        if !there.is_ok_and(|status| status.success()) {
            return None;
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut child = Command::new(PYTHON)
            .args(["-c", SERVER, &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut up = String::new();
        lines.read_line(&mut up).unwrap();
        assert_eq!(up, "up\n");
        Some(Self { child, lines, port })
    }

    fn letter(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        // It is ours, and may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_reaches_a_real_server() {
    let Some(mut server) = MailServer::open() else {
        eprintln!("SKIPPED: mail_reaches_a_real_server wants python3-aiosmtpd (tests/packages alerts)");
        return;
    };
    let world = World::new().await;
    let hook = Hook::open().await;
    alerts(&world, &hook, &[json!({ "when": ["dead"], "mail": "ops@example.org" })]).await;
    dies(&world).await;
    let mail = Mail { smtp: format!("smtp://127.0.0.1:{}", server.port), from: "Windlass <windlass@example.org>".into() };
    let set = |settings: &mut Settings| {
        settings.mail = Some(mail);
        settings.public_url = Some("https://jobs.example.org".into());
    };
    let runner = Runner::start(world.context_with(set)).await.unwrap();
    let told = async || {
        let last = world.store.read().await.unwrap().last_deliveries(windlass::clock::Clock::now(&world.clock)).await.unwrap();
        last.into_iter().find(|last| last.ended_at.is_some())
    };
    let delivery = world.until("it is taken", SECOND, told).await;
    assert_eq!((delivery.error, delivery.sink.as_str()), (None, "mail ops@example.org"));
    let letter = tokio::task::spawn_blocking(move || server.letter()).await.unwrap();
    for part in [
        "windlass@example.org ['ops@example.org']",
        "Subject: [windlass] alpha / bad: dead",
        "1 dead run needs a person (since 22 Nov 2026, 10:00 UTC)",
        "https://jobs.example.org/failures?tenant=3Dalpha",
    ] {
        assert!(letter.contains(part) || letter.contains(&part.replace("=3D", "=")), "{part}: {letter}");
    }
    drop(runner);
}
