//! What is done on the machine itself: backups, another Windlass's file, a lost password. With real processes.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use sqlx::{ConnectOptions, Connection};

use crate::database;
use crate::harness::{Output, Server, command, wait};

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

    // What is no backup is a wrong argument.
    for (name, bytes) in [("missing.db", None), ("text.db", Some("no database"))] {
        let file = dir.path().join(name);
        if let Some(bytes) = bytes {
            std::fs::write(&file, bytes).unwrap();
        }
        let refused = windlass(dir.path(), &["restore", file.to_str().unwrap()], b"");
        assert!(refused.code == 2 && refused.stderr.contains(name), "{refused:?}");
    }

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
fn a_database_that_is_removed_under_the_server_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    assert_eq!(server.page("/readyz").status, 200);
    for end in ["db", "db-wal", "db-shm"] {
        std::fs::remove_file(dir.path().join(format!("windlass.{end}"))).unwrap();
    }
    let ready = server.page("/readyz");
    assert!(ready.status == 503 && ready.text.contains("was removed or replaced under this server"), "{ready:?}");
    let checked = windlass(dir.path(), &["doctor"], b"");
    assert!(checked.code == 1 && checked.stdout.contains("is gone: restore a backup; the data folder"), "{checked:?}");
}

/// What a log that cannot be written must not do: end requests, or the writer of the database.
#[test]
fn a_server_whose_log_is_full_works_on() {
    let dir = tempfile::tempdir().unwrap();
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut server = command(dir.path());
    let server = server.args(["serve", "--listen", "127.0.0.1:0"]).stdout(full()).stderr(full()).spawn().unwrap();
    let _server = Ends(server);
    wait("the server answers", Duration::from_secs(60), || {
        (windlass(dir.path(), &["tenant", "list"], b"").code == 0).then_some(())
    });
    for n in 0..3 {
        let file = dir.path().join("tenants.toml");
        std::fs::write(&file, format!("tenant = \"t{n}\"\n")).unwrap();
        let applied = windlass(dir.path(), &["apply", file.to_str().unwrap()], b"");
        assert_eq!(applied.code, 0, "its line in the log is the least of it: {applied:?}");
    }
}

/// With the test, however that ends.
struct Ends(std::process::Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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
    assert!(short.code == 2 && short.stderr.contains("at least 12 characters"), "{short:?}");

    server.terminate();
    let given = server.cli_with(&["password", "reset", "operator", "--stdin"], b"chosen with care\n");
    assert_eq!((given.code, given.stdout.as_str()), (0, "operator has the new password\n"), "{given:?}");
    server.restart();
    assert_ne!(server.log_in("operator", made.stdout.trim()), 303);
    assert_eq!(server.log_in("operator", "chosen with care"), 303);
}

fn json_of(told: &Output) -> serde_json::Value {
    serde_json::from_str(&told.stdout).unwrap_or_else(|wrong| panic!("{wrong}: {told:?}"))
}

/// That a secret still opens: a rotation to the value that stands is refused, and to a secret that does not open it is not.
fn opens(server: &Server, value: &[u8]) {
    let told = server.cli_with(&["secret", "rotate", "acme/key"], value);
    assert!(told.code == 2 && told.stderr.contains("this is the value that stands"), "{told:?}");
}

#[test]
fn another_key_seals_the_same_secrets_and_a_crash_at_any_point_leaves_them_open() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    std::fs::write(dir.path().join("acme.toml"), TENANT).unwrap();
    assert_eq!(server.cli(&["apply", "acme.toml"]).code, 0);
    assert_eq!(server.cli_with(&["secret", "set", "acme/key"], b"hunter2").code, 0);
    let rotate = ["secret", "rotate", "--key", "--json"];
    let refused = server.cli(&rotate);
    assert!(refused.code == 3 && refused.stderr.contains("belongs to a running Windlass"), "{refused:?}");
    let file = dir.path().join("secret.key");
    let key = || std::fs::read_to_string(&file).unwrap();
    let old = key();

    server.terminate();
    let told = server.cli(&rotate);
    assert_eq!((told.code, json_of(&told)), (0, json!({ "resealed": 1, "standing": 0, "closed": [] })), "{told:?}");
    let second = key();
    assert!(second != old && second.split_whitespace().count() == 1);
    server.restart();
    opens(&server, b"hunter2");
    server.terminate();

    // It broke off before the secrets were sealed anew: both keys are there, and the old one opens.
    let third = windlass::vault::new_key();
    std::fs::write(&file, format!("{third}\n{second}\n")).unwrap();
    server.restart();
    opens(&server, b"hunter2");
    server.terminate();
    let told = server.cli(&rotate);
    assert_eq!((told.code, key()), (0, third.clone()), "it goes on with the key that was begun: {told:?}");
    // It broke off after they were: nothing is left to seal, the old key goes.
    std::fs::write(&file, format!("{third}\n{second}\n")).unwrap();
    server.restart();
    opens(&server, b"hunter2");
    server.terminate();
    let told = server.cli(&rotate);
    assert_eq!((json_of(&told), key()), (json!({ "resealed": 0, "standing": 1, "closed": [] }), third.clone()), "{told:?}");
    // What no key opens is named, and stays.
    std::fs::write(&file, &old).unwrap();
    let told = server.cli(&rotate);
    assert_eq!((told.code, &json_of(&told)["closed"]), (0, &json!(["acme/key"])), "{told:?}");
    std::fs::write(&file, &third).unwrap();
    server.restart();
    opens(&server, b"hunter2");
    server.terminate();

    let outside = |keys: &str| {
        let done = command(dir.path()).args(rotate).env("WINDLASS_SECRET_KEY", keys).output().unwrap();
        (done.status.code().unwrap(), String::from_utf8(done.stderr).unwrap())
    };
    let (code, why) = outside(&third);
    assert!(
        code == 2 && why.contains("cannot write into the environment") && why.contains("before the one that stands"),
        "{why}"
    );
    let fourth = windlass::vault::new_key();
    // The new one stands second: nothing is sealed with it, and nobody is told to take the old one out.
    let (code, why) = outside(&format!("{third} {fourth}"));
    assert!(code == 2 && why.contains("nothing has changed") && why.contains("put the new one before it"), "{why}");
    assert_eq!(outside(&format!("{fourth} {third}")).0, 0);
    std::fs::write(&file, &fourth).unwrap();
    server.restart();
    opens(&server, b"hunter2");
}

