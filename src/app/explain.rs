//! Why a waiting run waits: what the worker asks before it claims, asked for whoever looks.

use std::collections::HashMap;

use super::App;
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
    /// MiB of the budget that are free; `u32::MAX` without one.
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
        let here = || running.iter().filter(|running| running.node == self.store.node());
        let budget = self.settings.worker.memory_budget.map(|budget| budget.in_mib());
        let (slots, memory) = match budget {
            // Another node may have room, and an equal one no more than its budget.
            _ if self.store.is_shared() => (u32::MAX, budget.unwrap_or(u32::MAX)),
            None => (self.settings.worker.runs_in_flight, u32::MAX),
            Some(budget) => {
                let granted: HashMap<Id, u32> =
                    tx.known_jobs().await?.iter().map(|job| (job.id, job.spec.grant.memory.in_mib())).collect();
                let of = |running: &Running| granted.get(&running.job).map_or(0, |memory| memory.saturating_mul(running.runs));
                (self.settings.worker.runs_in_flight, budget.saturating_sub(here().map(of).fold(0, u32::saturating_add)))
            }
        };
        let slots = if slots == u32::MAX { slots } else { slots.saturating_sub(here().map(|running| running.runs).sum()) };
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
