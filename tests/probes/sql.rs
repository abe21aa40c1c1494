//! Databases: PostgreSQL, MariaDB, and a SQLite file.

use std::process::Command;

use crate::postgres::Cluster;
use crate::scene::Scene;
use crate::service::{Service, free_port, run, tls};

/// What each database must refuse or fail, by job.
fn nonsense(of: &impl Fn(&str) -> String) -> Vec<(&'static str, String, &'static str)> {
    vec![
        ("many", of("SELECT id FROM task"), "more rows than one"),
        ("none", of("SELECT id FROM task WHERE id > 99"), "found no row"),
        ("null", of("SELECT max(id) FROM task WHERE id > 99"), "is NULL"),
        ("text", of("SELECT 'twelve'"), "which is no number"),
        ("negative", of("SELECT -3"), "-3 is no number of pieces"),
        ("no-table", of("SELECT count(*) FROM nothing"), "nothing"),
    ]
}

#[test]
fn postgresql_is_asked_in_a_session_that_only_reads() {
    let cluster = Cluster::shared();
    let url = cluster.database();
    let database = url.rsplit('/').next().unwrap();
    cluster.psql(database, "CREATE TABLE task (id INT, age INT); INSERT INTO task VALUES (1, 10), (2, 70), (3, 5)");
    cluster.psql(database, "CREATE FUNCTION taken() RETURNS INT LANGUAGE sql AS 'DELETE FROM task; SELECT 1'");
    let host = url.split('@').nth(1).unwrap().split('/').next().unwrap();
    let mut scene = Scene::start("sql", &[format!("postgres://{host}"), "postgres://127.0.0.1:1".into()]);
    let of = |query: &str| format!("probe = \"sql\", url = \"{url}\", query = \"{query}\"");
    let wrong = nonsense(&of);
    let mut jobs: Vec<_> = wrong.iter().map(|(job, trigger, _)| (*job, trigger.clone())).collect();
    jobs.extend([
        ("tasks", of("SELECT count(*), max(age) FROM task")),
        ("sum", of("SELECT sum(id::bigint) FROM task")),
        ("writes", of("SELECT taken()")),
        ("slow", of("SELECT 1 FROM pg_sleep(60)")),
        ("nobody", of("SELECT 1").replace("windlass@", "nobody@")),
        ("down", of("SELECT 1").replace(host, "127.0.0.1:1")),
    ]);
    scene.apply(&jobs);
    let backlog = scene.measures("tasks", 3);
    assert_eq!(backlog["age_ms"], 70_000, "{backlog}");
    for (job, _, says) in wrong {
        scene.fails(job, says);
    }
    scene.fails("sum", "NUMERIC; write CAST(… AS BIGINT) around it");
    scene.fails("writes", "read-only transaction");
    scene.fails("slow", "statement timeout");
    scene.fails("nobody", "nobody");
    scene.fails("down", "refused");
    assert_eq!(cluster.psql(database, "SELECT count(*) FROM task"), "3");
    let outside = scene.refused(&[("elsewhere", of("SELECT 1").replace(host, "db.example.org"))]);
    assert!(outside.contains("backlog.url: postgres://db.example.org is not within the tenant's ceiling"), "{outside}");
    let writing = scene.refused(&[("writing", of("DELETE FROM task"))]);
    assert!(writing.contains("backlog.query: must begin with SELECT or WITH"), "{writing}");
}