#[test]
fn a_key_that_does_not_open_the_secrets_is_told_before_a_run_needs_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    let doctor = |dir: &Path| {
        let told = json_of(&windlass(dir, &["doctor", "--json"], b""));
        let check = told["checks"].as_array().unwrap().iter().find(|check| check["name"] == "secrets").cloned().unwrap();
        (check["ok"].as_bool().unwrap(), check["detail"].as_str().unwrap().to_owned())
    };
    std::fs::write(dir.path().join("acme.toml"), TENANT).unwrap();
    assert_eq!(server.cli(&["apply", "acme.toml"]).code, 0);
    for name in ["acme/key", "acme/other"] {
        assert_eq!(server.cli_with(&["secret", "set", name], b"hunter2").code, 0);
    }
    assert_eq!(doctor(dir.path()), (true, "2, all open".into()));
    assert!(server.terminate().success());
    let warned = |server: &Server| server.log().matches("secrets do not open with this key").count();
    assert_eq!(warned(&server), 0);

    let file = dir.path().join("secret.key");
    let right = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, windlass::vault::new_key()).unwrap();
    server.restart();
    assert_eq!(warned(&server), 1, "{}", server.log());
    assert_eq!(server.cli_with(&["secret", "set", "acme/third"], b"hunter3").code, 0);
    assert!(server.terminate().success());
    for (key, says) in [(None, "3, and "), (Some("no key"), "3; the secret key ("), (Some(&*right), "1 of 3 do not open with ")] {
        match key {
            Some(key) => std::fs::write(&file, key).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let (ok, detail) = doctor(dir.path());
        assert!(!ok && detail.starts_with(says) && detail.contains("secret.key"), "{detail}");
    }
}

#[test]
fn the_key_of_many_nodes_is_replaced_when_each_of_them_has_the_new_one() {
    if !database::is_postgres() {
        return;
    }
    let (url, dir) = (database::Cluster::shared().database(), tempfile::tempdir().unwrap());
    let (old, new) = (windlass::vault::new_key(), windlass::vault::new_key());
    let both = format!("{new} {old}");
    let node = |name: &str, keys: &str| {
        Server::start_with(&dir.path().join(name), &[("WINDLASS_DATABASE_URL", &*url), ("WINDLASS_SECRET_KEY", keys)])
    };
    let rotate = |keys: &str| {
        let mut windlass = command(dir.path());
        windlass.env("WINDLASS_DATABASE_URL", &url).env("WINDLASS_SECRET_KEY", keys);
        let done = windlass.args(["secret", "rotate", "--key"]).output().unwrap();
        (done.status.code().unwrap(), String::from_utf8(done.stderr).unwrap())
    };
    let (mut one, mut two) = (node("one", &old), node("two", &old));
    std::fs::write(dir.path().join("one/acme.toml"), TENANT).unwrap();
    assert_eq!(one.cli(&["apply", "acme.toml"]).code, 0);
    assert_eq!(one.cli_with(&["secret", "set", "acme/key"], b"hunter2").code, 0);
    let (code, why) = rotate(&old);
    assert!(code == 2 && why.contains("on every node put a new key"), "{why}");

    one.terminate();
    one = node("one", &both);
    let (code, why) = rotate(&both);
    assert!(
        code == 2 && why.contains("the new key does not stand first on node") && why.contains("nothing has changed"),
        "{why}"
    );
    opens(&two, b"hunter2");
    two.terminate();
    // Both are there, in the wrong order: the node would go on sealing with the old one.
    two = node("two", &format!("{old} {new}"));
    let (code, why) = rotate(&both);
    assert!(code == 2 && why.contains("the new key does not stand first on node"), "{why}");
    two.terminate();
    two = node("two", &both);
    let (code, why) = rotate(&both);
    assert_eq!(code, 0, "{why}");
    for node in [&one, &two] {
        opens(node, b"hunter2");
    }
    one.terminate();
    one = node("one", &new);
    opens(&one, b"hunter2");
}
