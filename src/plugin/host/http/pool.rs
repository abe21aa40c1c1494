//! Connections that are open and idle, for the next request of the same tenant to the same origin at the same address.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::client::conn::http1::SendRequest;
use tokio::task::JoinHandle;

use super::drain::Drain;
use crate::domain::grant::Origin;

/// Below the 5 s after which common servers close: the fewer connections break under a request, the better.
const IDLE: Duration = Duration::from_secs(4);
/// Idle connections that are kept of one tenant to one origin, and in all.
const KEPT_OF_ONE: usize = 8;
const KEPT: usize = 512;

/// Never another tenant's, never to an address that was not checked for this very request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    pub tenant: Arc<str>,
    pub origin: Origin,
    pub address: SocketAddr,
}

/// An open connection; it closes when it is dropped.
pub struct Connection {
    pub key: Key,
    pub sender: SendRequest<Drain>,
    pub driver: Driver,
}

/// The task of a thing, which ends with it.
pub struct Driver<T = ()>(pub JoinHandle<T>);

impl<T> Drop for Driver<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Default)]
pub struct Pool(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    idle: HashMap<Key, Vec<(Instant, Connection)>>,
    count: usize,
    /// Somebody looks after what has become old.
    swept: bool,
}

impl Pool {
    /// An idle connection to one of these addresses, the one that was used last.
    pub async fn take(&self, tenant: &Arc<str>, origin: &Origin, addresses: &[SocketAddr]) -> Option<Connection> {
        for address in addresses {
            let key = Key { tenant: Arc::clone(tenant), origin: origin.clone(), address: *address };
            while let Some((since, mut connection)) = self.pop(&key) {
                // Its last answer is read, so it is ready at once, or never again.
                let ready = tokio::time::timeout(Duration::from_millis(100), connection.sender.ready()).await;
                if since.elapsed() < IDLE && matches!(ready, Ok(Ok(()))) {
                    return Some(connection);
                }
            }
        }
        None
    }

    fn pop(&self, key: &Key) -> Option<(Instant, Connection)> {
        let mut kept = self.lock();
        let standing = kept.idle.get_mut(key)?;
        let found = standing.pop();
        if standing.is_empty() {
            kept.idle.remove(key);
        }
        kept.count -= usize::from(found.is_some());
        found
    }

    /// Keeps a connection whose last answer is read to its end. One too many is closed.
    pub fn put(self: &Arc<Self>, connection: Connection) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if connection.sender.is_closed() {
            return;
        }
        let mut kept = self.lock();
        if kept.count >= KEPT || kept.idle.get(&connection.key).is_some_and(|standing| standing.len() >= KEPT_OF_ONE) {
            return;
        }
        kept.count += 1;
        kept.idle.entry(connection.key.clone()).or_default().push((Instant::now(), connection));
        if !std::mem::replace(&mut kept.swept, true) {
            runtime.spawn(Arc::clone(self).sweep());
        }
    }

    /// Closes what has been idle for too long, until nothing is left.
    async fn sweep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(IDLE / 4).await;
            let mut kept = self.lock();
            kept.idle.retain(|_, standing| {
                standing.retain(|(since, connection)| since.elapsed() < IDLE && !connection.sender.is_closed());
                !standing.is_empty()
            });
            kept.count = kept.idle.values().map(Vec::len).sum();
            if kept.count == 0 {
                kept.swept = false;
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
