//! Where the bytes of artifacts lie: a folder of this node, or a bucket that speaks S3. What is known of them lies in the
//! database; an object here is a key and its bytes.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use crate::config::{Artifacts, Settings};
use crate::error::{Error, Result};

/// Bytes that are held of an object while it is written: the least that S3 takes as a part.
const PART: usize = 5 * 1024 * 1024;
/// How long a bucket is asked again and again, and how long it may say nothing in the middle of an object, before that is an error.
const PATIENCE: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(10);

/// The variables that a bucket's credentials are read from.
pub const KEY_VARIABLES: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

/// All objects of this installation. Cheap to clone.
#[derive(Clone)]
pub struct Objects(Result<Kept, Arc<str>>);

#[derive(Clone)]
struct Kept {
    store: Arc<dyn ObjectStore>,
    /// Before every key in a bucket; ends with a slash unless it is empty.
    prefix: Arc<str>,
    /// Of a local folder.
    folder: Option<Arc<FilePath>>,
}

impl Objects {
    /// `shared`: many nodes share the database. `variable` reads the environment.
    ///
    /// # Errors
    /// When the folder cannot be made, or a bucket's credentials are missing.
    pub fn open(settings: &Settings, shared: bool, variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let artifacts = &settings.artifacts;
        if let Some(bucket) = artifacts.url.strip_prefix("s3://") {
            return bucket_store(artifacts, bucket, variable, PATIENCE).map(Ok).map(Self);
        }
        if shared && !artifacts.shared {
            // Most plugins leave no files behind: their nodes need not be told before they start.
            let why = format!(
                "artifacts.url = {:?} is a folder of one node, and other nodes would not find what lies there; write a bucket, as in \
                 \"s3://bucket/prefix\", or artifacts.shared = true when every node has this folder",
                artifacts.url
            );
            tracing::warn!("no artifacts are kept: {why}");
            return Ok(Self(Err(why.into())));
        }
        let folder = settings.data_dir.join(artifacts.url.trim_start_matches("file:"));
        Self::in_folder(folder)
    }

    /// In a folder of this machine, made when it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn in_folder(folder: PathBuf) -> Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let store = LocalFileSystem::new_with_prefix(&folder).map_err(away)?.with_automatic_cleanup(true).with_fsync(true);
        Ok(Self(Ok(Kept { store: Arc::new(store), prefix: "".into(), folder: Some(folder.into()) })))
    }

    /// Begins an object: it is there, whole, once [`Writer::finish`] has answered, and not before.
    ///
    /// # Errors
    /// `Unavailable` when this node keeps none.
    pub fn write(&self, place: &str) -> Result<Writer> {
        let kept = self.kept()?;
        let out = BufWriter::with_capacity(kept.store.clone(), kept.key(place), PART).with_max_concurrency(1);
        Ok(Writer { out, hash: Sha256::new(), bytes: 0 })
    }

    /// An object's bytes, as they come.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`.
    pub async fn read(&self, place: &str) -> Result<impl Stream<Item = Result<Bytes>> + Send + use<>> {
        let kept = self.kept()?;
        let found = kept.store.get(&kept.key(place)).await.map_err(lost_or_away)?;
        Ok(found.into_stream().map(|piece| piece.map_err(away)))
    }

    /// A part of an object.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`.
    pub async fn read_part(&self, place: &str, bytes: std::ops::Range<u64>) -> Result<Bytes> {
        let kept = self.kept()?;
        kept.store.get_range(&kept.key(place), bytes).await.map_err(lost_or_away)
    }

    /// Removes an object, and what a write that was broken off left of it. One that is not there is removed.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn remove(&self, place: &str) -> Result<()> {
        let kept = self.kept()?;
        if let Some(folder) = &kept.folder {
            // The name under which a local object is written before it has its own.
            match std::fs::remove_file(folder.join(format!("{place}#1"))) {
                Err(wrong) if wrong.kind() != std::io::ErrorKind::NotFound => return Err(wrong.into()),
                _ => {}
            }
        }
        match kept.store.delete(&kept.key(place)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(wrong) => Err(away(wrong)),
        }
    }

    /// Whether the store answers.
    ///
    /// # Errors
    /// `Unavailable`, with the reason.
    pub async fn check(&self) -> Result<()> {
        let kept = self.kept()?;
        match kept.store.head(&kept.key("windlass-check")).await {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(wrong) => Err(away(wrong)),
        }
    }

    fn kept(&self) -> Result<&Kept> {
        self.0.as_ref().map_err(|why| Error::Unavailable(why.to_string()))
    }
}

