//! A server of another project on a free port of loopback, with its files in a folder; gone when it is dropped.
#![allow(clippy::disallowed_methods, reason = "a test of real processes waits in real time")]

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::harness::wait;

/// How long one may take to come up; RabbitMQ takes ten seconds and more.
const UP: Duration = Duration::from_secs(90);

pub struct Service {
    child: Child,
}

impl Service {
    /// Starts it and waits until it takes connections on this port. What it says stands in `NAME.log`.
    pub fn start(folder: &Path, name: &str, port: u16, command: &mut Command) -> Self {
        let log = File::create(folder.join(format!("{name}.log"))).unwrap();
        // With a group of its own: some are scripts, and what they start must end with them.
        command.current_dir(folder).process_group(0);
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn();
        let mut service = Self { child: child.unwrap_or_else(|wrong| panic!("{name}: {wrong}")) };
        wait(&format!("{name} takes connections"), UP, || {
            let ended = service.child.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "{name}: {ended:?}: {}",
                std::fs::read_to_string(folder.join(format!("{name}.log"))).unwrap()
            );
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        service
    }

    /// Ends it with all that it started, as a crash would.
    pub fn kill(&mut self) {
        // Once it is gone, its number may be another's.
        if matches!(self.child.try_wait(), Ok(None)) {
            let group = format!("-{}", self.child.id());
            let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        }
        let _ = self.child.wait();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `ca.pem`, `server.pem` or `server.key`: for 127.0.0.1, and of an authority that [`crate::scene::Scene`] trusts.
pub fn tls(file: &str) -> String {
    format!("{}/tests/it/plugin/tls/{file}", env!("CARGO_MANIFEST_DIR"))
}

/// A port that nobody has now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs it to its end, which must be a good one.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|wrong| panic!("{command:?}: {wrong}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
