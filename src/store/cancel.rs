//! Runs that somebody does not want any more: waiting ones end, running ones are asked to stop.

use super::sql::{Sql, args};
use super::tx::{Tx, expect_rows};
use crate::clock::Timestamp;
use crate::domain::run::State;
use crate::error::{Error, Result};
use crate::id::Id;

/// What a cancel did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It was waiting and is over.
    Now,
    /// It runs: it has been asked to stop.
    Asked,
}

static UNREADY: Sql = Sql::new("DELETE FROM ready WHERE job = $1 AND id = $2");
static UNLATER: Sql = Sql::new("DELETE FROM later WHERE tenant = $1 AND id = $2");
static ASK: Sql = Sql::new("INSERT INTO cancel (run, tenant, at, by) VALUES ($1, $2, $3, $4) ON CONFLICT (run) DO NOTHING");
static ASKED: Sql = Sql::new("SELECT c.run FROM cancel c JOIN lease l ON l.id = c.run WHERE l.node = $1");

impl Tx {
    /// Ends a waiting run, asks a running one to stop.
    ///
    /// # Errors
    /// `Conflict` when it is over.
    pub async fn cancel(&mut self, tenant: Id, id: Id, by: &str, now: Timestamp) -> Result<Cancelled> {
        let run = self.need_run(tenant, id).await?;
        match &run.state {
            State::Waiting { .. } => {
                let gone = self.exec(&UNREADY, args![run.job, id]).await? + self.exec(&UNLATER, args![tenant, id]).await?;
                expect_rows(gone, 1, "cancel")?;
                self.end_waiting(vec![run], &format!("cancelled by {by}"), now).await?;
                Ok(Cancelled::Now)
            }
            State::Running { .. } => {
                self.exec(&ASK, args![id, tenant, now, by]).await?;
                Ok(Cancelled::Asked)
            }
            state => Err(Error::Conflict(format!("run {id} is over ({}); a final run does not change", state.word()))),
        }
    }

    /// Running runs of this node that somebody wants stopped.
    pub async fn asked_to_stop(&mut self) -> Result<Vec<Id>> {
        let node = self.node;
        self.rows(&ASKED, args![node]).await?.iter().map(|row| row.id("run")).collect()
    }
}