#[test]
fn mariadb_is_asked_in_a_session_that_only_reads() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let here = folder.path();
    let (data, socket) = (format!("--datadir={}", here.join("data").display()), here.join("socket"));
    let root = "--auth-root-authentication-method=normal";
    run(Command::new("mariadb-install-db").args(["--no-defaults", &data, "--user=root", root, "--skip-test-db"]));
    let mut command = Command::new("mariadbd");
    command.args(["--no-defaults", "--user=root", "--bind-address=127.0.0.1", &data, &format!("--port={port}")]);
    command.arg(format!("--socket={}", socket.display())).arg(format!("--pid-file={}", here.join("pid").display()));
    command.args([format!("--ssl-cert={}", tls("server.pem")), format!("--ssl-key={}", tls("server.key"))]);
    let _maria = Service::start(here, "mariadb", port, &mut command);
    let say = |sql: &str| run(Command::new("mariadb").args(["--no-defaults", "-N", "-S"]).arg(&socket).args(["-e", sql]));
    say("CREATE DATABASE shop; CREATE TABLE shop.task (id INT, age INT); INSERT INTO shop.task VALUES (1, 10), (2, 70)");
    say("CREATE USER reader@'127.0.0.1' IDENTIFIED BY 'probe-pw'; GRANT ALL ON shop.* TO reader@'127.0.0.1'");
    say("DELIMITER //\nCREATE FUNCTION shop.taken() RETURNS INT MODIFIES SQL DATA BEGIN DELETE FROM task; RETURN 1; END//");

    let url = format!("mysql://reader@127.0.0.1:{port}/shop");
    let mut scene = Scene::start("sql", &[format!("mysql://127.0.0.1:{port}"), "mysql://127.0.0.1:1".into()]);
    scene.secret("maria", "probe-pw");
    scene.secret("wrong", "no-such-pw");
    let of = |query: &str| format!("probe = \"sql\", url = \"{url}\", query = \"{query}\", secret = \"maria\"");
    let wrong = nonsense(&of);
    let mut jobs: Vec<_> = wrong.iter().map(|(job, trigger, _)| (*job, trigger.clone())).collect();
    jobs.extend([
        ("tasks", of("SELECT count(*), max(age) FROM task")),
        ("tls", of("SELECT count(*) FROM task").replace("/shop", "/shop?sslmode=verify-full")),
        ("sum", of("SELECT sum(id) FROM task")),
        ("writes", of("SELECT taken()")),
        ("slow", of("SELECT sleep(60)")),
        ("denied", of("SELECT 1").replace("\"maria\"", "\"wrong\"")),
        ("down", of("SELECT 1").replace(&port.to_string(), "1")),
    ]);
    scene.apply(&jobs);
    let backlog = scene.measures("tasks", 2);
    assert_eq!(backlog["age_ms"], 70_000, "{backlog}");
    for (job, _, says) in wrong {
        scene.fails(job, says);
    }
    scene.measures("tls", 2);
    scene.fails("sum", "DECIMAL; write CAST(… AS BIGINT) around it, in MySQL AS SIGNED");
    scene.fails("writes", "READ ONLY transaction");
    scene.fails("slow", "max_statement_time");
    scene.fails("denied", "Access denied");
    scene.fails("down", "refused");
    assert_eq!(say("SELECT count(*) FROM shop.task").trim(), "2");
}

#[test]
fn a_sqlite_file_is_asked_when_windlass_toml_and_the_ceiling_name_it() {
    let folder = tempfile::tempdir().unwrap();
    let [file, other, foreign] = ["shop.db", "other.db", "foreign.db"].map(|file| folder.path().join(file));
    for file in [&file, &other] {
        let made = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); \
                    c.executescript('CREATE TABLE task (id INT, age REAL); INSERT INTO task VALUES (1, 2.5), (2, 3.5)')";
        run(Command::new("python3").args(["-c", made]).arg(file));
    }
    let listed = format!("{:?}", [&file, &foreign]);
    let mut scene = Scene::start_with("sql", &[format!("sqlite:{}", file.display())], &[("WINDLASS_PROBES__SQLITE", &listed)]);
    let of = |query: &str| format!("probe = \"sql\", url = \"sqlite:{}\", query = \"{query}\"", file.display());
    let wrong = nonsense(&of);
    let mut jobs: Vec<_> = wrong.iter().map(|(job, trigger, _)| (*job, trigger.clone())).collect();
    jobs.push(("tasks", of("SELECT count(*), max(age) FROM task")));
    scene.apply(&jobs);
    let backlog = scene.measures("tasks", 2);
    assert_eq!(backlog["age_ms"], 3_500, "{backlog}");
    for (job, _, says) in wrong {
        scene.fails(job, says);
    }
    let unlisted = of("SELECT 1").replace("shop.db", "other.db");
    let unlisted = scene.refused(&[("unlisted", unlisted)]);
    assert!(unlisted.contains("is no file that probes may query; windlass.toml may add it"), "{unlisted}");
    let elsewhere = scene.refused(&[("elsewhere", of("SELECT 1").replace("shop.db", "foreign.db"))]);
    let right = format!("a server admin may add it: [ceiling] hosts = [\"sqlite:{}\"]", foreign.display());
    assert!(elsewhere.contains(&right), "another tenant's file: {elsewhere}");
    let own = of("SELECT 1").replace(&file.display().to_string(), &scene.server.dir().join("windlass.db").display().to_string());
    assert!(scene.refused(&[("own", own)]).contains("is no file that probes may query"));
}
