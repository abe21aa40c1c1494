//! A scratch folder against a guest that fills it in every way there is: what lies on the disk stays within what was
//! granted, and nothing of it is there afterwards.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde_json::json;
use windlass::domain::attempt::Outcome;
use windlass::domain::grant::{Ceiling, Grant};
use windlass::domain::span::Size;
use windlass::plugin::journal::Level;
use windlass::plugin::{Executor, Sandbox, Work};

use super::{data, guests, sandbox, work};

const GRANTED: Size = Size(2 * 1024 * 1024);

fn granted(mut work: Work, scratch: Size) -> Work {
    work.grant = Arc::new(Grant { scratch, ..Grant::default() });
    work.ceiling = Arc::new(Ceiling { scratch: Size::mib(64), ..Ceiling::default() });
    work
}

/// Bytes that a folder takes: a name counts a page, a part of a page a whole one.
fn taken(folder: &Path, seen: &mut BTreeSet<u64>) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        let found = entry.metadata().unwrap();
        bytes += 4096;
        if found.is_dir() {
            bytes += taken(&entry.path(), seen);
        } else if seen.insert(found.ino()) {
            // What is allocated: a hole takes nothing, and a second name of a file none of its bytes.
            bytes += found.blocks() * 512;
        }
    }
    bytes
}

fn names(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

/// Fills, looks at what is there, and stops the guest.
async fn filled(sandbox: &Sandbox, digest: &str, folder: &Path, way: &str) -> (u64, usize) {
    let work = granted(work(digest, &json!({ "attack": "scratch", "text": way, "ms": 600_000 })), GRANTED);
    let (journal, stop) = (work.journal.clone(), work.stop.clone());
    let run = tokio::spawn(sandbox.execute(work));
    let mut told = 0;
    let full = loop {
        let taken = journal.take();
        told += taken.lines.iter().filter(|line| line.message.starts_with("scratch is full")).count();
        if let Some(progress) = taken.progress {
            break progress;
        }
        assert!(!run.is_finished(), "{way}: {:?}", run.await.unwrap());
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(names(folder), 1, "{way}: a folder for each guest");
    let lies_there = taken(folder, &mut BTreeSet::new());
    assert!(lies_there <= GRANTED.0 + 4096, "{way}: {lies_there} bytes lie there, {GRANTED} are granted");
    stop.now.store(true, Relaxed);
    assert_eq!(run.await.unwrap(), Outcome::Cancelled, "{way}");
    assert_eq!(names(folder), 0, "{way}: gone with its guest");
    (full.done, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_way_to_write_leads_past_the_quota() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = sandbox(dir.path());
    let folder = dir.path().join("scratch");
    let digest = sandbox.catalog().add(guests::hostile().to_vec()).await.unwrap().digest;
    // Steps of 64 KiB, of a page or of more: how many of them fit into 2 MiB.
    for (way, most) in [
        ("big", 32),
        ("stream", 0),
        ("append", 32),
        ("truncate", 32),
        ("hole", 512),
        ("holes", 512),
        ("grow", 0),
        ("files", 512),
        ("small", 256),
        ("folders", 512),
        ("deep", 512),
        ("links", 512),
        ("removed", 32),
    ] {
        let (steps, told) = filled(&sandbox, &digest, &folder, way).await;
        assert_eq!(told, 1, "{way}: its log says why");
        assert!(steps <= most, "{way}: {steps} steps");
        assert!(steps >= most / 2, "{way}: {steps} steps are not all that fit");
    }
    assert_eq!(filled(&sandbox, &digest, &folder, "escape").await, (0, 0));
    assert!(!dir.path().join("escaped").exists() && !dir.path().parent().unwrap().join("escaped").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_writes_what_it_was_granted_and_is_told_when_it_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = sandbox(dir.path());
    let digest = sandbox.catalog().add(guests::hostile().to_vec()).await.unwrap().digest;
    let fill = || work(&digest, &json!({ "attack": "scratch", "text": "append" }));
    // Without a grant there is no folder.
    let outcome = sandbox.execute(fill()).await;
    assert_eq!(data(&outcome)["steps"], 0, "{outcome:?}");
    // A ceiling that was lowered after the grant holds.
    let mut lowered = granted(fill(), GRANTED);
    lowered.ceiling = Arc::new(Ceiling::default());
    assert_eq!(data(&sandbox.execute(lowered).await)["steps"], 0);
    let work = granted(fill(), GRANTED);
    let journal = work.journal.clone();
    let outcome = sandbox.execute(work).await;
    assert!(data(&outcome)["steps"].as_u64().unwrap() >= 16, "{outcome:?}");
    let lines = journal.take().lines;
    let told: Vec<_> = lines.iter().filter(|line| line.message.starts_with("scratch is full")).collect();
    assert!(told.len() == 1 && told[0].level == Level::Warn, "{lines:?}");
    assert!(told[0].message.contains("of 2.0 MiB are left") && told[0].message.contains("grant = { scratch"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_that_a_guest_keeps_are_its_memory() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = sandbox(dir.path());
    let digest = sandbox.catalog().add(guests::hostile().to_vec()).await.unwrap().digest;
    let mut work = granted(work(&digest, &json!({ "attack": "listings" })), GRANTED);
    let memory = Size::mib(8);
    work.grant = Arc::new(Grant { memory, ..(*work.grant).clone() });
    let journal = work.journal.clone();
    let told = data(&sandbox.execute(work).await);
    let (names, open) = (told["names"].as_u64().unwrap(), told["open"].as_u64().unwrap());
    assert!(names > 400 && open > 1 && open * names * 200 < memory.0, "{told}");
    assert_eq!((&told["refused"], &told["again"]), (&json!("insufficient-memory"), &json!(names)), "{told}");
    let lines = journal.take().lines;
    assert!(lines.iter().any(|line| line.message.starts_with("the listing of a folder is refused: ")), "{lines:?}");
}

#[tokio::test]
async fn what_a_dead_process_left_is_cleared_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let left = dir.path().join("scratch/17/deep/deeper");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("file"), "x").unwrap();
    let _sandbox = sandbox(dir.path());
    assert_eq!(names(&dir.path().join("scratch")), 0);
}
