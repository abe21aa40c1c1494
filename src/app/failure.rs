//! One run at a time: run again, discarded, brought back, cancelled. Many dead ones: `operation`.

use super::{App, Who};
use crate::clock::Timestamp;
use crate::domain::health::words;
use crate::domain::item::Items;
use crate::domain::member::Role;
use crate::domain::run::{Enqueued, State};
use crate::domain::tenant::Tenant;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::Tx;
use crate::store::cancel::Cancelled;
use crate::store::dead::Over;

impl App {
    /// Makes a new run with the input of a final one. A dead one then needs nobody any more. Of its items, `None` takes what
    /// is not done, and all when everything is.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is not over, was run again before, is discarded, or ended well and within the job's
    /// `rerun_after`.
    pub async fn rerun(&self, tenant: &str, run: Id, items: Option<Items>, who: &Who) -> Result<Enqueued> {
        let (mut tx, tenant, over, now) = self.take_over(tenant, run, "re-running", who).await?;
        if !over.dead {
            not_too_soon(&mut tx, tenant.id, &over, now).await?;
        }
        let mut answers = tx.rerun(std::slice::from_ref(&over), items, &who.name, now).await?;
        let nothing = || Err(Error::Internal(anyhow::anyhow!("a rerun gave no answer")));
        let answer = answers.pop().unwrap_or_else(nothing)?;
        tx.audit(tenant.id, &who.name, "run.rerun", &run.to_string(), Some(&answer.id().to_string()), now).await?;
        tx.commit().await?;
        Ok(answer)
    }

    /// Marks a dead run as one that needs nobody. For [`crate::domain::dead::UNDO`] it can be brought back.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is not dead, or settled already.
    pub async fn discard(&self, tenant: &str, run: Id, who: &Who) -> Result<()> {
        let (mut tx, tenant, over, now) = self.take_over(tenant, run, "discarding", who).await?;
        if !over.dead {
            return Err(Error::Conflict(format!("run {run} is not dead: only a dead run is discarded")));
        }
        if let Some(settled) = over.settled {
            let how = settled.rerun.map_or_else(|| "was discarded".into(), |again| format!("was run again as {again}"));
            return Err(Error::Conflict(format!("run {run} {how} by {} already", settled.by)));
        }
        tx.discard(&[(tenant.id, run)], &who.name, now).await?;
        tx.audit(tenant.id, &who.name, "run.discard", &run.to_string(), None, now).await?;
        tx.commit().await
    }

    /// Brings a discarded run back.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is not discarded, or was too long ago.
    pub async fn undo_discard(&self, tenant: &str, run: Id, who: &Who) -> Result<()> {
        let (mut tx, tenant, over, now) = self.take_over(tenant, run, "bringing back", who).await?;
        match over.settled {
            Some(settled) if settled.can_be_undone(now) => {}
            Some(settled) if settled.rerun.is_none() => {
                return Err(Error::Conflict(format!("run {run} was discarded more than 24 h ago, and stays so")));
            }
            _ => return Err(Error::Conflict(format!("run {run} is not discarded"))),
        }
        tx.undo_discard(&[(tenant.id, run)]).await?;
        tx.audit(tenant.id, &who.name, "run.undo", &run.to_string(), None, now).await?;
        tx.commit().await
    }

    /// A transaction over a run that is over.
    async fn take_over(&self, tenant: &str, run: Id, doing: &str, who: &Who) -> Result<(Tx, Tenant, Over, Timestamp)> {
        let now = self.now();
        let mut tx = self.store.begin().await?;
        let tenant = tx.need_tenant(tenant).await?;
        who.may(Role::Operator, tenant.id, doing)?;
        let Some(over) = tx.over(&[(tenant.id, run)]).await?.pop() else {
            let state = tx.need_run(tenant.id, run).await?.state;
            return Err(Error::Conflict(format!("run {run} is {}: it is not over yet", state.word())));
        };
        Ok((tx, tenant, over, now))
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
}

/// What ended well is done: the job says for how long nobody does it again by mistake.
async fn not_too_soon(tx: &mut Tx, tenant: Id, over: &Over, now: Timestamp) -> Result<()> {
    let State::Succeeded { ended_at, .. } = tx.need_run(tenant, over.id).await?.state else { return Ok(()) };
    let Some(revision) = over.revision else { return Ok(()) };
    let after = tx.revision(revision).await?.and_then(|revision| revision.spec.rerun_after);
    match after.map(|after| (after, ended_at.plus(after.0))) {
        Some((after, until)) if now < until => Err(Error::Conflict(format!(
            "run {} ended well {} ago, and its job lets it be run again {after} after that (rerun_after): from {} on",
            over.id,
            words(now.since(ended_at)),
            until.rfc3339()
        ))),
        _ => Ok(()),
    }
}
