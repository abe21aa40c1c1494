//! Tenants, jobs and revisions in memory, read again when a commit changed them: the hot path asks no database.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Context;
use crate::domain::grant::{Ceiling, Grant};
use crate::domain::job::{Job, JobSpec};
use crate::domain::limits::Limits;
use crate::domain::rollout::{Rollout, Stage};
use crate::domain::tenant::Tenant;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::span::Size;
use crate::store::Store;

/// A job with all that running it needs.
#[derive(Debug, Clone)]
pub struct Known {
    pub job: Job,
    /// That holds now, whatever the revision said.
    pub grant: Arc<Grant>,
    pub ceiling: Arc<Ceiling>,
    /// A new version of its plugin beside the old one.
    pub rollout: Option<Rollout>,
}

impl Known {
    /// Digests that its next run may take.
    pub fn digests(&self) -> impl Iterator<Item = &str> {
        let [first, second] = match &self.rollout {
            None => [Some(self.job.digest.as_str()), None],
            Some(Rollout { old, new, stage, .. }) => match stage {
                Stage::Running => [Some(old.as_str()), Some(new.as_str())],
                // What is not taken any more need not be there.
                Stage::Paused | Stage::RolledBack => [Some(old.as_str()), None],
                Stage::Promoted => [Some(new.as_str()), None],
            },
        };
        first.into_iter().chain(second)
    }
}

impl Known {
    /// Of one of its guests.
    pub fn memory(&self) -> Size {
        self.grant.memory.min(self.ceiling.memory)
    }

    /// What its guest may take.
    pub fn limits(&self) -> Limits {
        Limits::of(&self.grant.limits, &self.ceiling.limits)
    }
}

/// What a run was made from.
#[derive(Debug, Clone)]
pub struct Made {
    pub spec: Arc<JobSpec>,
    pub digest: Arc<str>,
    /// `spec.config` as the guest gets it.
    pub config: Arc<str>,
}

#[derive(Default)]
pub struct Definitions {
    inner: RwLock<Inner>,
    /// Wakes the prober: a probe has ended, or a run whose target is worth another look.
    pub(super) probe_soon: tokio::sync::Notify,
}

#[derive(Default)]
struct Inner {
    tenants: HashMap<Id, Arc<Tenant>>,
    jobs: HashMap<Id, Arc<Known>>,
    revisions: HashMap<Id, Made>,
}

/// Revisions kept in memory; beyond it all are dropped and read again as they are needed.
const REVISIONS: usize = 50_000;

/// Reads them again whenever they change, where no worker does.
pub(super) async fn follow(context: Arc<Context>, stop: CancellationToken) {
    let mut changes = context.store.signals().definitions();
    while let Some(Ok(())) = stop.run_until_cancelled(changes.changed()).await {
        context.definitions.read(&context).await;
    }
}

impl Definitions {
    /// As [`Self::refresh`], until it works.
    pub(super) async fn read(&self, context: &Context) {
        while let Err(wrong) = self.refresh(&context.store).await {
            tracing::error!(error = %wrong, "definitions could not be read; it is tried again");
            context.clock.sleep(Duration::from_secs(1)).await;
        }
    }

    pub async fn refresh(&self, store: &Store) -> Result<()> {
        let mut tx = store.read().await?;
        let (tenants, jobs, mut grants) = (tx.tenants().await?, tx.jobs().await?, tx.grants().await?);
        let mut rollouts = tx.rollouts().await?;
        drop(tx);
        let mut known = HashMap::with_capacity(jobs.len());
        let tenants: HashMap<Id, Arc<Tenant>> = tenants.into_iter().map(|tenant| (tenant.id, Arc::new(tenant))).collect();
        let ceilings: HashMap<Id, Arc<Ceiling>> =
            tenants.values().map(|tenant| (tenant.id, Arc::new(tenant.ceiling.clone()))).collect();
        for job in jobs {
            let ceiling = ceilings.get(&job.tenant).cloned().unwrap_or_default();
            let grant = grants.remove(&job.id).unwrap_or_default();
            let rollout = rollouts.remove(&job.id);
            known.insert(job.id, Arc::new(Known { job, grant: Arc::new(grant), ceiling, rollout }));
        }
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.tenants = tenants;
        inner.jobs = known;
        if inner.revisions.len() > REVISIONS {
            inner.revisions.clear();
        }
        Ok(())
    }

    pub fn job(&self, job: Id) -> Option<Arc<Known>> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).jobs.get(&job).cloned()
    }

    pub fn tenant(&self, tenant: Id) -> Option<Arc<Tenant>> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).tenants.get(&tenant).cloned()
    }

    pub fn jobs(&self) -> Vec<Arc<Known>> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).jobs.values().cloned().collect()
    }

    /// # Errors
    /// When it is gone or cannot be read.
    pub async fn revision(&self, store: &Store, id: Id) -> Result<Made> {
        if let Some(made) = self.inner.read().unwrap_or_else(PoisonError::into_inner).revisions.get(&id) {
            return Ok(made.clone());
        }
        let found = store.read().await?.revision(id).await?;
        let revision = found.ok_or_else(|| Error::not_found(format!("revision {id}")))?;
        let config = serde_json::to_string(&revision.spec.config)?;
        let made = Made { spec: Arc::new(revision.spec), digest: revision.digest.into(), config: config.into() };
        self.inner.write().unwrap_or_else(PoisonError::into_inner).revisions.insert(id, made.clone());
        Ok(made)
    }
}
