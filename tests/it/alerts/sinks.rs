//! Sinks: signed, within the ceiling, tried again, shown when they fail; a real mail server.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use windlass::clock::{Clock, Timestamp};
use windlass::config::{Mail, Settings};
use windlass::domain::alert::{AlertKind, Notice, Subject};
use windlass::domain::attempt::{Class, Outcome};
use windlass::id::Id;
use windlass::runner::Runner;
use windlass::sink::sign;
use windlass::store::alert::Delivery;
use windlass::store::prune::Expiry;

use super::world::{Hook, SECOND, alerts, rule, secret};
use crate::api::world::Served;
use crate::world::{TEN, World};

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

#[tokio::test(flavor = "multi_thread")]
async fn messages_to_a_sink_that_is_away_do_not_pile_up() {
    let world = World::new().await;
    let hook = Hook::open().await;
    alerts(&world, &hook, &[json!({ "when": ["dead"], "webhook": format!("{}/hook", hook.origin), "repeat": "1m" })]).await;
    hook.refuses(&[503; 10_000]);
    dies(&world).await;
    let runner = world.start().await;
    let began = world.clock.now();
    let long = async || (world.clock.now().since(began) > 900 * SECOND && hook.got().len() > 5).then_some(());
    world.until("a quarter of an hour in which it refuses", 5 * SECOND, long).await;
    let before = hook.got().len();
    hook.refuses(&[]);
    let told = async || (hook.got().len() > before).then(|| world.clock.now());
    world.until("it is there again", 5 * SECOND, told).await;
    // Fifteen repeats would come one after the other now.
    for _ in 0..10 {
        world.clock.advance(4 * SECOND);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let taken = hook.words().split_off(before);
    assert!(taken.len() <= 2 && taken[0] == "raised dead alpha/bad", "{taken:?}");
    drop(runner);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_nobody_names_any_more_is_told_nothing_and_does_not_fail() {
    let served = Served::new().await;
    let (world, hook) = (&served.world, Hook::open().await);
    alerts(world, &hook, &[json!({ "when": ["dead"], "webhook": format!("{}/hook", hook.origin) })]).await;
    hook.refuses(&[503; 10_000]);
    dies(world).await;
    let runner = world.start().await;
    let failing = async || {
        let text = crate::api::metrics::scrape(served.url(), Some(served.admin.clone())).await.1;
        text.lines().find_map(|line| line.strip_prefix("windlass_failing_sinks ")?.parse::<f64>().ok())
    };
    world.until("it fails", SECOND, async || (failing().await? > 0.0).then_some(())).await;
    alerts(world, &hook, &[]).await;
    let pending = async || world.store.read().await.unwrap().next_delivery().await.unwrap();
    let over = async || pending().await.is_none().then_some(());
    world.until("nothing is on its way to it", SECOND, over).await;
    let tried = hook.got().len();
    assert_eq!((failing().await, served.get("sinks").await.body["items"].as_array().unwrap().len()), (Some(0.0), 0));
    for _ in 0..10 {
        world.clock.advance(60 * SECOND);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(hook.got().len(), tried);
    drop(runner);
}

#[tokio::test]
async fn what_was_told_long_ago_of_what_lasts_is_cut_but_for_the_last() {
    let world = World::new().await;
    let month = 31 * 24 * 3600 * SECOND;
    let mut tx = world.store.begin().await.unwrap();
    let subject = Subject { tenant: world.tenant.id, job: Id(0), node: 0, kind: AlertKind::Dead };
    tx.raise_alerts(&[(subject, "it lasts".into())], world.clock.now()).await.unwrap();
    let alert = tx.open_alerts().await.unwrap()[0].id;
    tx.commit().await.unwrap();
    let sink = || (world.tenant.id, "mail ops@example.org".to_owned());
    let expired = async || {
        let now = world.clock.now();
        let expiry = Expiry { operations: Timestamp(0), minute: 0 };
        let mut tx = world.store.begin().await.unwrap();
        let found = tx.has_expired(now, &expiry).await.unwrap();
        tx.prune_expired(now, &expiry).await.unwrap();
        let told = tx.told_of(&[alert]).await.unwrap()[&alert][&sink()];
        tx.commit().await.unwrap();
        (found, told.at)
    };
    let mut last = TEN;
    for _ in 0..3 {
        last = world.clock.now();
        let mut tx = world.store.begin().await.unwrap();
        tx.tell(&[(alert, sink(), Notice::Repeated)], last).await.unwrap();
        let sent = tx.due_deliveries(last, 1).await.unwrap().remove(0);
        tx.delivery_tried(&Delivery { tries: 1, ended_at: Some(last), ..sent }).await.unwrap();
        tx.commit().await.unwrap();
        world.clock.advance(SECOND);
    }
    assert!(!expired().await.0, "they are of today");
    world.clock.advance(month);
    assert_eq!(expired().await, (true, last));
    assert_eq!(expired().await, (false, last), "when it was told last is known for as long as it lasts");
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
