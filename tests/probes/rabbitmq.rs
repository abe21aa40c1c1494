//! RabbitMQ: messages that wait in a queue.

use std::fs;
use std::process::Command;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties};

use crate::scene::Scene;
use crate::service::{Service, free_port, tls};

#[test]
fn rabbitmq_queues_are_measured() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let here = folder.path();
    // Erlang's own directory of names, here a child of the test: else it would stay behind.
    let names = free_port();
    let mut epmd = Command::new("epmd");
    let _epmd = Service::start(here, "epmd", names, epmd.args(["-address", "127.0.0.1", "-port", &names.to_string()]));
    fs::write(here.join("plugins"), "[].").unwrap();
    let secure = free_port();
    let (ca, cert, key) = (tls("ca.pem"), tls("server.pem"), tls("server.key"));
    let config = format!(
        "default_user = reader\ndefault_pass = probe-pw\nlisteners.ssl.1 = 127.0.0.1:{secure}\n\
         ssl_options.cacertfile = {ca}\nssl_options.certfile = {cert}\nssl_options.keyfile = {key}\n"
    );
    fs::write(here.join("rabbit.conf"), config).unwrap();
    let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
    command
        .env("HOME", here)
        .env("ERL_EPMD_PORT", names.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODENAME", format!("probe{port}@localhost"))
        .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODE_PORT", port.to_string())
        .env("RABBITMQ_DIST_PORT", free_port().to_string())
        .env("RABBITMQ_MNESIA_BASE", here.join("mnesia"))
        .env("RABBITMQ_LOG_BASE", here.join("log"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", here.join("plugins"))
        .env("RABBITMQ_CONFIG_FILE", here.join("rabbit.conf"))
        .env("RABBITMQ_PID_FILE", here.join("pid"))
        .env("RABBITMQ_CONF_ENV_FILE", "/dev/null");
    let _rabbit = Service::start(here, "rabbitmq", port, &mut command);
    fill(port);

    let url = format!("amqp://reader@127.0.0.1:{port}");
    let secure = format!("amqps://reader@127.0.0.1:{secure}");
    let mut scene = Scene::start(
        "rabbitmq",
        &[format!("amqp://127.0.0.1:{port}"), secure.replace("reader@", ""), "amqp://127.0.0.1:1".into()],
    );
    scene.secret("rabbit", "probe-pw");
    scene.secret("wrong", "no-such-pw");
    let of =
        |queue: &str, secret: &str| format!("probe = \"rabbitmq\", url = \"{url}\", queue = \"{queue}\", secret = \"{secret}\"");
    scene.apply(&[
        ("tasks", of("tasks", "rabbit")),
        ("tls", of("tasks", "rabbit").replace(&url, &secure)),
        ("no-queue", of("nothing", "rabbit")),
        ("denied", of("tasks", "wrong")),
        ("down", "probe = \"rabbitmq\", url = \"amqp://127.0.0.1:1\", queue = \"tasks\"".into()),
    ]);
    scene.measures("tasks", 5);
    scene.measures("tls", 5);
    scene.fails("no-queue", "no queue 'nothing'");
    scene.fails("denied", "ACCESS_REFUSED");
    scene.fails("down", "refused");
    let outside = scene.refused(&[("elsewhere", "probe = \"rabbitmq\", url = \"amqps://mq.example.org\", queue = \"q\"".into())]);
    assert!(outside.contains("backlog.url: amqps://mq.example.org is not within the tenant's ceiling"), "{outside}");
}

/// Five messages in the queue `tasks`.
#[tokio::main(flavor = "multi_thread")]
async fn fill(port: u16) {
    let uri = format!("amqp://reader:probe-pw@127.0.0.1:{port}/%2f");
    let connection = Connection::connect(&uri, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    channel.queue_declare("tasks".into(), QueueDeclareOptions::default(), FieldTable::default()).await.unwrap();
    for _ in 0..5 {
        let sent =
            channel.basic_publish("".into(), "tasks".into(), BasicPublishOptions::default(), b"x", BasicProperties::default());
        sent.await.unwrap().await.unwrap();
    }
    connection.close(200, "filled".into()).await.unwrap();
}
