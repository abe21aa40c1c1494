//! The memory that guests of this node may take at a time: what they were granted, not what they happen to use.

use std::sync::Arc;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};
use crate::span::Size;

/// The node's budget, handed out in MiB; who waits for some is served in turn.
#[derive(Debug, Clone)]
pub struct Memory {
    budget: u32,
    free: Arc<Semaphore>,
    /// Half of all: what those may hold together whose target failed the last time.
    failing: Arc<Semaphore>,
    given_back: Arc<Notify>,
}

/// Promised to a guest until it is dropped.
#[derive(Debug, Default)]
pub struct Promised {
    permit: Option<OwnedSemaphorePermit>,
    among: Option<OwnedSemaphorePermit>,
    /// Told when it is dropped.
    tells: Option<Arc<Notify>>,
}

impl Memory {
    pub fn new(budget: Size) -> Self {
        let budget = u32::try_from(budget.0 >> 20).unwrap_or(u32::MAX - 1);
        let of = |mib: u32| Arc::new(Semaphore::new(mib as usize));
        Self { budget, free: of(budget), failing: of(budget / 2), given_back: Arc::default() }
    }

    /// MiB in all.
    pub fn budget(&self) -> u32 {
        self.budget
    }

    /// MiB that nobody was promised.
    pub fn free(&self) -> u32 {
        u32::try_from(self.free.available_permits()).unwrap_or(u32::MAX)
    }

    /// `None` when so much is not free.
    pub fn try_take(&self, mib: u32) -> Option<Promised> {
        let permit = self.free.clone().try_acquire_many_owned(mib).ok();
        permit.map(|permit| Promised { permit: Some(permit), among: None, tells: None })
    }

    /// The same beside the runs, for what the worker does not see end: it is told. What `failed` has half of all, together.
    pub fn try_aside(&self, mib: u32, failed: bool) -> Option<Promised> {
        let among = if failed { Some(self.failing.clone().try_acquire_many_owned(mib.min(self.budget / 2)).ok()?) } else { None };
        let mut promised = self.try_take(mib)?;
        (promised.among, promised.tells) = (among, Some(self.given_back.clone()));
        Some(promised)
    }

    /// The same for what answered the last time. It waits in the queue when it is little, so that a full node measures too; much
    /// would keep runs from what is free.
    pub async fn take_aside(&self, mib: u32) -> Option<Promised> {
        if mib > self.budget / 4 {
            return self.try_aside(mib, false);
        }
        let mut promised = self.take(mib).await.ok()?;
        promised.tells = Some(self.given_back.clone());
        Some(promised)
    }

    /// Waits until something is given back that was taken aside.
    pub async fn given_back(&self) {
        self.given_back.notified().await;
    }

    /// # Errors
    /// `Invalid` when so much can never be free.
    pub fn holds(&self, mib: u32) -> Result<()> {
        let budget = self.budget;
        if mib <= budget {
            return Ok(());
        }
        Err(Error::invalid("memory", format!("it may take {mib} MiB, and this node gives all guests {budget} MiB")))
    }

    /// Waits until it is free.
    ///
    /// # Errors
    /// `Invalid` when it never can be.
    pub async fn take(&self, mib: u32) -> Result<Promised> {
        self.holds(mib)?;
        let permit = self.free.clone().acquire_many_owned(mib).await.map_err(|closed| Error::Internal(closed.into()))?;
        Ok(Promised { permit: Some(permit), among: None, tells: None })
    }
}

impl Promised {
    /// So much of it, for one guest.
    pub fn split(&mut self, mib: u32) -> Self {
        let permit = self.permit.as_mut().and_then(|permit| permit.split(mib as usize));
        Self { permit, among: None, tells: self.tells.clone() }
    }
}

impl Drop for Promised {
    fn drop(&mut self) {
        drop((self.permit.take(), self.among.take()));
        self.tells.iter().for_each(|tells| tells.notify_one());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_promised_is_not_free_until_it_is_given_back() {
        let memory = Memory::new(Size::mib(300));
        let mut two = memory.try_take(256).unwrap();
        assert_eq!((memory.free(), memory.try_take(64).is_none()), (44, true));
        let one = two.split(128);
        drop(two);
        assert_eq!(memory.free(), 172);
        assert!(memory.take(301).await.unwrap_err().to_string().contains("it may take 301 MiB"));
        let patient = memory.clone();
        let waiting = tokio::spawn(async move { patient.take(300).await.is_ok() });
        tokio::task::yield_now().await;
        assert!(memory.try_take(1).is_none(), "who waits for much is not passed by");
        drop(one);
        assert!(waiting.await.unwrap());
        assert_eq!(memory.free(), 300);
        let aside = memory.try_aside(100, true).unwrap();
        assert!(memory.try_aside(100, true).is_none(), "half of all is for what failed");
        drop((memory.try_aside(100, false).unwrap(), memory.take_aside(75).await.unwrap(), aside));
        memory.given_back().await;
        assert!((memory.free(), memory.holds(301).is_err(), memory.holds(300).is_ok()) == (300, true, true));
        assert_eq!((Size(0).in_mib(), Size(1).in_mib(), Size::mib(64).in_mib()), (0, 1, 64));
    }
}
