//! Files that running guests leave behind: into the object store piece by piece, into the database when they are whole. What
//! other runs have left is read in [`super::sources`].

use std::collections::HashMap;

use tokio::sync::mpsc;

use super::definitions::Known;
use super::{Context, sources};
use crate::domain::artifact::{Artifact, OPEN, check_media_type, check_name, place, too_large, too_many, too_many_open};
use crate::domain::limits::Limits;
use crate::domain::run::Run;
use crate::error::{Error, Result};
use crate::objects::Writer;
use crate::plugin::{ArtifactAnswer, ArtifactAsk, ArtifactsCall, Journal, Refusal};

/// What one guest is writing.
pub(super) struct Uploads<'a> {
    context: &'a Context,
    run: &'a Run,
    known: &'a Known,
    journal: &'a Journal,
    limits: Limits,
    open: HashMap<u64, Upload>,
    handles: u64,
    /// Bytes of the run's other artifacts, when the last upload began.
    standing: u64,
}

struct Upload {
    name: String,
    media_type: String,
    place: String,
    /// `None`: a write was refused or failed, and what is there is not whole.
    writer: Option<Writer>,
}

type Told = Result<u64, Refusal>;

impl<'a> Uploads<'a> {
    pub fn new(context: &'a Context, run: &'a Run, known: &'a Known, journal: &'a Journal) -> Self {
        let limits = known.limits();
        Self { context, run, known, journal, limits, open: HashMap::new(), handles: 0, standing: 0 }
    }

    /// Answers a guest's calls of `artifacts` and `artifact-source`, until the guest has ended.
    pub async fn serve(&mut self, mut calls: mpsc::Receiver<ArtifactsCall>) -> std::convert::Infallible {
        while let Some(ArtifactsCall { ask, answer }) = calls.recv().await {
            let number = |told: Told| told.map(ArtifactAnswer::Number);
            let told = match ask {
                ArtifactAsk::Create { name, media_type } => number(self.create(name, media_type).await),
                ArtifactAsk::Write { handle, bytes } => number(self.write(handle, bytes).await),
                ArtifactAsk::Finish { handle } => number(self.finish(handle).await),
                ArtifactAsk::Discard { handle } => {
                    self.discard(handle).await;
                    Ok(ArtifactAnswer::Number(0))
                }
                ArtifactAsk::Open { run, name } => sources::open(self.context, self.known, &run, &name).await,
                ArtifactAsk::Read { place, name, bytes } => sources::read(self.context, &place, &name, bytes).await,
            };
            if let Err(refusal) = &told {
                tracing::warn!(run.id = %self.run.id, code = refusal.code, "an artifact was refused: {}", refusal.message);
            }
            let _ = answer.send(told);
        }
        std::future::pending().await
    }

    /// What the guest did not finish is not there.
    pub async fn end(mut self) {
        for handle in self.open.keys().copied().collect::<Vec<_>>() {
            self.discard(handle).await;
        }
    }

    async fn create(&mut self, name: String, media_type: String) -> Told {
        check_name(&name).and_then(|()| check_media_type(&media_type)).map_err(|wrong| refusal("invalid", wrong))?;
        if self.open.len() >= OPEN {
            return Err(refusal("limit", too_many_open()));
        }
        let place = place(&self.known.job.tenant_name, self.run.id, self.context.store.new_id(), &name);
        let writer = match self.begin(&name, &place).await {
            Ok(begun) => begun?,
            Err(wrong) => return Err(self.away(&wrong)),
        };
        self.handles += 1;
        self.open.insert(self.handles, Upload { name, media_type, place, writer: Some(writer) });
        Ok(self.handles)
    }

    async fn begin(&mut self, name: &str, place: &str) -> Result<Result<Writer, Refusal>> {
        // Whether there is a store for it comes first: then nothing is entered for nothing.
        let writer = self.context.objects.write(place)?;
        let mut tx = self.context.store.begin().await?;
        let standing = tx.artifacts_of(self.run.tenant, self.run.id).await?;
        let others = || standing.iter().filter(|artifact| artifact.name != name);
        let with_this = others().count() as u64 + self.open.len() as u64 + 1;
        if with_this > self.limits.artifacts {
            return Ok(Err(refusal("limit", too_many(self.limits.artifacts))));
        }
        self.journal.took("artifacts", with_this);
        self.standing = others().map(|artifact| artifact.bytes).sum();
        tx.object_begins(self.run, place, self.context.clock.now()).await?;
        tx.commit().await?;
        Ok(Ok(writer))
    }

    async fn write(&mut self, handle: u64, bytes: Vec<u8>) -> Told {
        let written: u64 = self.open.values().filter_map(|upload| Some(upload.writer.as_ref()?.bytes())).sum();
        let all = self.standing.saturating_add(written).saturating_add(bytes.len() as u64);
        let upload = self.open.get_mut(&handle).ok_or_else(unknown)?;
        let Some(mut writer) = upload.writer.take() else { return Err(broken()) };
        let most = self.limits.artifact_bytes;
        if all > most.0 {
            writer.discard().await;
            return Err(refusal("limit", too_large(all, most)));
        }
        match writer.write(bytes).await {
            Ok(()) => {
                self.journal.took("artifact_bytes", all);
                upload.writer = Some(writer);
                Ok(0)
            }
            Err(wrong) => Err(self.away(&wrong)),
        }
    }

    async fn finish(&mut self, handle: u64) -> Told {
        let Upload { name, media_type, place, writer } = self.open.remove(&handle).ok_or_else(unknown)?;
        let kept = match writer {
            Some(writer) => self.keep(writer, name, media_type, &place).await.map_err(|wrong| self.away(&wrong)),
            None => Err(broken()),
        };
        if kept.is_err() {
            self.abandon(&place).await;
        }
        kept
    }

    async fn keep(&mut self, writer: Writer, name: String, media_type: String, place: &str) -> Result<u64> {
        let (bytes, digest) = writer.finish().await?;
        let created_at = self.context.clock.now();
        let artifact = Artifact { name, media_type, bytes, digest, place: place.to_owned(), created_at };
        let mut tx = self.context.store.begin().await?;
        tx.put_artifact(self.run, &artifact).await?;
        tx.commit().await?;
        Ok(bytes)
    }

    async fn discard(&mut self, handle: u64) {
        let Some(upload) = self.open.remove(&handle) else { return };
        if let Some(writer) = upload.writer {
            writer.discard().await;
        }
        self.abandon(&upload.place).await;
    }

    /// Swept away with the next round. What this cannot write down is swept when the run's lease is gone.
    async fn abandon(&mut self, place: &str) {
        let abandoned = async {
            let mut tx = self.context.store.begin().await?;
            tx.object_abandoned(place, self.context.clock.now()).await?;
            tx.commit().await
        };
        if let Err(wrong) = abandoned.await {
            tracing::warn!(run.id = %self.run.id, error = %wrong, "an object that is not wanted waits for the end of its run");
        }
    }

    fn away(&self, wrong: &Error) -> Refusal {
        tracing::error!(run.id = %self.run.id, error = %wrong, "an artifact could not be kept");
        refusal("unavailable", wrong.to_string())
    }
}

pub(super) fn refusal(code: &'static str, message: String) -> Refusal {
    Refusal { code, message }
}

fn unknown() -> Refusal {
    refusal("unavailable", "this artifact is not being written".into())
}

fn broken() -> Refusal {
    refusal("incomplete", "a write to this artifact did not succeed, and half of a file is not kept; create it again".into())
}
