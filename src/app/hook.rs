//! Notifications from programs outside: taken in when the job's secret has signed them, handled by its next run.

use std::sync::Arc;

use serde_json::Value;

use super::{App, Who};
use crate::domain::hook::{BODY_LIMIT, Delivery};
use crate::domain::job::Job;
use crate::domain::member::Role;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::notice::{NewNotice, Noticed};

impl App {
    /// Takes a notification for a job in.
    ///
    /// # Errors
    /// `Unauthorized`, the same for everything that a stranger could try to find out; the log says why. `Unavailable` when too
    /// many wait.
    pub async fn notify(&self, tenant: &str, job: &str, delivery: Delivery<'_>) -> Result<Noticed> {
        let found = self.hooked(tenant, job, delivery).await;
        let job = match found {
            Ok(job) => job,
            Err(Error::Unavailable(why)) => return Err(Error::Unavailable(why)),
            Err(why) => {
                tracing::info!(tenant.name = tenant, job.name = job, why = %why, "a notification was refused");
                let refused = "there is no such webhook, or the notification is not signed with its secret, or not now";
                return Err(Error::Unauthorized(refused.into()));
            }
        };
        self.take_in(&job, Some(delivery.id), &delivery.payload(), delivery.body.len()).await
    }

    /// The same from who has a token.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a payload that is too large; `Conflict` for a job without a webhook; `Unavailable` when too many
    /// wait.
    pub async fn notify_as(&self, tenant: &str, job: &str, key: Option<&str>, payload: &Value, who: &Who) -> Result<Noticed> {
        let (tenant, job) = self.find_job(tenant, job).await?;
        who.may(Role::Operator, tenant, "starting a run")?;
        self.take_in(&job, key, payload, payload.to_string().len()).await
    }

    /// `came`: bytes of it as it came, which is what its sender knows; written anew it may be longer.
    async fn take_in(&self, job: &Job, key: Option<&str>, payload: &Value, came: usize) -> Result<Noticed> {
        if came > BODY_LIMIT {
            return Err(Error::invalid("body", format!("{came} bytes; at most {BODY_LIMIT}")));
        }
        let payload = payload.to_string();
        let debounce = job.spec.triggers.iter().find_map(|trigger| Some(trigger.webhook()?.debounce)).ok_or_else(|| {
            let advice = "write triggers = [{ webhook = { debounce = \"30s\" } }] in its file, or start a run";
            Error::Conflict(format!("the job {} has no webhook; {advice}", job.spec.name))
        })?;
        let key = key.map(|key| format!("webhook:{key}"));
        let due_at = self.now().plus(debounce.0);
        self.store.notice(NewNotice { tenant: job.tenant, job: job.id, key, payload, due_at }).await
    }

    /// The job, if the secret of its webhook has signed this.
    async fn hooked(&self, tenant: &str, job: &str, delivery: Delivery<'_>) -> Result<Arc<Job>> {
        let (tenant, job) = self.find_job(tenant, job).await?;
        let hook = job.spec.triggers.iter().find_map(|trigger| trigger.webhook());
        let name = hook.and_then(|hook| hook.secret.as_ref()).ok_or_else(|| Error::not_found("a webhook with a secret"))?;
        let secret = self.secret_value(tenant, name).await?;
        delivery.check(&secret, self.now()).map_err(|why| Error::Forbidden(why.into()))?;
        Ok(job)
    }

    async fn secret_value(&self, tenant: Id, name: &str) -> Result<Vec<u8>> {
        let sealed = self.store.read().await?.secrets(tenant).await?.into_iter().find(|sealed| sealed.name == name);
        let sealed = sealed.ok_or_else(|| Error::not_found(format!("the secret {name}")))?;
        self.vault.unseal(tenant, name, &sealed.nonce, &sealed.sealed)
    }
}
