//! Makes the runs of what was noticed: one run for all that came within a trigger's window, once its job may have one.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::Context;
use crate::clock::Timestamp;
use crate::domain::job::Job;
use crate::domain::run::{Enqueued, NewRun};
use crate::domain::trigger::Cause;
use crate::error::{Error, Result};
use crate::store::Tx;
use crate::store::notice::{Free, Notice};

/// The longest rest: whatever is noticed wakes earlier.
const POLL: Duration = Duration::from_secs(30);
/// Between two looks whether a job may have another run.
const WAITING: Duration = Duration::from_secs(1);
/// Jobs that get their runs in one transaction: others wait for it.
const AT_A_TIME: usize = 256;

pub(super) async fn tick(context: Arc<Context>) -> Result<Duration> {
    let now = context.clock.now();
    let mut look = context.store.read().await?;
    let free = look.free_notices().await?;
    match free.first().map(|free| free.due_at) {
        Some(next) if next <= now => drop(look),
        Some(next) => return Ok(next.since(now).min(WAITING)),
        None => return Ok(if look.has_notices().await? { WAITING } else { POLL }),
    }
    // A job that was added a moment ago: the definitions are read before the next look.
    let due = free.into_iter().filter(|free| free.due_at <= now);
    let mut due: Vec<_> = due.filter_map(|free| Some((context.definitions.job(free.job)?, free))).collect();
    let (mut made, mut full) = (0, HashSet::new());
    while !due.is_empty() {
        let rest = due.split_off(due.len().min(AT_A_TIME));
        let mut tx = context.store.begin().await?;
        for (known, free) in due {
            if full.contains(&known.job.tenant) {
                continue;
            }
            match make(&mut tx, &known.job, &free, now).await? {
                Made::One => made += 1,
                Made::None => {}
                Made::Full => drop(full.insert(known.job.tenant)),
            }
        }
        tx.commit().await?;
        due = rest.into_iter().filter(|(known, _)| !full.contains(&known.job.tenant)).collect();
    }
    Ok(if made == 0 { WAITING } else { Duration::ZERO })
}

/// What came of a job's notices.
enum Made {
    One,
    None,
    /// Its tenant has as many waiting runs as it may have.
    Full,
}

async fn make(tx: &mut Tx, job: &Job, free: &Free, now: Timestamp) -> Result<Made> {
    let notices = tx.notices_of(free).await?;
    if notices.is_empty() {
        return Ok(Made::None);
    }
    let (cause, key) = if free.kind == "after" { (Cause::After, "after") } else { (Cause::Api, "payloads") };
    let payloads = notices.iter().map(payload).collect::<serde_json::Result<Vec<Value>>>()?;
    let run = NewRun {
        tenant: job.tenant,
        job: job.id,
        revision: job.revision,
        cause,
        input: Some(serde_json::json!({ key: payloads })),
        due_at: None,
        start_by: job.spec.start_deadline.map(|deadline| now.plus(deadline.0)),
        parent: None,
        requested_by: Some(said(cause, notices.iter().map(|notice| 1 + notice.more).sum())),
        max_live: job.spec.max_live,
        idempotency: None,
    };
    match tx.enqueue(&[vec![run]], now).await?.into_iter().flatten().next() {
        Some(Ok(Enqueued::New(_))) => {
            tx.remove_notices(free, &notices).await?;
            Ok(Made::One)
        }
        Some(Err(Error::TooMany(_))) => Ok(Made::Full),
        // Two triggers of one job: the first has had the only run.
        _ => Ok(Made::None),
    }
}

fn payload(notice: &Notice) -> serde_json::Result<Value> {
    let mut payload: Value = serde_json::from_str(&notice.payload)?;
    if let (Value::Object(fields), 1..) = (&mut payload, notice.more) {
        fields.insert("more".into(), notice.more.into());
    }
    Ok(payload)
}

/// "webhook, 5 notifications"; "2 runs".
fn said(cause: Cause, n: u64) -> String {
    match (cause, n) {
        (Cause::After, 1) => "1 run".into(),
        (Cause::After, n) => format!("{n} runs"),
        (_, 1) => "webhook".into(),
        (_, n) => format!("webhook, {n} notifications"),
    }
}
