//! Files that a guest leaves behind, without a store: they go into a folder of who runs it, under the limits of a server. Those that
//! other runs have left come out of another: what run R left as N is its file R/N.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tokio::sync::mpsc;

use crate::domain::artifact::{OPEN, check_media_type, check_name, not_found, too_large, too_many, too_many_open};
use crate::domain::limits::Limits;
use crate::error::{Error, Result};
use crate::objects::{Objects, Writer};
use crate::plugin::{ArtifactAnswer, ArtifactAsk, ArtifactsCall, Refusal};

pub struct Shelf {
    place: Option<Place>,
    /// What others left.
    sources: Option<PathBuf>,
    limits: Limits,
    open: HashMap<u64, Draft>,
    handles: u64,
    /// By name.
    kept: BTreeMap<String, Kept>,
}

struct Place {
    folder: PathBuf,
    objects: Objects,
}

/// A file that is being written.
struct Draft {
    name: String,
    media_type: String,
    /// `None`: a write was refused or failed, and what is there is not whole.
    writer: Option<Writer>,
}

/// A file that is whole.
#[derive(Debug, Serialize)]
pub struct Kept {
    pub name: String,
    pub media_type: String,
    pub bytes: u64,
    /// `sha256:…`
    pub digest: String,
    pub file: PathBuf,
}

type Told = Result<u64, Refusal>;

impl Shelf {
    /// `folder` is made when it is not there; without one every file is refused, with what to do.
    ///
    /// # Errors
    /// `Invalid` for a folder with something in it: a guest chooses the names, and nothing of somebody else's is written over.
    pub fn new(folder: Option<PathBuf>, limits: Limits) -> Result<Self> {
        let place = folder.map(Place::new).transpose()?;
        Ok(Self { place, sources: None, limits, open: HashMap::new(), handles: 0, kept: BTreeMap::new() })
    }

    /// The same, with what other runs have left in this folder; without one every file of theirs is refused, with what to do.
    pub fn with_sources(mut self, folder: Option<PathBuf>) -> Self {
        self.sources = folder;
        self
    }

    /// Answers a guest's calls of `artifacts` and `artifact-source`, until the guest has ended.
    pub async fn serve(&mut self, mut calls: mpsc::Receiver<ArtifactsCall>) -> std::convert::Infallible {
        while let Some(ArtifactsCall { ask, answer }) = calls.recv().await {
            let number = |told: Told| told.map(ArtifactAnswer::Number);
            let told = match ask {
                ArtifactAsk::Create { name, media_type } => number(self.create(name, media_type)),
                ArtifactAsk::Write { handle, bytes } => number(self.write(handle, bytes).await),
                ArtifactAsk::Finish { handle } => number(self.finish(handle).await),
                ArtifactAsk::Discard { handle } => {
                    self.discard(handle).await;
                    Ok(ArtifactAnswer::Number(0))
                }
                ArtifactAsk::Open { run, name } => self.source(&run, &name),
                ArtifactAsk::Read { place, bytes, .. } => {
                    part(Path::new(&place), bytes).map(ArtifactAnswer::Read).map_err(|wrong| away(&wrong.into()))
                }
            };
            // A guest that was stopped meanwhile does not mind.
            let _ = answer.send(told);
        }
        std::future::pending().await
    }

    /// What is there; what the guest did not finish is not.
    pub async fn end(mut self) -> Vec<Kept> {
        for handle in self.open.keys().copied().collect::<Vec<_>>() {
            self.discard(handle).await;
        }
        self.kept.into_values().collect()
    }

    /// Nobody wrote down what kind of file it is.
    fn source(&self, run: &str, name: &str) -> Result<ArtifactAnswer, Refusal> {
        check_name(run).and_then(|()| check_name(name)).map_err(|wrong| refusal("invalid", wrong))?;
        let nowhere = "there is no folder with artifacts of others: windlass plugin run … --artifact-source DIR";
        let folder = self.sources.as_ref().ok_or_else(|| refusal("not-granted", nowhere.into()))?;
        let file = folder.join(run).join(name);
        let found = std::fs::metadata(&file).ok().filter(std::fs::Metadata::is_file);
        let bytes = found.ok_or_else(|| refusal("not-found", not_found(run, name)))?.len();
        let media_type = "application/octet-stream".into();
        Ok(ArtifactAnswer::Opened { place: file.to_string_lossy().into_owned(), bytes, media_type })
    }

