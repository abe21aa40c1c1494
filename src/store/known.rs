//! What almost every request asks for, kept in memory: whose token it is, its tenant and job, a run's revision and plugin.
//! A commit that changes definitions or ends a token drops all of it, before whoever committed is answered.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::crowd::Crowds;
use super::job::Revision;
use super::member::Token;
use super::notice::Followers;
use super::tx::{Conn, Tx};
use super::{Signals, Store};
use crate::clock::Timestamp;
use crate::domain::job::Job;
use crate::domain::tenant::Tenant;
use crate::error::{Error, Result};
use crate::id::Id;

/// A token is looked up again so often: another node, which does not share this memory, may have ended it.
const TOKEN_AGE: Duration = Duration::from_secs(1);
/// Entries of one kind; beyond it all of the kind are dropped and read again as they are needed.
const MOST: usize = 20_000;

#[derive(Default)]
pub(super) struct Known {
    kept: Mutex<Kept>,
    pub(super) crowds: Crowds,
}

#[derive(Default)]
struct Kept {
    /// [`Signals::definitions`] when it was read.
    version: u64,
    shelves: Shelves,
    /// Tokens used since the last time somebody asked.
    used: BTreeMap<Id, Timestamp>,
}

#[derive(Default)]
struct Shelves {
    /// By hash, with when it was read.
    tokens: HashMap<String, (Arc<Token>, Timestamp)>,
    tenants: HashMap<String, Arc<Tenant>>,
    jobs: HashMap<(Id, String), Arc<Job>>,
    /// All there are, by names.
    all_jobs: HashMap<(), Arc<[Arc<Job>]>>,
    revisions: HashMap<Id, Arc<Revision>>,
    /// Who follows whom.
    followers: HashMap<(), Arc<Followers>>,
    /// Versions by (tenant, digest); none that the tenant has a name for.
    plugins: HashMap<(Id, String), Option<Arc<str>>>,
}

/// Where one kind of entry stands.
type Shelf<K, V> = fn(&mut Shelves) -> &mut HashMap<K, V>;

impl Known {
    fn get<K: Eq + Hash, V: Clone>(&self, version: u64, shelf: Shelf<K, V>, key: &K) -> Option<V> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.version < version {
            (kept.version, kept.shelves) = (version, Shelves::default());
        }
        if kept.version == version { shelf(&mut kept.shelves).get(key).cloned() } else { None }
    }

    /// Keeps what was read after `version` was seen; what a commit overtook meanwhile is not kept.
    fn put<K: Eq + Hash, V>(&self, version: u64, shelf: Shelf<K, V>, key: K, value: V) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.version == version {
            let shelf = shelf(&mut kept.shelves);
            if shelf.len() >= MOST {
                shelf.clear();
            }
            shelf.insert(key, value);
        }
    }
}

impl Signals {
    fn version(&self) -> u64 {
        *self.definitions().borrow()
    }
}

impl Store {
    /// The token with this hash, if it stands; notes that it was used.
    pub async fn token(&self, hash: &str, now: Timestamp) -> Result<Option<Arc<Token>>> {
        let (version, key) = (self.signals.version(), hash.to_owned());
        let kept = self.known.get(version, |shelves| &mut shelves.tokens, &key);
        let fresh = kept.filter(|(_, read_at)| now >= *read_at && now.since(*read_at) < TOKEN_AGE).map(|(token, _)| token);
        let token = match fresh {
            Some(token) => token,
            None => {
                let Some(token) = self.read().await?.token(hash, now).await?.map(Arc::new) else { return Ok(None) };
                self.known.put(version, |shelves| &mut shelves.tokens, key, (token.clone(), now));
                token
            }
        };
        if token.expires_at.is_some_and(|at| at <= now) {
            return Ok(None);
        }
        self.known.kept.lock().unwrap_or_else(PoisonError::into_inner).used.insert(token.id, now);
        Ok(Some(token))
    }

