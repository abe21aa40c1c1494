//! Why a waiting run waits: what the worker asks before it claims, asked for whoever looks.

use std::collections::HashMap;
use std::sync::Arc;

use super::App;
use crate::config::Role;
use crate::domain::admission::{Bounds, Load, Need, Shut, needs};
use crate::domain::job::Job;
use crate::domain::tenant::Tenant;
use crate::error::Result;
use crate::id::Id;
use crate::store::Tx;
use crate::store::admission::Running;

/// What stands against runs of a tenant at this moment.
pub struct Scene<'a> {
    tenant: &'a Tenant,
    running: Vec<Running>,
    starts: u32,
    /// MiB of the budget that are free; `u32::MAX` where it is not known.
    memory: u32,
    slots: u32,
}

impl<'a> Scene<'a> {
    /// Without a look at what runs: what a person has to do something about is told anyway.
    pub fn unseen(tenant: &'a Tenant) -> Self {
        Self { tenant, running: Vec::new(), starts: 0, memory: u32::MAX, slots: u32::MAX }
    }
}

impl App {
    /// A few statements, however many runs are to be explained.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn scene<'a>(&self, tx: &mut Tx, tenant: &'a Tenant) -> Result<Scene<'a>> {
        let running = tx.running_everywhere().await?;
        let starts = match tenant.limits.starts_per_minute {
            Some(_) => tx.started_within_minute(tenant.id, self.now()).await?,
            None => 0,
        };
        let worker = &self.settings.worker;
        let (slots, memory) = if self.store.is_shared() {
            // Another node may have room, and an equal one no more than its budget.
            let is_worker = self.settings.roles.has(Role::Worker) || worker.memory_budget.is_some();
            (u32::MAX, if is_worker { worker.budget().in_mib() } else { u32::MAX })
        } else {
            let mut here: HashMap<Id, u32> = HashMap::new();
            for one in running.iter().filter(|running| running.node == self.store.node()) {
                *here.entry(one.job).or_default() += one.runs;
            }
            let granted = |job: &Arc<Job>| Some(job.spec.grant.memory.in_mib().saturating_mul(*here.get(&job.id)?));
            let taken = tx.known_jobs().await?.iter().filter_map(granted).fold(0, u32::saturating_add);
            let free = worker.budget().in_mib().saturating_sub(taken);
            (worker.runs_in_flight.saturating_sub(here.values().sum()), free)
        };
        Ok(Scene { tenant, running, starts, memory, slots })
    }

    /// All that a run of the job needs before it starts, as it stands. `None`: the job was removed.
    pub fn needs(&self, scene: &Scene<'_>, job: Option<&Job>) -> [Need; 7] {
        let Some(job) = job else {
            return needs(&Bounds { shut: Some(Shut::Removed), ..Bounds::default() }, &Load::default());
        };
        let Scene { tenant, running, starts, memory, slots } = scene;
        let count = |of: &dyn Fn(&Running) -> bool| running.iter().filter(|one| of(one)).map(|one| one.runs).sum();
        let load = Load {
            tenant: count(&|one| one.tenant == tenant.id),
            job: count(&|one| one.job == job.id),
            class: count(&|one| one.class == job.spec.class),
            starts: *starts,
            memory: *memory,
            slots: *slots,
        };
        let shut = match job.paused_at {
            Some(_) => Some(Shut::Paused),
            None => (!self.executor.has(&job.digest)).then_some(Shut::Unloaded),
        };
        let granted = job.spec.grant.memory.min(tenant.ceiling.memory);
        let class = self.settings.classes.get(&job.spec.class);
        needs(&Bounds::of(&tenant.limits, &job.spec, class, granted, shut), &load)
    }
}
