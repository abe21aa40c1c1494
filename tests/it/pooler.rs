//! PgBouncer between a node and its database: refused where it shares connections out by transaction.

use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use windlass::clock::SystemClock;
use windlass::store::{Database, Store};

use crate::database;

#[tokio::test]
async fn a_pooler_of_transactions_is_refused_and_one_of_sessions_is_not() {
    if !database::is_postgres() {
        return;
    }
    for (mode, refused) in [("transaction", true), ("session", false)] {
        let pooler = Pooler::start(mode).await;
        let opened = Store::open(Database::parse(&pooler.url, "".as_ref()).unwrap(), Arc::new(SystemClock)).await;
        match opened {
            Ok(store) => {
                assert!(!refused, "{mode} was taken");
                store.close().await;
            }
            Err(wrong) => {
                assert!(refused, "{mode}: {wrong}");
                assert!(wrong.to_string().contains("pool_mode = session"), "{wrong}");
            }
        }
    }
}

struct Pooler {
    url: String,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Pooler {
    /// Before a database of its own on the throw-away PostgreSQL.
    async fn start(mode: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let target = database::Cluster::shared().database();
        let (_, rest) = target.split_once('@').unwrap();
        let (address, name) = rest.split_once('/').unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = address.rsplit_once(':').unwrap().1;
        let config = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n{name} = host=127.0.0.1 port={server} user=windlass\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = {mode}\n"
        );
        fs::File::create(&config).unwrap().write_all(text.as_bytes()).unwrap();
        // It does not run as root.
        let is_root = String::from_utf8(Command::new("id").arg("-u").output().unwrap().stdout).unwrap().trim() == "0";
        let mut command = if is_root {
            let owned = Command::new("chown").args(["-R", "postgres:", folder.path().to_str().unwrap()]).status().unwrap();
            assert!(owned.success());
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--", "pgbouncer"]);
            command
        } else {
            Command::new("pgbouncer")
        };
        let child = command
            .args(["-q", config.to_str().unwrap()])
            .env("PATH", "/usr/sbin:/usr/bin:/bin")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..100 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self { url: format!("postgres://windlass@127.0.0.1:{port}/{name}"), child, _folder: folder }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
