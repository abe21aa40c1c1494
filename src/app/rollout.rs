//! A job's new version, moved on or taken back by a person.

use super::{App, Who};
use crate::domain::member::Role;
use crate::domain::rollout::{Rollout, Stage};
use crate::error::{Error, Result};

impl App {
    /// Brings the rollout of a job to another stage. `retries`: runs that began with the new version go on with the old one
    /// when it is taken back; they keep it otherwise.
    ///
    /// # Errors
    /// `NotFound`, also when the job has no new version; `Forbidden`; `Conflict` from where it does not lead there.
    pub async fn move_rollout(&self, tenant: &str, job: &str, to: Stage, retries: bool, who: &Who) -> Result<Rollout> {
        let mut tx = self.store.begin().await?;
        let owner = tx.need_tenant(tenant).await?.id;
        who.may(Role::Operator, owner, "moving a version on")?;
        let found = tx.need_job(owner, job).await?;
        let standing = tx.rollout(found.id).await?;
        let standing = standing.ok_or_else(|| Error::not_found(format!("a new version of {tenant}/{job}")))?;
        if !standing.stage.may_become(to) {
            return Err(Error::Conflict(format!("the new version of {tenant}/{job} is {}", nowhere(standing.stage, to))));
        }
        let now = self.now();
        let next = Rollout {
            stage: to,
            moved: to == Stage::RolledBack && retries,
            why: None,
            changed_at: now,
            changed_by: who.name.clone(),
            ..standing.clone()
        };
        tx.move_rollout(&standing, &next).await?;
        let object = format!("{tenant}/{job}");
        tx.audit(owner, &who.name, &format!("rollout.{}", to.word()), &object, Some(&standing.new), now).await?;
        tx.commit().await?;
        Ok(next)
    }
}

/// Where it is, and why it does not come to the other stage from there.
fn nowhere(from: Stage, to: Stage) -> String {
    let said = from.said();
    if from == to {
        return format!("{said} already");
    }
    match from {
        Stage::RolledBack => format!("{said}, and stays so until its file names another version, or none"),
        _ => format!("{said}, and cannot be {} from there", to.said()),
    }
}
