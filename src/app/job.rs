//! Jobs, as people switch them.

use super::{App, Who};
use crate::domain::member::Role;
use crate::error::Result;

impl App {
    /// No new run of the job starts until it is resumed; running ones go on.
    pub async fn pause(&self, tenant: &str, job: &str, who: &Who) -> Result<()> {
        self.set_paused(tenant, job, true, who).await
    }

    pub async fn resume(&self, tenant: &str, job: &str, who: &Who) -> Result<()> {
        self.set_paused(tenant, job, false, who).await
    }

    async fn set_paused(&self, tenant: &str, job: &str, paused: bool, who: &Who) -> Result<()> {
        let now = self.now();
        let mut tx = self.store.begin().await?;
        let tenant = tx.need_tenant(tenant).await?;
        who.may(Role::Operator, tenant.id, "pausing a job")?;
        let job = tx.need_job(tenant.id, job).await?;
        tx.pause_job(tenant.id, job.id, paused.then_some(now), &who.name, now).await?;
        tx.audit(tenant.id, &who.name, if paused { "job.pause" } else { "job.resume" }, &job.spec.name, None, now).await?;
        tx.commit().await
    }
}
