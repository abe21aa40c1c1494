//! Recordings of attempts, on their way to the store: packed and written in batches, and never waited for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Context;
use super::live::Live;
use crate::domain::job::Record;
use crate::domain::log::{Level, Line};
use crate::domain::retry::Decision;
use crate::domain::run::Final;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::plugin::Secret;
use crate::plugin::tape::Recordings;
use crate::store::record::Finished;
use crate::store::recording::NewRecording;

const EVERY: Duration = Duration::from_millis(500);
/// Bytes that wait for the store at most; what comes beyond is dropped.
const WAITING: usize = 32 * 1024 * 1024;
/// Recordings that one transaction writes.
const BATCH: usize = 64;

/// What waits to be written.
#[derive(Default)]
pub struct Shelf(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    bytes: usize,
    attempts: Vec<Attempt>,
}

struct Attempt {
    tenant: Id,
    run: Id,
    attempt: u32,
    recordings: Recordings,
    secrets: Arc<HashMap<String, Secret>>,
}

impl Shelf {
    /// Whether there was room for it.
    fn put(&self, attempt: Attempt) -> bool {
        let (mut waiting, bytes) = (self.lock(), attempt.recordings.bytes());
        if waiting.bytes + bytes > WAITING {
            return false;
        }
        waiting.bytes += bytes;
        waiting.attempts.push(attempt);
        true
    }

    fn take(&self) -> Vec<Attempt> {
        let mut waiting = self.lock();
        let most = waiting.attempts.len().min(BATCH);
        let taken: Vec<Attempt> = waiting.attempts.drain(..most).collect();
        waiting.bytes -= taken.iter().map(|attempt| attempt.recordings.bytes()).sum::<usize>();
        taken
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps what was recorded of an attempt, where its job wants that. Before its log is taken: there stands when it is dropped.
pub(super) fn keep(context: &Context, live: &Live, record: Record, finished: &Finished) {
    let Some((recordings, secrets)) = live.take_recordings() else { return };
    if !(record == Record::Always || record == Record::OnFailure && has_failed(finished)) {
        return;
    }
    let run = &live.run;
    if !context.shelf.put(Attempt { tenant: run.tenant, run: run.id, attempt: run.attempt, recordings, secrets }) {
        let message = "the recording of this attempt was dropped: the store is slow, and too many wait for it".to_owned();
        live.journal.log(Line { at: context.clock.now(), level: Level::Warn, message, fields: Vec::new() });
    }
}

fn has_failed(finished: &Finished) -> bool {
    matches!(finished.outcome, "transient" | "permanent" | "timed_out" | "out_of_memory" | "trapped")
        || matches!(finished.decision, Decision::End(Final::Dead(_)))
}

pub(super) async fn tick(context: Arc<Context>) -> Result<Duration> {
    loop {
        let attempts = context.shelf.take();
        let taken = attempts.len();
        if taken == 0 {
            return Ok(EVERY);
        }
        if let Err(wrong) = write(&context, attempts).await {
            tracing::warn!(recordings = taken, error = %wrong, "recordings of attempts could not be stored and are dropped");
        }
    }
}

async fn write(context: &Context, attempts: Vec<Attempt>) -> Result<()> {
    let packing = tokio::task::spawn_blocking(move || attempts.into_iter().map(packed).collect::<Result<Vec<_>>>());
    let packed = packing.await.map_err(|wrong| Error::Internal(wrong.into()))??;
    let mut tx = context.store.begin().await?;
    tx.put_recordings(packed).await?;
    tx.commit().await
}

fn packed(attempt: Attempt) -> Result<NewRecording> {
    let Attempt { tenant, run, attempt, recordings, secrets } = attempt;
    Ok(NewRecording { tenant, run, attempt, cut: recordings.is_cut(), packed: recordings.write(&secrets)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::tape::recordings;

    /// About 10 MB.
    fn attempt(attempt: u32) -> Attempt {
        let recordings = Recordings(vec![recordings().0.remove(0); 10_000]);
        Attempt { tenant: Id(1), run: Id(2), attempt, recordings, secrets: Arc::default() }
    }

    #[test]
    fn what_too_many_wait_for_is_dropped_and_there_is_room_again_when_they_are_written() {
        let shelf = Shelf::default();
        let kept: Vec<u32> = (1..=5).filter(|n| shelf.put(attempt(*n))).collect();
        assert_eq!(kept, [1, 2, 3]);
        assert_eq!(shelf.take().iter().map(|attempt| attempt.attempt).collect::<Vec<_>>(), kept);
        assert!(shelf.put(attempt(6)) && shelf.take().len() == 1);
    }
}
