//! The new version beside the old one: where it stands, and its buttons.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::clock::Timestamp;
use crate::domain::rollout::{ALL, Rollout, Stage};
use crate::error::Result;
use crate::id::Id;
use crate::store::Tx;
use crate::web::Web;
use crate::web::api::parse_step;
use crate::web::dashboard::see_other;
use crate::web::session::Session;
use crate::web::show::words::short_digest;

pub struct RolloutPart {
    pub said: &'static str,
    /// For the head of the page: what is not as the file has it.
    pub note: Option<String>,
    /// The digest that new runs take.
    pub current: String,
    pub why: Option<String>,
    pub is_back: bool,
    pub changed_at: Timestamp,
    pub by: String,
    pub versions: Vec<Version>,
    pub steps: Vec<Step>,
}

pub struct Version {
    pub name: String,
    pub digest: String,
    /// Of the new runs.
    pub share: String,
    pub done: u64,
    pub failed: u64,
}

pub struct Step {
    pub step: &'static str,
    pub label: &'static str,
}

impl RolloutPart {
    /// # Errors
    /// When the store does not answer.
    pub async fn read(tx: &mut Tx, tenant: Id, job: Id) -> Result<Option<Self>> {
        let Some(rollout) = tx.rollout(job).await? else { return Ok(None) };
        let new_share = f64::from(rollout.share_now()) / 10_000.0;
        let tally = rollout.tally;
        let mut versions = Vec::new();
        for (digest, share, done, failed) in [
            (&rollout.new, new_share, tally.new_done, tally.new_failed),
            (&rollout.old, 100.0 - new_share, tally.old_done, tally.old_failed),
        ] {
            let version = tx.known_version(tenant, digest).await?;
            let name = version.map_or_else(|| short_digest(digest), |version| version.to_string());
            versions.push(Version { name, digest: digest.clone(), share: format!("{share} %"), done, failed });
        }
        let (said, new) = (rollout.stage.said(), versions.first().map_or("", |version| version.name.as_str()));
        let note = match rollout.stage {
            Stage::Promoted => None,
            Stage::Running if rollout.share < ALL => Some(format!("{new} {said} with {new_share} % of new runs")),
            _ => Some(format!("{new} {said}")),
        };
        Ok(Some(Self {
            said,
            note,
            current: rollout.current().to_owned(),
            is_back: rollout.stage == Stage::RolledBack,
            steps: steps(&rollout),
            why: rollout.why,
            changed_at: rollout.changed_at,
            by: rollout.changed_by,
            versions,
        }))
    }
}

fn steps(rollout: &Rollout) -> Vec<Step> {
    let all = [
        (Stage::Paused, Step { step: "pause", label: "Pause" }),
        (Stage::Running, Step { step: "resume", label: "Resume" }),
        (Stage::Promoted, Step { step: "promote", label: "Use for all" }),
        (Stage::RolledBack, Step { step: "rollback", label: "Roll back" }),
    ];
    all.into_iter().filter(|(to, _)| rollout.stage.may_become(*to)).map(|(_, step)| step).collect()
}

pub async fn step(
    State(web): State<Web>,
    session: Session,
    Path((tenant, job, step)): Path<(String, String, String)>,
) -> Result<Response> {
    web.app.move_rollout(&tenant, &job, parse_step(&step)?, false, &session.who).await?;
    Ok(see_other(format!("/t/{tenant}/jobs/{job}#versions")))
}
