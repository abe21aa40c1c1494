//! `windlass demo`, started as a newcomer does.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Instant;

use tempfile::TempDir;

use crate::chrome::Chrome;
use crate::harness;

/// Killed when dropped.
pub struct Demo {
    child: Child,
    folder: TempDir,
    pub url: String,
    pub began: Instant,
    name: String,
    password: String,
}

impl Demo {
    /// Waits until it has said where it is, and how to log in.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = File::create(folder.path().join("server.log")).unwrap();
        let mut child = harness::command(folder.path())
            .args(["demo", "--listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut after = |words: &str| {
            let said = lines.by_ref().find_map(|line| Some(line.trim().strip_prefix(words)?.trim().to_owned()));
            said.unwrap_or_else(|| panic!("the demo ended without {words:?}:\n{}", log_of(&folder)))
        };
        let (url, name, password) = (after("Windlass is up: "), after("Log in as "), after("Password "));
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, folder, url, began: Instant::now(), name, password }
    }

    pub async fn log_in(&self, chrome: &Chrome) {
        chrome.log_in(&self.name, &self.password).await;
    }
}

fn log_of(folder: &TempDir) -> String {
    fs::read_to_string(folder.path().join("server.log")).unwrap_or_default()
}

impl Drop for Demo {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("---- the demo's log\n{}----", log_of(&self.folder));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
