//! Items of running guests. What they ask gathers here while a transaction is under way, and goes into the next one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::Context;
use super::live::Live;
use crate::clock::Clock;
use crate::domain::item::{Ask, ItemCounts, Refused, Told};
use crate::domain::job::{ItemsSpec, Order};
use crate::domain::run::Run;
use crate::error::Result;
use crate::plugin::{ItemsCall, Refusal};
use crate::store::Store;
use crate::store::item::Asked;

/// Questions that one transaction answers at most.
const BATCH: usize = 256;
/// Items that one call hands out at most: the host holds them.
const HANDED: u32 = 256;
/// How often a transaction is tried, and the first pause between two tries; each further one is twice as long.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// Takes questions of all running guests of this node.
pub struct Desk {
    inbox: mpsc::Sender<(Asked, oneshot::Sender<Told>)>,
    /// Whether there are runs whose items are handed out one by one, as far as this node knows: most have none, and are
    /// not asked every second.
    outside: AtomicBool,
}

impl Desk {
    /// Serves until it is dropped.
    pub fn open(store: Store, clock: Arc<dyn Clock>) -> Self {
        let (sender, mut inbox) = mpsc::channel(BATCH);
        tokio::spawn(async move {
            let mut waiting = Vec::with_capacity(BATCH);
            while inbox.recv_many(&mut waiting, BATCH).await > 0 {
                let (asked, answers): (Vec<Asked>, Vec<oneshot::Sender<Told>>) = waiting.drain(..).unzip();
                let told = insist(&store, clock.as_ref(), &asked).await;
                for (answer, told) in answers.into_iter().zip(told) {
                    let _ = answer.send(told);
                }
            }
        });
        Self { inbox: sender, outside: AtomicBool::new(true) }
    }

    pub(super) fn note_outside(&self, any: bool) {
        self.outside.store(any, Ordering::Release);
    }

    pub(super) fn any_outside(&self) -> bool {
        self.outside.load(Ordering::Acquire)
    }

    async fn ask(&self, asked: Asked) -> Told {
        let away = || Err(Refused::new("unavailable", "the store does not answer; the run is about to end"));
        let (answer, told) = oneshot::channel();
        if self.inbox.send((asked, answer)).await.is_err() {
            return away();
        }
        told.await.unwrap_or_else(|_| away())
    }
}

/// A moment without the store costs tries, not runs.
async fn insist(store: &Store, clock: &dyn Clock, asked: &[Asked]) -> Vec<Told> {
    let mut pause = PAUSE;
    for tried in 1.. {
        match answer(store, clock, asked).await {
            Ok(told) => return told,
            Err(wrong) if tried < TRIES && !store.is_closed() => {
                tracing::warn!(error = %wrong, tried, "items could not be stored yet; it is tried again");
                clock.sleep(pause).await;
                pause *= 2;
            }
            Err(wrong) => {
                tracing::error!(error = %wrong, "items could not be stored");
                break;
            }
        }
    }
    asked.iter().map(|_| Err(Refused::new("unavailable", "the store did not answer; try again"))).collect()
}

async fn answer(store: &Store, clock: &dyn Clock, asked: &[Asked]) -> Result<Vec<Told>> {
    let mut tx = store.begin().await?;
    let told = tx.items(asked, clock.now()).await?;
    tx.commit().await?;
    Ok(told)
}

/// Answers a guest's calls of `items`, until the guest has ended. `most`: items that the run may have.
pub(super) async fn serve(
    context: &Context,
    live: &Live,
    spec: &ItemsSpec,
    most: u64,
    mut calls: mpsc::Receiver<ItemsCall>,
) -> std::convert::Infallible {
    let run = &live.run;
    while let Some(ItemsCall { ask, answer }) = calls.recv().await {
        live.uses_items();
        let ask = match ask {
            // They are handed out when this guest has declared all of them.
            Ask::Next(_) if spec.are_handed_out() => Ask::Next(0),
            Ask::Next(max) => Ask::Next(max.min(HANDED)),
            ask => ask,
        };
        let strict = spec.order == Order::Strict;
        let asked = Asked { tenant: run.tenant, run: run.id, fence: run.fence, attempt: run.attempt, strict, most, ask };
        let told = context.items.ask(asked).await;
        if let Err(refused) = &told {
            tracing::warn!(run.id = %run.id, code = refused.code, "items were refused: {}", refused.message);
        }
        let _ = answer.send(told.map_err(|Refused { code, message }| Refusal { code, message }));
    }
    std::future::pending().await
}

/// What a run that may have items has; all zero when it has none.
pub(super) async fn standing(context: &Context, run: &Run) -> Result<ItemCounts> {
    let counts = context.store.read().await?.item_counts(&[(run.tenant, run.id)]).await?;
    Ok(counts.get(&run.id).copied().unwrap_or_default())
}
