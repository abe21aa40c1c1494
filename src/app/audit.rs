//! The audit, as its readers see it: who did what.

use super::{App, Who};
use crate::domain::member::Role;
use crate::error::Result;
use crate::id::Id;
use crate::store::audit::Entry;

/// What to read of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Which {
    /// Of one tenant; else of all that the reader may see.
    pub tenant: Option<String>,
    /// As in `job.pause`, or `job` for all that was done with jobs.
    pub what: Option<String>,
    /// Only what is older than this entry.
    pub before: Option<Id>,
}

impl App {
    /// At most `limit` entries, newest first. Who belongs to a tenant sees the tenant's own.
    ///
    /// # Errors
    /// `Forbidden` for who is no admin; `NotFound` for another's tenant.
    pub async fn audit(&self, which: &Which, limit: u32, who: &Who) -> Result<Vec<Entry>> {
        const DOING: &str = "reading the audit";
        who.has(Role::Admin, DOING)?;
        let mut tx = self.store.read().await?;
        let mut of = who.tenant;
        if let Some(name) = &which.tenant {
            let id = tx.need_tenant(name).await?.id;
            who.may(Role::Admin, id, DOING)?;
            of = Some(id);
        }
        tx.audited(of, which.what.as_deref().unwrap_or_default(), which.before, limit).await
    }
}