    /// Tokens used since the last time, and when last.
    pub fn take_used_tokens(&self) -> BTreeMap<Id, Timestamp> {
        std::mem::take(&mut self.known.kept.lock().unwrap_or_else(PoisonError::into_inner).used)
    }

    /// The tenant of that name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn need_tenant(&self, name: &str) -> Result<Arc<Tenant>> {
        match self.known.get(self.signals.version(), |shelves| &mut shelves.tenants, &name.to_owned()) {
            Some(tenant) => Ok(tenant),
            None => self.read().await?.known_tenant(name).await,
        }
    }

    /// The job of that name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn need_job(&self, tenant: Id, name: &str) -> Result<Arc<Job>> {
        match self.known.get(self.signals.version(), |shelves| &mut shelves.jobs, &(tenant, name.to_owned())) {
            Some(job) => Ok(job),
            None => self.read().await?.known_job(tenant, name).await,
        }
    }
}

/// For readers and the writer's batches: a transaction on loan sees its own changes, which nobody else may.
impl Tx {
    /// # Errors
    /// `NotFound`.
    pub async fn known_tenant(&mut self, name: &str) -> Result<Arc<Tenant>> {
        let read = async |tx: &mut Self, name: &String| tx.need_tenant(name).await.map(Arc::new);
        self.known(|shelves| &mut shelves.tenants, name.to_owned(), read).await
    }

    /// # Errors
    /// `NotFound`.
    pub async fn known_job(&mut self, tenant: Id, name: &str) -> Result<Arc<Job>> {
        let read = async |tx: &mut Self, (tenant, name): &(Id, String)| tx.need_job(*tenant, name).await.map(Arc::new);
        self.known(|shelves| &mut shelves.jobs, (tenant, name.to_owned()), read).await
    }

    /// All jobs of all tenants, by names.
    pub async fn known_jobs(&mut self) -> Result<Arc<[Arc<Job>]>> {
        let read = async |tx: &mut Self, (): &()| Ok(tx.jobs().await?.into_iter().map(Arc::new).collect());
        self.known(|shelves| &mut shelves.all_jobs, (), read).await
    }

    /// What a run was made from.
    pub async fn known_revision(&mut self, id: Id) -> Result<Arc<Revision>> {
        let read = async |tx: &mut Self, id: &Id| {
            let found = tx.revision(*id).await?;
            found.map(Arc::new).ok_or_else(|| Error::Internal(anyhow::anyhow!("revision {id} is gone")))
        };
        self.known(|shelves| &mut shelves.revisions, id, read).await
    }

    /// Jobs that follow others: asked at the end of every run.
    pub(super) async fn known_followers(&mut self) -> Result<Arc<Followers>> {
        self.known(|shelves| &mut shelves.followers, (), async |tx: &mut Self, (): &()| tx.followers().await).await
    }

    /// The version of the plugin with this digest, as the tenant knows it.
    pub async fn known_version(&mut self, tenant: Id, digest: &str) -> Result<Option<Arc<str>>> {
        let read = async |tx: &mut Self, (tenant, digest): &(Id, String)| {
            let found = tx.plugin_by_digest(*tenant, digest).await?;
            Ok(found.map(|plugin| plugin.version.into()))
        };
        self.known(|shelves| &mut shelves.plugins, (tenant, digest.to_owned()), read).await
    }

    async fn known<K: Eq + Hash, V: Clone>(
        &mut self,
        shelf: Shelf<K, V>,
        key: K,
        read: impl AsyncFnOnce(&mut Self, &K) -> Result<V>,
    ) -> Result<V> {
        if matches!(self.conn, Conn::Writer(_)) {
            return read(self, &key).await;
        }
        let version = self.signals.version();
        if let Some(found) = self.known.get(version, shelf, &key) {
            return Ok(found);
        }
        let found = read(self, &key).await?;
        self.known.put(version, shelf, key, found.clone());
        Ok(found)
    }
}