impl Kept {
    fn key(&self, place: &str) -> Path {
        Path::from(format!("{}{place}", self.prefix))
    }
}

fn bucket_store(
    artifacts: &Artifacts,
    bucket: &str,
    variable: impl Fn(&str) -> Option<String>,
    patience: Duration,
) -> Result<Kept> {
    let (bucket, prefix) = bucket.split_once('/').unwrap_or((bucket, ""));
    let [id, secret, token] = KEY_VARIABLES.map(variable);
    let (Some(id), Some(secret)) = (id, secret) else {
        return Err(Error::Unavailable(format!(
            "artifacts.url = {:?} needs {} and {} in the environment",
            artifacts.url, KEY_VARIABLES[0], KEY_VARIABLES[1]
        )));
    };
    // The first one stands; whoever was here before has installed the same.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    // An object may take as long as it is large.
    let options = ClientOptions::new().with_timeout_disabled().with_connect_timeout(CONNECT).with_read_timeout(patience);
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_access_key_id(id)
        .with_secret_access_key(secret)
        .with_region(artifacts.region.as_deref().unwrap_or("us-east-1"))
        .with_retry(RetryConfig { retry_timeout: patience, ..RetryConfig::default() })
        .with_client_options(options);
    if let Some(token) = token {
        builder = builder.with_token(token);
    }
    if let Some(endpoint) = &artifacts.endpoint {
        builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
    }
    let prefix = prefix.trim_matches('/');
    let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    Ok(Kept { store: Arc::new(builder.build().map_err(away)?), prefix: prefix.into(), folder: None })
}

/// An object that is being written; dropped before it is finished it is not there.
pub struct Writer {
    out: BufWriter,
    hash: Sha256,
    bytes: u64,
}

impl Writer {
    /// So far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds to its end; waits while the store is slower than the writer.
    ///
    /// # Errors
    /// `Unavailable`; then nothing can be made of it any more.
    pub async fn write(&mut self, bytes: Vec<u8>) -> Result<()> {
        self.hash.update(&bytes);
        self.bytes += bytes.len() as u64;
        let mut rest = Bytes::from(bytes);
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(PART));
            self.out.put(piece).await.map_err(away)?;
        }
        Ok(())
    }

    /// Answers its size in bytes and its digest, `sha256:…`, once the object is there.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn finish(mut self) -> Result<(u64, String)> {
        self.out.shutdown().await.map_err(away)?;
        let digest = self.hash.finalize().iter().fold(String::from("sha256:"), |text, byte| format!("{text}{byte:02x}"));
        Ok((self.bytes, digest))
    }

    /// Tells the store to forget what it was given.
    pub async fn discard(mut self) {
        if let Err(wrong) = self.out.abort().await {
            tracing::debug!(error = %wrong, "a write was given up, and the store did not hear of it");
        }
    }
}

fn lost_or_away(wrong: object_store::Error) -> Error {
    match wrong {
        object_store::Error::NotFound { .. } => Error::not_found("the bytes of this artifact"),
        wrong => away(wrong),
    }
}

