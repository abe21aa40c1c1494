//! The use cases, one file a noun: the only door through which pages, the API and the command line change anything.
//! Each checks who may, does it in one transaction with its audit entry, and answers what happened.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::config::Settings;
use crate::domain::member::Role;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::objects::Objects;
use crate::plugin::{Catalog, Executor};
use crate::store::Store;
use crate::vault::Vault;

pub mod alert;
pub mod apply;
pub mod artifact;
pub mod audit;
pub mod backfill;
pub mod change;
pub mod enqueue;
pub mod explain;
pub mod failure;
pub mod hook;
pub mod item;
pub mod job;
pub mod key;
pub mod member;
pub mod node;
pub mod operation;
pub mod push;
pub mod pushes;
pub mod rollout;
pub mod secret;
pub mod state;
pub mod tenant_file;

/// Everything the use cases need. One a process; cheap to clone.
#[derive(Clone)]
pub struct App {
    pub store: Store,
    pub executor: Arc<dyn Executor>,
    /// Where plugins are made ready.
    pub catalog: Arc<Catalog>,
    pub clock: Arc<dyn Clock>,
    pub settings: Arc<Settings>,
    pub vault: Arc<Vault>,
    pub objects: Objects,
}

impl App {
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Longest pause and silence: what lasts longer is forgotten by who wished for it.
const LONGEST_REST: Duration = Duration::from_secs(366 * 24 * 3600);

/// # Errors
/// `Invalid` for an end that has passed, or is further away than a year.
fn ends_in_time(until: Timestamp, now: Timestamp) -> Result<()> {
    if until <= now {
        return Err(Error::invalid("until", format!("{} has passed; write a time to come", until.rfc3339())));
    }
    if until > now.plus(LONGEST_REST) {
        return Err(Error::invalid("until", format!("{} is more than a year away; a year is the longest", until.rfc3339())));
    }
    Ok(())
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    pub name: String,
    pub role: Role,
    /// `None`: the whole server. Another tenant's things are not there for whoever has one.
    pub tenant: Option<Id>,
}

impl Who {
    /// The server itself: `windlass demo`, the first start.
    pub fn server() -> Self {
        Self { name: "windlass".into(), role: Role::Admin, tenant: None }
    }

    /// # Errors
    /// `NotFound` for another tenant, `Forbidden` for too small a role.
    pub fn may(&self, role: Role, tenant: Id, doing: &str) -> Result<()> {
        if self.tenant.is_some_and(|own| own != tenant) {
            return Err(Error::not_found("what you ask for"));
        }
        self.has(role, doing)
    }

    /// For what belongs to the whole server.
    ///
    /// # Errors
    /// `Forbidden`.
    pub fn may_all(&self, role: Role, doing: &str) -> Result<()> {
        if self.tenant.is_some() {
            return Err(Error::Forbidden(format!("{doing} belongs to the whole server, and {} to one tenant", self.name)));
        }
        self.has(role, doing)
    }

    /// # Errors
    /// `Forbidden` for too small a role.
    fn has(&self, role: Role, doing: &str) -> Result<()> {
        if self.role < role {
            return Err(Error::Forbidden(format!(
                "{doing} needs the role {}, and {} is {}",
                role.word(),
                self.name,
                self.role.word()
            )));
        }
        Ok(())
    }
}
