//! What is done on the machine itself: backups, another Windlass's file, a lost password. With real processes.

use std::path::Path;

use serde_json::json;
use sqlx::{ConnectOptions, Connection};

use crate::harness::{Output, Server, command};

const TENANT: &str = "tenant = \"acme\"\n[[job]]\nname = \"haul\"\nplugin = \"noop\"\n";

fn windlass(dir: &Path, args: &[&str], stdin: &[u8]) -> Output {
    use std::io::Write;
    use std::process::Stdio;
    let mut child = command(dir).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may have ended without reading.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let done = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Output { code: done.status.code().unwrap(), stdout: text(done.stdout), stderr: text(done.stderr) }
}

#[test]
fn a_backup_is_made_while_the_server_runs_and_put_back_while_none_does() {
    let dir = tempfile::tempdir().unwrap();
    let (data, copy) = (dir.path().join("data"), dir.path().join("copy.db"));
    let copy = copy.to_str().unwrap();
    let mut server = Server::start(&data);
    std::fs::write(data.join("acme.toml"), TENANT).unwrap();
    assert_eq!(server.cli(&["apply", "acme.toml"]).code, 0);
    assert_eq!(server.cli_with(&["secret", "set", "acme/key"], b"hunter2").code, 0);
    let kept = server.json(&["job", "run", "acme/haul", "--wait"])["id"].clone();

    let told = server.json(&["backup", copy]);
    assert_eq!(told["secrets"], 1, "{told}");
    let again = server.cli(&["backup", copy]);
    assert!(again.code == 2 && again.stderr.contains("is there already"), "{again:?}");
    server.json(&["job", "run", "acme/haul", "--wait"]);
    let refused = server.cli(&["restore", copy, "--force"]);
    assert!(refused.code == 3 && refused.stderr.contains("belongs to a running Windlass"), "{refused:?}");

    assert!(server.terminate().success());
    let refused = server.cli(&["restore", copy]);
    assert!(refused.code == 2 && refused.stderr.contains("--force"), "{refused:?}");
    let own = data.join("windlass.db");
    let refused = server.cli(&["restore", own.to_str().unwrap(), "--force"]);
    assert!(refused.code == 2 && refused.stderr.contains("is a database in use and no backup"), "{refused:?}");
    let restored = server.cli(&["restore", copy, "--force"]);
    assert!(restored.code == 0 && restored.stdout.contains("they open only if it is the key of that time"), "{restored:?}");
    server.restart();
    let runs = server.api_get("tenants/acme/runs");
    assert_eq!((&runs["items"][0]["id"], &runs["count"]["value"]), (&kept, &json!(1)), "what came later is not there");
    assert_eq!(server.json(&["secret", "list", "acme"])["items"][0]["name"], "key");

    let elsewhere = dir.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let restored = windlass(&elsewhere, &["restore", copy], b"");
    assert!(restored.code == 0 && restored.stdout.contains("put it back before windlass serve starts"), "{restored:?}");
    let refused = windlass(&elsewhere, &["serve", "--listen", "127.0.0.1:0"], b"");
    assert!(refused.code == 3 && refused.stderr.contains("with it every secret"), "{refused:?}");
}

#[tokio::test]
async fn an_older_binary_leaves_a_newer_file_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("windlass.db");
    let clock = std::sync::Arc::new(windlass::clock::SystemClock);
    windlass::store::Store::open(windlass::store::Database::Sqlite(file.clone()), clock).await.unwrap().close().await;
    let checked = windlass(dir.path(), &["doctor", "--json"], b"");
    let checks: serde_json::Value = serde_json::from_str(&checked.stdout).unwrap();
    let database =
        |checks: &serde_json::Value| checks["checks"].as_array().unwrap().iter().find(|c| c["name"] == "database").cloned();
    let detail = database(&checks).unwrap()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(&format!("schema {}", windlass::store::backup::newest_schema())), "{detail}");

    let mut conn = sqlx::sqlite::SqliteConnectOptions::new().filename(&file).connect().await.unwrap();
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', 1, x'00', 0)";
    sqlx::query(later).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    let says = "was written by a newer Windlass: its schema is 9999";
    let checked = windlass(dir.path(), &["doctor"], b"");
    assert!(checked.code == 1 && checked.stdout.contains(says), "{checked:?}");
    let started = windlass(dir.path(), &["serve", "--listen", "127.0.0.1:0"], b"");
    assert!(started.code == 3 && started.stderr.contains(says), "{started:?}");
    let restored = windlass(dir.path(), &["restore", file.to_str().unwrap(), "--force"], b"");
    assert!(restored.code == 3 && restored.stderr.contains(says), "{restored:?}");
}

#[test]
fn a_lost_password_is_replaced_with_and_without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    let nobody = server.cli(&["password", "reset"]);
    assert!(nobody.code == 2 && nobody.stderr.contains("nobody has a password yet"), "{nobody:?}");
    assert_eq!(server.page("/").status, 200);
    let made = server.cli(&["password", "reset"]);
    assert_eq!((made.code, made.stdout.trim().len()), (0, 24), "{made:?}");
    assert_ne!(server.page("/").status, 200, "whoever was logged in is out");
    assert_eq!(server.log_in("operator", made.stdout.trim()), 303);
    assert_eq!(server.page("/").status, 200);
    let unknown = server.cli(&["password", "reset", "ann"]);
    assert!(unknown.code == 2 && unknown.stderr.contains("there are: operator"), "{unknown:?}");
    let short = server.cli_with(&["password", "reset", "--stdin"], b"short");
    assert!(short.code == 2 && short.stderr.contains("at least 10 characters"), "{short:?}");

    server.terminate();
    let given = server.cli_with(&["password", "reset", "operator", "--stdin"], b"chosen with care\n");
    assert_eq!((given.code, given.stdout.as_str()), (0, "operator has the new password\n"), "{given:?}");
    server.restart();
    assert_ne!(server.log_in("operator", made.stdout.trim()), 303);
    assert_eq!(server.log_in("operator", "chosen with care"), 303);
}
