//! Jobs, as people switch them.

use super::{App, Who, ends_in_time};
use crate::clock::Timestamp;
use crate::domain::member::Role;
use crate::error::Result;

impl App {
    /// No new run of the job starts until it is resumed, by somebody or at that time; running ones go on.
    ///
    /// # Errors
    /// `Invalid` for a time that has passed or is more than a year away; `NotFound`, `Forbidden`.
    pub async fn pause(&self, tenant: &str, job: &str, until: Option<Timestamp>, who: &Who) -> Result<()> {
        let now = self.now();
        until.map_or(Ok(()), |until| ends_in_time(until, now))?;
        let mut tx = self.store.begin().await?;
        let tenant = tx.need_tenant(tenant).await?;
        who.may(Role::Operator, tenant.id, "pausing a job")?;
        let job = tx.need_job(tenant.id, job).await?;
        tx.pause_job(tenant.id, job.id, &who.name, until, now).await?;
        let detail = until.map(|until| format!("until {}", until.rfc3339()));
        tx.audit(tenant.id, &who.name, "job.pause", &job.spec.name, detail.as_deref(), now).await?;
        tx.commit().await
    }

    pub async fn resume(&self, tenant: &str, job: &str, who: &Who) -> Result<()> {
        let now = self.now();
        let mut tx = self.store.begin().await?;
        let tenant = tx.need_tenant(tenant).await?;
        who.may(Role::Operator, tenant.id, "resuming a job")?;
        let job = tx.need_job(tenant.id, job).await?;
        tx.resume_job(tenant.id, job.id, now).await?;
        tx.audit(tenant.id, &who.name, "job.resume", &job.spec.name, None, now).await?;
        tx.commit().await
    }
}
