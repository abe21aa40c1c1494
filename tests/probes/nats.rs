//! NATS JetStream: what a consumer has not been given yet.

use std::process::Command;

use async_nats::jetstream::{self, consumer, stream};

use crate::scene::Scene;
use crate::service::{Service, free_port, tls};

#[test]
fn nats_consumers_are_measured() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let mut command = Command::new("nats-server");
    command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd", "store", "--user", "reader", "--pass", "probe-pw"]);
    let _nats = Service::start(folder.path(), "nats", port, &mut command);
    fill(port);
    // One that speaks in the clear does not listen inside TLS.
    let secure = free_port();
    let mut command = Command::new("nats-server");
    command.args(["-a", "127.0.0.1", "-p", &secure.to_string(), "-js", "-sd", "secure", "--auth", "probe-pw"]);
    command.args(["--tls", "--tlscert", &tls("server.pem"), "--tlskey", &tls("server.key")]);
    let _secure = Service::start(folder.path(), "nats-tls", secure, &mut command);

    let secure = format!("tls://127.0.0.1:{secure}");
    let url = format!("nats://reader@127.0.0.1:{port}");
    let mut scene = Scene::start("nats", &[format!("nats://127.0.0.1:{port}"), secure.clone(), "nats://127.0.0.1:1".into()]);
    scene.secret("nats", "probe-pw");
    scene.secret("wrong", "no-such-pw");
    let of = |consumer: &str, secret: &str| {
        format!("probe = \"nats\", url = \"{url}\", stream = \"TASKS\", consumer = \"{consumer}\", secret = \"{secret}\"")
    };
    scene.apply(&[
        ("tasks", of("worker", "nats")),
        ("no-consumer", of("nobody", "nats")),
        ("tls", of("worker", "nats").replace(&url, &secure)),
        ("denied", of("worker", "wrong")),
        ("down", "probe = \"nats\", url = \"nats://127.0.0.1:1\", stream = \"TASKS\", consumer = \"worker\"".into()),
    ]);
    scene.measures("tasks", 6);
    scene.fails("no-consumer", "not found");
    // It has no such stream, which is as much as is asked of it.
    scene.fails("tls", "not found");
    scene.fails("denied", "uthorization");
    scene.fails("down", "refused");
    let outside = of("worker", "nats").replace("127.0.0.1", "127.0.0.2");
    let outside = scene.refused(&[("elsewhere", outside)]);
    assert!(outside.contains("is not within the tenant's ceiling"), "{outside}");
}

/// Six messages in the stream TASKS, and a consumer that has none of them.
#[tokio::main(flavor = "current_thread")]
async fn fill(port: u16) {
    let options = async_nats::ConnectOptions::with_user_and_password("reader".into(), "probe-pw".into());
    let client = options.connect(format!("127.0.0.1:{port}")).await.unwrap();
    let context = jetstream::new(client);
    let tasks = stream::Config { name: "TASKS".into(), subjects: vec!["tasks".into()], ..stream::Config::default() };
    let tasks = context.create_stream(tasks).await.unwrap();
    let worker = consumer::pull::Config { durable_name: Some("worker".into()), ..consumer::pull::Config::default() };
    tasks.create_consumer(worker).await.unwrap();
    for _ in 0..6 {
        context.publish("tasks", "x".into()).await.unwrap().await.unwrap();
    }
}
