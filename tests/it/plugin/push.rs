//! What is refused when it is pushed, and that the reason says what would be right.

use std::os::unix::fs::PermissionsExt;

use windlass::error::Error;
use windlass::plugin::{Executor, catalog};

use super::{guests, house, sandbox, work};

async fn refusal(bytes: &[u8]) -> String {
    match house().await.sandbox.catalog().add(bytes.to_vec()).await {
        Err(Error::Invalid(problems)) => problems.iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("\n"),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn what_is_no_component_is_refused_with_its_reason() {
    let cut = guests::hostile()[..guests::hostile().len() / 2].to_vec();
    let garbled = [&b"\0asm\x0d\0\x01\0"[..], &[0xff; 100]].concat();
    for (bytes, says) in [
        (Vec::new(), "the file is empty"),
        (b"hello, this is text".to_vec(), "no WebAssembly file"),
        (cut, "cut off or damaged"),
        (garbled, "cannot be read"),
        (vec![0; catalog::SIZE_LIMIT + 1], "the limit is 33554432"),
    ] {
        let words = refusal(&bytes).await;
        assert!(words.contains(says) && !words.contains('\n'), "{says:?}: {words}");
    }
}

#[tokio::test]
async fn a_component_without_a_job_is_refused_with_what_it_lacks() {
    let words = refusal(guests::no_job()).await;
    assert!(words.contains("windlass:plugin/job@1.0.0") && words.contains("example:other/greeter@1.0.0"), "{words}");
}

#[tokio::test]
async fn a_plugin_says_what_it_is_and_is_found_compiled_at_the_next_start() {
    let data = tempfile::tempdir().unwrap();
    let first = sandbox(data.path());
    let described = first.catalog().add(guests::hostile().to_vec()).await.unwrap();
    assert_eq!((described.version.as_str(), described.is_command, described.has_backlog), ("1.0.0", false, true));
    assert_eq!(described.summary, "Attacks the sandbox in the way its input names");
    assert_eq!(described.digest, catalog::digest(guests::hostile()));
    assert!(described.imports.iter().any(|name| name == "windlass:plugin/state@1.0.0"), "{:?}", described.imports);
    drop(first);
    let folder = data.path().join("compiled");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!((files.len(), mode(&files[0])), (1, 0o600), "{files:?}");
    let second = sandbox(data.path());
    assert!(!second.has(&described.digest));
    assert!(second.catalog().load_compiled(&described.digest).await.unwrap());
    let outcome = second.execute(work(&described.digest, &serde_json::json!({ "attack": "echo" }))).await;
    assert_eq!(outcome.word(), "succeeded", "{outcome:?}");
}

#[tokio::test]
async fn compiled_code_that_is_damaged_is_made_again() {
    let data = tempfile::tempdir().unwrap();
    let first = sandbox(data.path());
    let digest = first.catalog().add(guests::command().to_vec()).await.unwrap().digest;
    let file = std::fs::read_dir(data.path().join("compiled")).unwrap().next().unwrap().unwrap().path();
    drop(first);
    std::fs::write(&file, b"not what it was").unwrap();
    let second = sandbox(data.path());
    assert!(!second.catalog().load_compiled(&digest).await.unwrap());
    second.catalog().load(&digest, guests::command().to_vec()).await.unwrap();
    assert!(second.has(&digest));
    let wrong = second.catalog().load("sha256:00", guests::command().to_vec()).await.unwrap_err();
    assert!(matches!(&wrong, Error::Conflict(message) if message.contains("damaged")), "{wrong}");
}

#[tokio::test]
async fn what_comes_with_the_binary_is_sound() {
    for plugin in windlass::plugin::EMBEDDED {
        let described = house().await.sandbox.catalog().add(plugin.bytes.to_vec()).await.unwrap();
        assert!(!described.summary.is_empty() && described.version != "0.0.0", "{}: {described:?}", plugin.name);
    }
}
