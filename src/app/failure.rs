//! Dead runs run again; unfinished ones cancelled.

use super::{App, Who};
use crate::domain::job::Job;
use crate::domain::member::Role;
use crate::domain::run::{Enqueued, NewRun, Run, State};
use crate::domain::trigger::Cause;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::Tx;
use crate::store::failure::Cancelled;

/// Runs of one cause that one press runs again; more wait for the next.
pub const RERUN_LIMIT: u32 = 1_000;

/// Which items of a run are worked on again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Items {
    /// What is not done; what is done stays done.
    Open,
    All,
}

/// What re-running a cause came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Rerun {
    /// New runs.
    pub started: u32,
    /// Joined a live run of their job, because it may have no more.
    pub merged: u32,
}

impl App {
    /// Makes a new run with the input of a final one. A dead one then needs nobody any more. Of its items, `None` takes what
    /// is not done, and all when everything is.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is not over, or was run again before.
    pub async fn rerun(&self, tenant: &str, run: Id, items: Option<Items>, who: &Who) -> Result<Enqueued> {
        let now = self.now();
        let mut tx = self.store.begin().await?;
        let tenant = tx.need_tenant(tenant).await?;
        who.may(Role::Operator, tenant.id, "re-running")?;
        let old = tx.need_run(tenant.id, run).await?;
        if !old.state.is_final() {
            return Err(Error::Conflict(format!("run {run} is {}: it is not over yet", old.state.word())));
        }
        if let Some((Some(again), _, by)) = tx.settled(tenant.id, run).await? {
            return Err(Error::Conflict(format!("run {run} was run again by {by} already, as {again}")));
        }
        let job = self.job_of(&mut tx, &old).await?;
        let answer = again(&mut tx, &job, &old, items, now, who).await?;
        tx.audit(tenant.id, &who.name, "run.rerun", &run.to_string(), Some(&answer.id().to_string()), now).await?;
        tx.commit().await?;
        Ok(answer)
    }

    /// Runs all dead runs of one cause again, at most [`RERUN_LIMIT`].
    pub async fn rerun_cause(&self, tenant: &str, print: i64, who: &Who) -> Result<Rerun> {
        let now = self.now();
        let mut tx = self.store.begin().await?;
        let tenant = tx.need_tenant(tenant).await?;
        who.may(Role::Operator, tenant.id, "re-running")?;
        let dead = tx.failures_of(tenant.id, print, RERUN_LIMIT).await?;
        let Some(first) = dead.first() else { return Err(Error::not_found("a dead run of this cause")) };
        let job = self.job_of(&mut tx, first).await?;
        let mut done = Rerun::default();
        for old in &dead {
            match again(&mut tx, &job, old, None, now, who).await? {
                Enqueued::New(_) => done.started += 1,
                Enqueued::Merged(_) | Enqueued::Repeated(_) => done.merged += 1,
            }
        }
        let detail = format!("{} started, {} merged", done.started, done.merged);
        tx.audit(tenant.id, &who.name, "cause.rerun", &print.to_string(), Some(&detail), now).await?;
        tx.commit().await?;
        Ok(done)
    }

    /// Ends a waiting run; asks a running one to stop.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is over.
    pub async fn cancel(&self, tenant: &str, run: Id, who: &Who) -> Result<Cancelled> {
        let now = self.now();
        let mut tx = self.store.begin().await?;
        let tenant = tx.need_tenant(tenant).await?;
        who.may(Role::Operator, tenant.id, "cancelling")?;
        let answer = tx.cancel(tenant.id, run, &who.name, now).await?;
        tx.audit(tenant.id, &who.name, "run.cancel", &run.to_string(), None, now).await?;
        tx.commit().await?;
        self.store.signals().wake();
        Ok(answer)
    }

    async fn job_of(&self, tx: &mut Tx, run: &Run) -> Result<Job> {
        let jobs = tx.jobs_of(run.tenant).await?;
        let job = jobs.into_iter().find(|job| job.id == run.job);
        job.ok_or_else(|| Error::Conflict("its job was removed; apply it again, then re-run".into()))
    }
}

async fn again(
    tx: &mut Tx,
    job: &Job,
    old: &Run,
    items: Option<Items>,
    now: crate::clock::Timestamp,
    who: &Who,
) -> Result<Enqueued> {
    let counts = tx.item_counts(&[(old.tenant, old.id)]).await?.remove(&old.id).unwrap_or_default();
    let all_done = counts.done == counts.total();
    if items == Some(Items::Open) && all_done {
        return Err(Error::Conflict(format!("run {} has no item that is not done; run all again", old.id)));
    }
    let input = match tx.payload(old.tenant, old.id).await?.input {
        Some(text) => Some(serde_json::from_str(&text)?),
        None => None,
    };
    let with_input = input.is_some();
    let new = NewRun {
        tenant: old.tenant,
        job: old.job,
        revision: job.revision,
        cause: Cause::Rerun,
        input,
        due_at: None,
        start_by: None,
        parent: Some(old.id),
        requested_by: Some(who.name.clone()),
        max_live: job.spec.max_live,
        idempotency: None,
    };
    let answers = tx.enqueue(&[vec![new]], now).await?;
    let answer = answers
        .into_iter()
        .flatten()
        .next()
        .unwrap_or_else(|| Err(Error::Internal(anyhow::anyhow!("enqueue gave no answer"))))?;
    if let (Enqueued::New(new), false) = (answer, all_done || items == Some(Items::All)) {
        tx.carry_items(old.tenant, old.id, new).await?;
    }
    // Merged with a live run, an input of its own has not been run again: that run still needs somebody.
    let run_again = matches!(answer, Enqueued::New(_)) || !with_input;
    if matches!(old.state, State::Dead { .. }) && run_again {
        tx.settle_rerun(&[(old.tenant, old.id, answer.id())], &who.name, now).await?;
    }
    Ok(answer)
}
