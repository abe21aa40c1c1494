//! Redis: a list, a stream, a consumer group.

use std::process::Command;

use crate::scene::Scene;
use crate::service::{Service, free_port, run, tls};

#[test]
fn redis_lists_streams_and_consumer_groups_are_measured() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let number = port.to_string();
    let mut command = Command::new("redis-server");
    command.args(["--port", &number, "--bind", "127.0.0.1", "--requirepass", "probe-pw", "--save", ""]);
    let secure = free_port();
    command.args(["--tls-port", &secure.to_string(), "--tls-auth-clients", "no", "--tls-ca-cert-file", &tls("ca.pem")]);
    command.args(["--tls-cert-file", &tls("server.pem"), "--tls-key-file", &tls("server.key")]);
    let mut redis = Service::start(folder.path(), "redis", port, &mut command);
    let cli = |line: &str| {
        let words = line.split(' ');
        run(Command::new("redis-cli").args(["-p", &number, "-a", "probe-pw", "--no-auth-warning"]).args(words))
    };
    cli("RPUSH jobs a b c");
    for entry in ["1-0", "2-0", "3-0", "4-0"] {
        cli(&format!("XADD events {entry} f v"));
    }
    cli("XGROUP CREATE events workers 0");
    cli("XREADGROUP GROUP workers one COUNT 3 STREAMS events >");

    let url = format!("redis://127.0.0.1:{port}");
    let secure = format!("rediss://127.0.0.1:{secure}");
    let mut scene = Scene::start("redis", &[url.clone(), secure.clone(), "redis://127.0.0.1:1".into()]);
    scene.secret("redis", "probe-pw");
    scene.secret("wrong", "no-such-pw");
    let with = |what: &str| format!("probe = \"redis\", url = \"{url}\", secret = \"redis\", {what}");
    scene.apply(&[
        ("list", with("key = \"jobs\"")),
        ("stream", with("stream = \"events\"")),
        ("group", with("stream = \"events\", group = \"workers\"")),
        ("tls", with("key = \"jobs\"").replace(&url, &secure)),
        ("no-group", with("stream = \"events\", group = \"nobody\"")),
        ("no-list", with("key = \"events\"")),
        ("denied", with("key = \"jobs\"").replace("\"redis\", key", "\"wrong\", key")),
        ("no-secret", with("key = \"jobs\"").replace("\"redis\", key", "\"unset\", key")),
        ("down", "probe = \"redis\", url = \"redis://127.0.0.1:1\", key = \"jobs\"".into()),
    ]);
    scene.measures("list", 3);
    scene.measures("stream", 4);
    scene.measures("group", 1);
    scene.measures("tls", 3);
    scene.fails("no-group", "has no consumer group nobody");
    scene.fails("no-list", "WRONGTYPE");
    scene.fails("denied", "authentication failed");
    scene.fails("no-secret", "the tenant has no secret \"unset\"; set it: windlass secret set probes/unset");
    scene.fails("down", "cannot be reached");

    let outside = scene.refused(&[("elsewhere", "probe = \"redis\", url = \"redis://10.0.0.1\", key = \"jobs\"".into())]);
    assert!(outside.contains("backlog.url: redis://10.0.0.1 is not within the tenant's ceiling"), "{outside}");
    let clear = scene.refused(&[("clear", "probe = \"redis\", url = \"redis://:pw@127.0.0.1\", key = \"jobs\"".into())]);
    assert!(clear.contains("has a password in it"), "{clear}");

    // What was known stays, with its time, and is said to be old.
    redis.kill();
    let stale = scene.backlog_is("list", |backlog| !backlog["error"].is_null());
    assert_eq!(stale["size"], 3, "{stale}");
}
