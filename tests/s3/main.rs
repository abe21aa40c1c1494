//! Artifacts in a bucket, against a server that speaks S3 (`tests/s3/server`). `tests/run s3` sees to it that there is one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use futures_util::StreamExt;
use windlass::config::{Artifacts, Settings};
use windlass::error::{Error, Result};
use windlass::objects::Objects;

/// Ends when it is dropped: its standard input ends.
struct Server {
    url: String,
    child: Child,
}

impl Server {
    fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/s3/server");
        let mut child = Command::new(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        assert!(url.starts_with("http://"), "tests/s3/server did not start; tests/s3/server --check says what is missing");
        let server = Self { url: url.trim().to_owned(), child };
        // moto takes a bucket from anybody.
        ureq::put(format!("{}/jobs", server.url)).send_empty().unwrap();
        server
    }

    fn settings(&self, url: &str) -> Settings {
        let artifacts = Artifacts { url: url.into(), endpoint: Some(self.url.clone()), ..Artifacts::default() };
        Settings { artifacts, ..Settings::default() }
    }

    fn objects(&self, url: &str) -> Objects {
        Objects::open(&self.settings(url), true, |_| Some("test".into())).unwrap()
    }

    /// The bucket's list of keys, as XML.
    fn listed(&self) -> String {
        ureq::get(format!("{}/jobs?list-type=2", self.url)).call().unwrap().body_mut().read_to_string().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

async fn bytes_of(objects: &Objects, place: &str) -> Result<Vec<u8>> {
    let mut pieces = std::pin::pin!(objects.read(place).await?);
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await {
        bytes.extend(piece?);
    }
    Ok(bytes)
}

async fn put(objects: &Objects, place: &str, bytes: &[u8]) -> Result<(u64, String)> {
    let mut writer = objects.write(place)?;
    // As a guest writes: a piece after the other.
    for piece in bytes.chunks(700_000) {
        writer.write(piece.to_vec()).await?;
    }
    writer.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_small_and_large_come_back_as_they_went_and_are_removed() {
    let server = Server::start();
    let objects = server.objects("s3://jobs/files");
    objects.check().await.unwrap();
    // Nothing, one request, and four parts.
    for size in [0, 1_000, 17 * 1024 * 1024 + 3] {
        let bytes: Vec<u8> = (0..size).map(|n: usize| u8::try_from(n % 251).unwrap()).collect();
        let (written, digest) = put(&objects, "acme/1/2-a.bin", &bytes).await.unwrap();
        assert_eq!((written, digest.len()), (size as u64, 71));
        assert!(bytes_of(&objects, "acme/1/2-a.bin").await.unwrap() == bytes, "{size} bytes came back as others");
        assert!(server.listed().contains("<Key>files/acme/1/2-a.bin</Key>"), "{}", server.listed());
        objects.remove("acme/1/2-a.bin").await.unwrap();
        assert!(!server.listed().contains("<Key>"), "{}", server.listed());
    }
    objects.remove("acme/1/2-a.bin").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_given_up_is_not_there() {
    let server = Server::start();
    let objects = server.objects("s3://jobs");
    let mut writer = objects.write("acme/1/2-a.bin").unwrap();
    writer.write(vec![7; 12 * 1024 * 1024]).await.unwrap();
    assert!(matches!(bytes_of(&objects, "acme/1/2-a.bin").await, Err(Error::NotFound(_))));
    writer.discard().await;
    let uploads = ureq::get(format!("{}/jobs?uploads", server.url)).call().unwrap().body_mut().read_to_string().unwrap();
    assert!(!uploads.contains("<Key>") && !server.listed().contains("<Key>"), "{uploads}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_not_there_is_told() {
    let server = Server::start();
    let objects = server.objects("s3://elsewhere");
    let wrong = put(&objects, "a", b"x").await.unwrap_err();
    assert!(matches!(&wrong, Error::Unavailable(why) if why.contains("NoSuchBucket") || why.contains("404")), "{wrong}");
}
