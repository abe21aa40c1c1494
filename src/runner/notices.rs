//! Makes the runs of what was noticed: one run for all that came within a trigger's window, once its job may have one.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::Context;
use crate::clock::Timestamp;
use crate::domain::job::Job;
use crate::domain::run::{Enqueued, NewRun};
use crate::domain::trigger::Cause;
use crate::error::Result;
use crate::store::Tx;
use crate::store::notice::Free;

/// The longest rest: whatever is noticed wakes earlier.
const POLL: Duration = Duration::from_secs(30);
/// Between two looks whether a job may have another run.
const WAITING: Duration = Duration::from_secs(1);

pub(super) async fn tick(context: Arc<Context>) -> Result<Duration> {
    let now = context.clock.now();
    let mut look = context.store.read().await?;
    let next = look.free_notices().await?.first().map(|free| free.due_at);
    let any = next.is_some() || look.has_notices().await?;
    drop(look);
    match next {
        Some(next) if next <= now => {}
        Some(next) => return Ok(next.since(now).min(WAITING)),
        None => return Ok(if any { WAITING } else { POLL }),
    }
    let mut tx = context.store.begin().await?;
    let mut made = 0;
    for free in tx.free_notices().await?.into_iter().filter(|free| free.due_at <= now) {
        // Its job was added a moment ago: the definitions are read before the next look.
        if let Some(known) = context.definitions.job(free.job) {
            made += usize::from(make(&mut tx, &known.job, &free, now).await?);
        }
    }
    tx.commit().await?;
    Ok(if made == 0 { WAITING } else { Duration::ZERO })
}

/// Answers whether the job got a run.
async fn make(tx: &mut Tx, job: &Job, free: &Free, now: Timestamp) -> Result<bool> {
    let notices = tx.notices_of(free).await?;
    if notices.is_empty() {
        return Ok(false);
    }
    let (cause, key) = if free.kind == "after" { (Cause::After, "after") } else { (Cause::Api, "payloads") };
    let payloads =
        notices.iter().map(|(_, payload)| serde_json::from_str(payload)).collect::<serde_json::Result<Vec<Value>>>()?;
    let run = NewRun {
        tenant: job.tenant,
        job: job.id,
        revision: job.revision,
        cause,
        input: Some(serde_json::json!({ key: payloads })),
        due_at: None,
        start_by: job.spec.start_deadline.map(|deadline| now.plus(deadline.0)),
        parent: None,
        requested_by: Some(said(cause, notices.len())),
        max_live: job.spec.max_live,
        idempotency: None,
    };
    // Two triggers of one job: the first has had the only run.
    let new = matches!(tx.enqueue(&[vec![run]], now).await?.into_iter().flatten().next(), Some(Ok(Enqueued::New(_))));
    if new {
        tx.remove_notices(free, &notices).await?;
    }
    Ok(new)
}

/// "webhook, 5 notifications"; "2 runs".
fn said(cause: Cause, n: usize) -> String {
    match (cause, n) {
        (Cause::After, 1) => "1 run".into(),
        (Cause::After, n) => format!("{n} runs"),
        (_, 1) => "webhook".into(),
        (_, n) => format!("webhook, {n} notifications"),
    }
}
