//! A job's new version: seen with its job, moved on or taken back.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::extract::{Asked, At, Caller};
use super::shape::{JobJson, RolloutJson, VersionJson};
use super::{job, read};
use crate::app::App;
use crate::domain::rollout::{Rollout, Stage};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::Tx;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct How {
    retries: Option<Retries>,
}

/// What runs do that began with a version that is taken back.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retries {
    Keep,
    Old,
}

pub async fn step(
    State(app): State<App>,
    Caller(who): Caller,
    At((tenant, job, step)): At<(String, String, String)>,
    Asked(how): Asked<How>,
) -> Result<Json<JobJson>> {
    read::within(&app, &who, &tenant).await?;
    let to = parse(&step)?;
    app.move_rollout(&tenant, &job, to, how.retries == Some(Retries::Old), &who).await?;
    Ok(Json(job::one(&app, &who, &tenant, &job).await?))
}

/// The stage that a step leads to.
///
/// # Errors
/// `NotFound`, with the steps there are.
pub fn parse(step: &str) -> Result<Stage> {
    match step {
        "pause" => Ok(Stage::Paused),
        "resume" => Ok(Stage::Running),
        "promote" => Ok(Stage::Promoted),
        "rollback" => Ok(Stage::RolledBack),
        _ => Err(Error::not_found(format!("the step {step:?} (there are pause, resume, promote and rollback)"))),
    }
}

pub async fn shape(tx: &mut Tx, tenant: Id, rollout: Rollout) -> Result<RolloutJson> {
    let (tally, share) = (rollout.tally, f64::from(rollout.share_now()) / 1_000_000.0);
    let (old, new) = (tx.known_version(tenant, &rollout.old).await?, tx.known_version(tenant, &rollout.new).await?);
    let version = |version: Option<std::sync::Arc<str>>, digest, done, failed| VersionJson {
        version: version.map(|version| version.to_string()),
        digest,
        done,
        failed,
    };
    Ok(RolloutJson {
        old: version(old, rollout.old, tally.old_done, tally.old_failed),
        new: version(new, rollout.new, tally.new_done, tally.new_failed),
        share,
        stage: rollout.stage.word().to_owned(),
        why: rollout.why,
        began_at: rollout.began_at,
        changed_at: rollout.changed_at,
        changed_by: rollout.changed_by,
    })
}
