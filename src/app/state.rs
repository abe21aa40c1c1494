//! What a job's plugin keeps between its runs, taken away by a person.

use super::{App, Who};
use crate::domain::member::Role;
use crate::error::{Error, Result};

impl App {
    /// Deletes one key of a job's state; the next run finds it missing.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn delete_state(&self, tenant: &str, job: &str, key: &str, who: &Who) -> Result<()> {
        let mut tx = self.store.begin().await?;
        let owner = tx.need_tenant(tenant).await?.id;
        who.may(Role::Operator, owner, "deleting a job's state")?;
        let found = tx.need_job(owner, job).await?;
        if tx.state_get(found.id, key).await?.is_none() {
            return Err(Error::not_found(format!("the key {key:?} of {tenant}/{job}")));
        }
        tx.state_delete(found.id, key).await?;
        tx.audit(owner, &who.name, "state.delete", job, Some(key), self.now()).await?;
        tx.commit().await
    }
}
