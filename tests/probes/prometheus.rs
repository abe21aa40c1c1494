//! Prometheus: one sample of a query.

use std::fs;
use std::process::Command;

use crate::scene::Scene;
use crate::service::{Service, free_port};

#[test]
fn a_query_of_prometheus_is_measured() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    fs::write(folder.path().join("prometheus.yml"), "scrape_configs: []\n").unwrap();
    let mut command = Command::new("prometheus");
    let listen = format!("--web.listen-address=127.0.0.1:{port}");
    command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", &listen]);
    let _prometheus = Service::start(folder.path(), "prometheus", port, &mut command);
    let url = format!("http://127.0.0.1:{port}");
    let mut scene = Scene::start("prometheus", &[url.clone(), "http://127.0.0.1:1".into()]);
    let of = |query: &str| format!("probe = \"prometheus\", url = \"{url}/\", query = '{query}'");
    scene.apply(&[
        ("tasks", of("sum(vector(304.2))")),
        ("scalar", of("scalar(vector(7))")),
        ("nothing", of("queue_length")),
        ("many", of(r#"label_replace(vector(1), "a", "b", "", "") or vector(2)"#)),
        ("nan", of("vector(0) / 0")),
        ("negative", of("vector(-1)")),
        ("wrong", of("sum(")),
        ("down", of("vector(1)").replace(&port.to_string(), "1")),
    ]);
    // A piece that is begun counts whole.
    scene.measures("tasks", 305);
    scene.measures("scalar", 7);
    scene.fails("nothing", "the query finds nothing");
    scene.fails("many", "the query finds 2 series");
    scene.fails("nan", "NaN is no number of pieces");
    scene.fails("negative", "-1 is no number of pieces");
    scene.fails("wrong", "parse error");
    scene.fails("down", "cannot be reached");
}
