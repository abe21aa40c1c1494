//! The memory that guests of this node may take at a time: what they were granted, not what they happen to use.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};
use crate::span::Size;

/// `worker.memory_budget`, handed out in MiB; who waits for some is served in turn.
#[derive(Debug, Clone)]
pub struct Memory {
    budget: u32,
    free: Option<Arc<Semaphore>>,
}

/// Promised to a guest until it is dropped.
#[derive(Debug, Default)]
pub struct Promised(Option<OwnedSemaphorePermit>);

impl Memory {
    /// `None`: no budget, and nothing is counted.
    pub fn new(budget: Option<Size>) -> Self {
        let mib = budget.map(|budget| u32::try_from(budget.0 >> 20).unwrap_or(u32::MAX - 1));
        Self { budget: mib.unwrap_or(u32::MAX), free: mib.map(|mib| Arc::new(Semaphore::new(mib as usize))) }
    }

    /// MiB in all; `u32::MAX` without a budget.
    pub fn budget(&self) -> u32 {
        self.budget
    }

    /// MiB that nobody was promised; `u32::MAX` without a budget.
    pub fn free(&self) -> u32 {
        self.free.as_ref().map_or(u32::MAX, |free| u32::try_from(free.available_permits()).unwrap_or(u32::MAX))
    }

    /// `None` when so much is not free.
    pub fn try_take(&self, mib: u32) -> Option<Promised> {
        let Some(free) = &self.free else { return Some(Promised(None)) };
        free.clone().try_acquire_many_owned(mib).ok().map(|permit| Promised(Some(permit)))
    }

    /// Waits until it is free.
    ///
    /// # Errors
    /// `Invalid` when it never can be.
    pub async fn take(&self, mib: u32) -> Result<Promised> {
        let Some(free) = &self.free else { return Ok(Promised(None)) };
        if mib > self.budget {
            let budget = self.budget;
            return Err(Error::invalid("memory", format!("it may take {mib} MiB, and this node gives all guests {budget} MiB")));
        }
        let permit = free.clone().acquire_many_owned(mib).await;
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
        let memory = Memory::new(Some(Size::mib(300)));
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
        let none = Memory::new(None);
        assert!(none.try_take(u32::MAX).is_some() && none.take(u32::MAX).await.is_ok());
        assert_eq!((none.free(), none.budget()), (u32::MAX, u32::MAX));
        assert_eq!((Size(0).in_mib(), Size(1).in_mib(), Size::mib(64).in_mib()), (0, 1, 64));
    }
}
