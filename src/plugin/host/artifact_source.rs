//! Files that other runs of the tenant left behind, read piece by piece: the runner looks whether the job may have them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wasmtime::component::Resource;

use super::artifacts::noted;
use super::port;
use crate::domain::artifact::READ;
use crate::plugin::bindings::windlass::plugin::artifact_source::{Host, HostSource, Refusal, Source};
use crate::plugin::instance::{Context, Guest};
use crate::plugin::journal::{Level, Line};
use crate::plugin::tape::Refused;
use crate::plugin::{ArtifactAnswer, ArtifactAsk};

/// One of them, as the guest holds it.
pub struct Left {
    name: String,
    /// Its key in the object store; empty in a replay, where nothing is read.
    place: String,
    facts: Facts,
}

/// What the guest learns when it is opened.
#[derive(Serialize, Deserialize)]
struct Facts {
    bytes: u64,
    media_type: String,
}

/// Takes the context and not the guest, which is not shared between threads.
async fn opened(context: Arc<Context>, run: String, name: String) -> Result<Left, Refused> {
    let ask = ArtifactAsk::Open { run, name: name.clone() };
    context.journal.asked(|asks| asks.artifacts += 1);
    let (what, with) = noted(&ask);
    let mut found = String::new();
    let live = async {
        let answer = port::of_the_runner(context.artifacts.clone(), ask).await;
        let log = |level, message| {
            context.journal.log(Line { at: context.clock.now(), level, message, fields: Vec::new() });
        };
        match answer {
            Ok(ArtifactAnswer::Opened { place, bytes, media_type }) => {
                log(Level::Debug, format!("reads the artifact {name:?}, {bytes} bytes"));
                found = place;
                serde_json::to_vec(&Facts { bytes, media_type }).map_err(|_| port::mixed_up())
            }
            Ok(_) => Err(port::mixed_up()),
            Err(wrong) => {
                log(Level::Warn, format!("an artifact is not given: {}", wrong.message));
                Err(Refused { code: wrong.code.to_owned(), message: wrong.message })
            }
        }
    };
    let facts = context.tape.called_out(what, with, live).await?;
    let facts = serde_json::from_slice(&facts).map_err(|_| port::mixed_up())?;
    Ok(Left { name, place: found, facts })
}

async fn read(context: Arc<Context>, ask: ArtifactAsk) -> Result<Vec<u8>, Refused> {
    context.journal.asked(|asks| asks.artifacts += 1);
    let (what, with) = noted(&ask);
    let live = async {
        match port::of_the_runner(context.artifacts.clone(), ask).await {
            Ok(ArtifactAnswer::Read(bytes)) => Ok(bytes),
            Ok(_) => Err(port::mixed_up()),
            Err(wrong) => Err(Refused { code: wrong.code.to_owned(), message: wrong.message }),
        }
    };
    context.tape.called_out(what, with, live).await
}

fn refusal(Refused { code, message }: Refused) -> Refusal {
    Refusal { code, message }
}

impl Host for Guest {
    async fn open(&mut self, run: String, name: String) -> wasmtime::Result<Result<Resource<Source>, Refusal>> {
        match opened(Arc::clone(&self.context), run, name).await {
            Ok(left) => Ok(Ok(self.table().push(left)?)),
            Err(wrong) => Ok(Err(refusal(wrong))),
        }
    }
}

impl HostSource for Guest {
    fn length(&mut self, source: Resource<Source>) -> wasmtime::Result<u64> {
        Ok(self.table().get(&source)?.facts.bytes)
    }

    fn media_type(&mut self, source: Resource<Source>) -> wasmtime::Result<String> {
        Ok(self.table().get(&source)?.facts.media_type.clone())
    }

    async fn read_at(
        &mut self,
        source: Resource<Source>,
        offset: u64,
        length: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, Refusal>> {
        let Left { name, place, facts } = self.table().get(&source)?;
        let end = offset.saturating_add(u64::from(length).min(READ)).min(facts.bytes);
        if offset >= end {
            return Ok(Ok(Vec::new()));
        }
        let ask = ArtifactAsk::Read { place: place.clone(), name: name.clone(), bytes: offset..end };
        Ok(read(Arc::clone(&self.context), ask).await.map_err(refusal))
    }

    fn drop(&mut self, source: Resource<Source>) -> wasmtime::Result<()> {
        self.table().delete(source)?;
        Ok(())
    }
}