fn away(wrong: impl std::fmt::Display) -> Error {
    Error::Unavailable(format!("the store of artifacts does not do it: {wrong}"))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn bytes_of(objects: &Objects, place: &str) -> Result<Vec<u8>> {
        let mut pieces = std::pin::pin!(objects.read(place).await?);
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.next().await {
            bytes.extend(piece?);
        }
        Ok(bytes)
    }

    fn files(folder: &FilePath) -> usize {
        std::fs::read_dir(folder).map_or(0, Iterator::count)
    }

    #[tokio::test]
    async fn an_object_is_there_when_it_is_whole_and_gone_when_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let objects = Objects::in_folder(dir.path().join("artifacts")).unwrap();
        for size in [0, 10, 12 * 1024 * 1024] {
            let mut writer = objects.write("acme/1/a.bin").unwrap();
            writer.write(vec![7; size]).await.unwrap();
            assert!(bytes_of(&objects, "acme/1/a.bin").await.is_err(), "it is not finished");
            let (bytes, digest) = writer.finish().await.unwrap();
            assert_eq!((bytes, digest.len()), (size as u64, 71));
            assert_eq!(bytes_of(&objects, "acme/1/a.bin").await.unwrap(), vec![7; size]);
            objects.remove("acme/1/a.bin").await.unwrap();
            objects.remove("acme/1/a.bin").await.unwrap();
        }
        assert_eq!(files(&dir.path().join("artifacts")), 0, "folders go with the last file in them");
    }

    #[tokio::test]
    async fn what_a_dead_process_left_half_written_is_removed_under_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let objects = Objects::in_folder(dir.path().to_owned()).unwrap();
        let mut writer = objects.write("acme/1/a.bin").unwrap();
        writer.write(vec![7; 2 * PART]).await.unwrap();
        writer.write(vec![7; PART]).await.unwrap();
        // Dropped without a word, as a process that is killed does it.
        std::mem::forget(writer);
        assert_eq!(files(&dir.path().join("acme/1")), 1);
        objects.remove("acme/1/a.bin").await.unwrap();
        assert_eq!(files(&dir.path().join("acme/1")), 0);
    }

    /// A bucket that answers one request with an object, a piece a second.
    async fn slow_bucket(pieces: usize) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(stream.read_u8().await.unwrap());
            }
            let dated = "Last-Modified: Sun, 22 Nov 2026 00:00:00 GMT\r\nETag: \"1\"";
            let head = format!("HTTP/1.1 200 OK\r\n{dated}\r\nContent-Length: {}\r\n\r\n", pieces * 4);
            stream.write_all(head.as_bytes()).await.unwrap();
            for _ in 0..pieces {
                tokio::time::sleep(Duration::from_secs(1)).await;
                stream.write_all(b"slow").await.unwrap();
            }
        });
        endpoint
    }

    #[tokio::test]
    async fn an_object_may_take_longer_than_a_bucket_may_be_silent() {
        let endpoint = Some(slow_bucket(6).await);
        let artifacts = Artifacts { url: "s3://bucket".into(), endpoint, ..Artifacts::default() };
        let kept = bucket_store(&artifacts, "bucket", |_| Some("x".into()), Duration::from_secs(4)).unwrap();
        assert_eq!(bytes_of(&Objects(Ok(kept)), "a").await.unwrap(), b"slow".repeat(6));
    }

    #[test]
    fn many_nodes_want_a_folder_that_is_said_to_be_shared_or_a_bucket_with_credentials() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings { data_dir: dir.path().to_owned(), ..Settings::default() };
        let none = |_: &str| None;
        let objects = Objects::open(&settings, true, none).unwrap();
        let wrong = objects.write("a").err().unwrap().to_string();
        assert!(wrong.contains("artifacts.shared = true") && wrong.contains("s3://bucket/prefix"), "{wrong}");
        settings.artifacts.shared = true;
        assert!(Objects::open(&settings, true, none).unwrap().write("a").is_ok());
        settings.artifacts.url = "s3://bucket".into();
        let wrong = Objects::open(&settings, true, none).err().unwrap().to_string();
        assert!(wrong.contains("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"), "{wrong}");
        assert!(Objects::open(&settings, true, |_| Some("x".into())).unwrap().write("a").is_ok());
    }
}
