//! Files that other runs left behind, for guests whose grant names the jobs of these runs.

use std::ops::Range;

use super::Context;
use super::artifacts::refusal;
use super::definitions::Known;
use crate::domain::artifact::{check_name, not_found};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::plugin::{ArtifactAnswer, Refusal};
use crate::store::Tx;

type Told = std::result::Result<ArtifactAnswer, Refusal>;

/// Letters of a run's id, with room for what is almost one: it stands in messages.
const ID: usize = 40;

pub(super) async fn open(context: &Context, known: &Known, run: &str, name: &str) -> Told {
    if run.len() > ID {
        return Err(refusal("invalid", format!("{} bytes are no run's id: it has 13 letters and digits", run.len())));
    }
    check_name(name).map_err(|wrong| refusal("invalid", wrong))?;
    let Ok(id) = run.parse() else { return Err(refusal("not-found", not_found(run, name))) };
    found(context, known, id, name).await.unwrap_or_else(|wrong| Err(refusal("unavailable", wrong.to_string())))
}

/// Another tenant's run is told apart from none by nobody.
async fn found(context: &Context, known: &Known, run: Id, name: &str) -> Result<Told> {
    let tenant = known.job.tenant;
    let none = || Ok(Err(refusal("not-found", not_found(&run.to_string(), name))));
    let mut tx = context.store.read().await?;
    let Some(left_by) = tx.run(tenant, run).await?.map(|run| run.job) else { return none() };
    if !granted(&mut tx, known, left_by).await? {
        let Some(left_by) = context.definitions.job(left_by) else { return none() };
        let job = &left_by.job.spec.name;
        let message = format!(
            "artifacts of the job {job:?} are not granted to this job; to allow it: grant.artifacts = {{ read = [{job:?}] }}"
        );
        return Ok(Err(refusal("not-granted", message)));
    }
    let Some(artifact) = tx.artifact(tenant, run, name).await? else { return none() };
    Ok(Ok(ArtifactAnswer::Opened { place: artifact.place, bytes: artifact.bytes, media_type: artifact.media_type }))
}

/// Jobs are granted by name, and known by id: one that was removed and made anew is another.
async fn granted(tx: &mut Tx, known: &Known, left_by: Id) -> Result<bool> {
    for name in &known.grant.artifacts.read {
        match tx.known_job(known.job.tenant, name).await {
            Ok(job) if job.id == left_by => return Ok(true),
            Ok(_) | Err(Error::NotFound(_)) => {}
            Err(wrong) => return Err(wrong),
        }
    }
    Ok(false)
}

pub(super) async fn read(context: &Context, place: &str, name: &str, bytes: Range<u64>) -> Told {
    match context.objects.read_part(place, bytes).await {
        Ok(bytes) => Ok(ArtifactAnswer::Read(bytes.into())),
        // Its run was pruned or wrote it over meanwhile, or somebody removed it by hand.
        Err(Error::NotFound(_)) => Err(refusal("not-found", format!("the bytes of the artifact {name:?} are gone"))),
        Err(wrong) => Err(refusal("unavailable", wrong.to_string())),
    }
}
