//! Reads what each node did of each job, for the alarm of one that has stopped taking it.

use std::collections::HashSet;
use std::time::Duration;

use super::Context;
use crate::clock::Timestamp;
use crate::domain::alert::{AlertKind, Subject};
use crate::domain::apart::apart;
use crate::error::Result;
use crate::id::Id;
use crate::store::Tx;

/// So long back a node has taken a job, so it could.
const BEFORE: Duration = Duration::from_secs(3600);
/// For so long it has not. Counters are of whole minutes: with this it shows within two.
const SINCE: Duration = Duration::from_secs(45);

pub(super) async fn look(context: &Context, tx: &mut Tx, now: Timestamp) -> Result<Vec<(Subject, String)>> {
    if !context.store.is_shared() {
        return Ok(Vec::new());
    }
    let nodes = tx.nodes().await?;
    let there: HashSet<i64> = nodes.iter().filter(|node| node.stopped_at.is_none()).map(|node| node.id).collect();
    if there.len() < 2 {
        return Ok(Vec::new());
    }
    let busy: HashSet<(Id, i64)> = tx.held_by_node().await?.into_iter().collect();
    let mut shares = tx.shares(now.minus(BEFORE), now.minus(SINCE)).await?;
    shares.retain(|share| there.contains(&share.node));
    let told = |(share, why): (&crate::domain::apart::Share, String)| {
        (Subject { tenant: share.tenant, job: share.job, node: share.node, kind: AlertKind::Node }, why)
    };
    Ok(apart(&shares, &busy).into_iter().map(told).collect())
}
