//! Items of jobs whose work is done by programs outside.

use std::time::Duration;

use super::{App, Who};
use crate::domain::item::{DELIVERY, Ending, Item};
use crate::domain::member::Role;
use crate::error::{Error, Problem, Result};
use crate::id::Id;
use crate::store::Tx;
use crate::store::outside::Reported;

/// Items that one call takes, and results that one call brings.
pub const CLAIM_LIMIT: u32 = 100;
pub const RESULTS_LIMIT: usize = 1_000;
/// Characters of a worker's name.
const WORKER: usize = 63;

impl App {
    /// Takes open items of a job's runs for [`DELIVERY`].
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a name or a number that cannot be; `Conflict` when the job hands no items out.
    pub async fn claim_items(&self, tenant: &str, job: &str, worker: &str, max: u32, who: &Who) -> Result<Vec<Item>> {
        if !(1..=CLAIM_LIMIT).contains(&max) {
            return Err(Error::invalid("max", format!("{max} is not from 1 to {CLAIM_LIMIT}")));
        }
        let (mut tx, of) = self.handed_out(tenant, job, worker, who).await?;
        let items = tx.claim_items(of, worker, max, DELIVERY, self.now()).await?;
        tx.commit().await?;
        Ok(items)
    }

    /// Keeps all that a worker has of the job for another [`DELIVERY`]; answers how many items that are.
    ///
    /// # Errors
    /// As [`App::claim_items`].
    pub async fn renew_items(&self, tenant: &str, job: &str, worker: &str, who: &Who) -> Result<(u64, Duration)> {
        let (mut tx, of) = self.handed_out(tenant, job, worker, who).await?;
        let renewed = tx.renew_items(of, worker, DELIVERY, self.now()).await?;
        tx.commit().await?;
        Ok((renewed, DELIVERY))
    }

    /// Records results, each by its run; answers in order. What comes late changes nothing, and is no error.
    ///
    /// # Errors
    /// As [`App::claim_items`].
    pub async fn end_items(
        &self,
        tenant: &str,
        job: &str,
        worker: &str,
        ends: &[(Id, Ending)],
        who: &Who,
    ) -> Result<Vec<Reported>> {
        let problem = |n: usize, wrong: String| Problem::new(format!("items[{n}]"), wrong);
        let problems: Vec<_> =
            ends.iter().enumerate().filter_map(|(n, (_, ending))| ending.check().err().map(|wrong| problem(n, wrong))).collect();
        if !problems.is_empty() {
            return Err(Error::Invalid(problems));
        }
        if ends.len() > RESULTS_LIMIT {
            return Err(Error::invalid("items", format!("{} results; send at most {RESULTS_LIMIT} at a time", ends.len())));
        }
        let (mut tx, of) = self.handed_out(tenant, job, worker, who).await?;
        let told = tx.end_items(of, worker, ends, self.now()).await?;
        tx.commit().await?;
        Ok(told)
    }

    /// A transaction for who may work on the job's items, with its tenant and job.
    async fn handed_out(&self, tenant: &str, job: &str, worker: &str, who: &Who) -> Result<(Tx, (Id, Id))> {
        if worker.trim().is_empty() || worker.chars().count() > WORKER || worker.chars().any(char::is_control) {
            return Err(Error::invalid("worker", format!("write the worker's name, 1 to {WORKER} characters")));
        }
        let mut tx = self.store.begin().await?;
        let tenant = tx.need_tenant(tenant).await?.id;
        who.may(Role::Operator, tenant, "working on items")?;
        let job = tx.need_job(tenant, job).await?;
        if !job.spec.items.outside {
            let name = &job.spec.name;
            return Err(Error::Conflict(format!(
                "{name} works on its items itself; items = {{ outside = true }} in its tenant file hands them out"
            )));
        }
        Ok((tx, (tenant, job.id)))
    }
}
