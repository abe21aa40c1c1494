//! Names to addresses, bounded in time and in number: a look-up that hangs keeps a thread of the machine until it gives up,
//! whoever has stopped waiting for it.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::address;
use super::target::Seen;
use super::{Cause, Refused};

/// Look-ups of this node under way at a time, and of one tenant.
const LOOKUPS: usize = 32;
const LOOKUPS_OF_TENANT: usize = 8;
/// Addresses of one name that are looked at; a name with more is odd.
const ADDRESSES: usize = 16;

/// Asks for a name's addresses. The real one is [`system`]; tests have their own.
pub type Resolve = Arc<dyn Fn(String, u16) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> + Send + Sync>;

/// As the machine is configured.
pub fn system() -> Resolve {
    Arc::new(|host, port| Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) }))
}

pub struct Resolver {
    ask: Resolve,
    node: Arc<Semaphore>,
    tenants: Mutex<HashMap<Arc<str>, Weak<Semaphore>>>,
}

impl Resolver {
    pub fn new(ask: Resolve) -> Self {
        Self { ask, node: Arc::new(Semaphore::new(LOOKUPS)), tenants: Mutex::default() }
    }

    /// The addresses of a host, in their plain form.
    ///
    /// # Errors
    /// When there is none, or it took longer than `within`.
    pub async fn addresses(
        &self,
        tenant: &Arc<str>,
        host: &str,
        port: u16,
        within: Duration,
    ) -> Result<Vec<SocketAddr>, Refused> {
        if let Ok(ip) = host.parse() {
            return Ok(vec![address::plain(SocketAddr::new(ip, port))]);
        }
        let no = |why: String| Refused::unreachable(Cause::Dns(why.clone()), format!("{host} cannot be resolved: {why}"));
        let found = tokio::time::timeout(within, self.looked_up(tenant, host, port));
        // It may be the asker that did not want to wait, or this tenant's other look-ups: others' requests are none the wiser.
        let late = |_| {
            let mut refused = Refused::late(Cause::DnsTimeout, format!("{host} was not resolved in time"));
            if within < super::PATIENCE {
                refused.seen = Seen::Nothing;
            }
            refused
        };
        let mut found = found.await.map_err(late)?.map_err(|wrong| no(wrong.to_string()))?;
        found.truncate(ADDRESSES);
        if found.is_empty() {
            return Err(no("it has no address".into()));
        }
        Ok(found.into_iter().map(address::plain).collect())
    }

    async fn looked_up(&self, tenant: &Arc<str>, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let closed = io::Error::other;
        let own = self.of_tenant(tenant).acquire_owned().await.map_err(closed)?;
        let node = Arc::clone(&self.node).acquire_owned().await.map_err(closed)?;
        let asked = (self.ask)(host.to_owned(), port);
        // A task of its own, which ends when the look-up does: until then its places are taken.
        let asked = tokio::spawn(async move {
            let _places = (own, node);
            asked.await
        });
        asked.await.map_err(io::Error::other)?
    }

    fn of_tenant(&self, tenant: &Arc<str>) -> Arc<Semaphore> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(standing) = tenants.get(tenant).and_then(Weak::upgrade) {
            return standing;
        }
        tenants.retain(|_, standing| standing.strong_count() > 0);
        let fresh = Arc::new(Semaphore::new(LOOKUPS_OF_TENANT));
        tenants.insert(Arc::clone(tenant), Arc::downgrade(&fresh));
        fresh
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    #[tokio::test]
    async fn look_ups_that_hang_are_given_up_and_bounded_in_number() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let resolver = Resolver::new(Arc::new(move |host: String, port| {
            counted.fetch_add(1, Relaxed);
            Box::pin(async move {
                if host == "hangs.test" {
                    std::future::pending::<()>().await;
                }
                Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))])
            })
        }));
        let (tenant, other): (Arc<str>, Arc<str>) = ("acme".into(), "beta".into());
        let soon = Duration::from_millis(20);
        for _ in 0..LOOKUPS_OF_TENANT + 3 {
            let late = resolver.addresses(&tenant, "hangs.test", 80, soon).await.unwrap_err();
            assert!(late.why.contains("not resolved in time"), "{}", late.why);
        }
        assert_eq!(asked.load(Relaxed), LOOKUPS_OF_TENANT, "those that hang keep their places");
        assert!(resolver.addresses(&other, "well.test", 80, Duration::from_secs(10)).await.is_ok(), "another tenant has its own");
        let literal = resolver.addresses(&tenant, "127.0.0.9", 80, soon).await;
        assert_eq!(literal.unwrap(), ["127.0.0.9:80".parse().unwrap()], "an address needs no look-up");
    }
}