    fn create(&mut self, name: String, media_type: String) -> Told {
        check_name(&name).and_then(|()| check_media_type(&media_type)).map_err(|wrong| refusal("invalid", wrong))?;
        let nowhere = || refusal("unavailable", "there is no folder for it: windlass plugin run … --artifacts DIR".into());
        let place = self.place.as_ref().ok_or_else(nowhere)?;
        if self.open.len() >= OPEN {
            return Err(refusal("limit", too_many_open()));
        }
        let others = self.kept.keys().filter(|kept| **kept != name).count() + self.open.len();
        if others as u64 >= self.limits.artifacts {
            return Err(refusal("limit", too_many(self.limits.artifacts)));
        }
        self.handles += 1;
        let writer = place.objects.write(&draft(self.handles)).map_err(|wrong| away(&wrong))?;
        self.open.insert(self.handles, Draft { name, media_type, writer: Some(writer) });
        Ok(self.handles)
    }

    async fn write(&mut self, handle: u64, bytes: Vec<u8>) -> Told {
        let open: u64 = self.open.values().filter_map(|draft| Some(draft.writer.as_ref()?.bytes())).sum();
        let draft = self.open.get_mut(&handle).ok_or_else(unknown)?;
        let kept: u64 = self.kept.values().filter(|kept| kept.name != draft.name).map(|kept| kept.bytes).sum();
        let Some(mut writer) = draft.writer.take() else { return Err(broken()) };
        let all = kept + open + bytes.len() as u64;
        if all > self.limits.artifact_bytes.0 {
            writer.discard().await;
            return Err(refusal("limit", too_large(all, self.limits.artifact_bytes)));
        }
        writer.write(bytes).await.map_err(|wrong| away(&wrong))?;
        draft.writer = Some(writer);
        Ok(0)
    }

    async fn finish(&mut self, handle: u64) -> Told {
        let Draft { name, media_type, writer } = self.open.remove(&handle).ok_or_else(unknown)?;
        let (bytes, digest) = writer.ok_or_else(broken)?.finish().await.map_err(|wrong| away(&wrong))?;
        let folder = self.place.as_ref().map(|place| &place.folder).ok_or_else(unknown)?;
        let file = folder.join(&name);
        std::fs::rename(folder.join(draft(handle)), &file).map_err(|wrong| away(&wrong.into()))?;
        self.kept.insert(name.clone(), Kept { name, media_type, bytes, digest, file });
        Ok(bytes)
    }

    async fn discard(&mut self, handle: u64) {
        if let Some(writer) = self.open.remove(&handle).and_then(|draft| draft.writer) {
            writer.discard().await;
        }
    }
}

impl Place {
    fn new(folder: PathBuf) -> Result<Self> {
        if folder.exists() && std::fs::read_dir(&folder)?.next().is_some() {
            let why = format!("{} has something in it; name a folder that is empty or not there", folder.display());
            return Err(Error::invalid("--artifacts", why));
        }
        let objects = Objects::in_folder(folder.clone())?;
        Ok(Self { folder, objects })
    }
}

/// Bytes of a file.
fn part(file: &Path, bytes: Range<u64>) -> std::io::Result<Vec<u8>> {
    let (mut file, mut part) = (std::fs::File::open(file)?, Vec::new());
    file.seek(SeekFrom::Start(bytes.start))?;
    file.take(bytes.end - bytes.start).read_to_end(&mut part)?;
    Ok(part)
}

/// Under which a file lies until it is whole: no artifact's name begins with a dot.
fn draft(handle: u64) -> String {
    format!(".{handle}.part")
}

fn refusal(code: &'static str, message: String) -> Refusal {
    Refusal { code, message }
}

fn unknown() -> Refusal {
    refusal("unavailable", "this artifact is not being written".into())
}

fn broken() -> Refusal {
    refusal("incomplete", "a write to this artifact did not succeed, and half of a file is not kept; create it again".into())
}

fn away(wrong: &Error) -> Refusal {
    refusal("unavailable", wrong.to_string())
}
