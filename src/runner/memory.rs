//! The memory that guests of this node may take at a time: what they were granted, not what they happen to use.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};
use crate::span::Size;

/// The node's budget, handed out in MiB; who waits for some is served in turn.
#[derive(Debug, Clone)]
pub struct Memory {
    budget: u32,
    free: Arc<Semaphore>,
}

/// Promised to a guest until it is dropped.
#[derive(Debug)]
pub struct Promised(Option<OwnedSemaphorePermit>);

impl Memory {
    pub fn new(budget: Size) -> Self {
        let budget = u32::try_from(budget.0 >> 20).unwrap_or(u32::MAX - 1);
        Self { budget, free: Arc::new(Semaphore::new(budget as usize)) }
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
        self.free.clone().try_acquire_many_owned(mib).ok().map(|permit| Promised(Some(permit)))
    }

    /// Waits until it is free.
    ///
    /// # Errors
    /// `Invalid` when it never can be.
    pub async fn take(&self, mib: u32) -> Result<Promised> {
        if mib > self.budget {
            let budget = self.budget;
            return Err(Error::invalid("memory", format!("it may take {mib} MiB, and this node gives all guests {budget} MiB")));
        }
        let permit = self.free.clone().acquire_many_owned(mib).await;
        permit.map(|permit| Promised(Some(permit))).map_err(|closed| Error::Internal(closed.into()))
    }
}

impl Promised {
    /// So much of it, for one guest.
    pub fn split(&mut self, mib: u32) -> Self {
        Self(self.0.as_mut().and_then(|permit| permit.split(mib as usize)))
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
        assert_eq!((Size(0).in_mib(), Size(1).in_mib(), Size::mib(64).in_mib()), (0, 1, 64));
    }
}
