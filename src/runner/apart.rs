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
use crate::store::node::Node;

/// So long back a node has taken a job, so it could.
const BEFORE: Duration = Duration::from_secs(3600);
/// For so long it has not. Counters are of whole minutes: with this it shows within two.
const SINCE: Duration = Duration::from_secs(45);

/// It sums up the counters of an hour: asked so often, and when a minute has become whole, because then it may be another.
const EVERY: Duration = Duration::from_secs(30);

/// What was found last.
#[derive(Default)]
pub(super) struct Seen {
    /// When, on the clock that nobody sets, and up to which minute.
    at: Option<(Duration, i64)>,
    found: Vec<(Subject, String)>,
}

impl Seen {
    /// What stands apart now, or did a moment ago.
    pub async fn look(
        &mut self,
        context: &Context,
        tx: &mut Tx,
        nodes: &[Node],
        now: Timestamp,
    ) -> Result<Vec<(Subject, String)>> {
        let there: HashSet<i64> = nodes.iter().filter(|node| node.stopped_at.is_none()).map(|node| node.id).collect();
        if !context.store.is_shared() || there.len() < 2 {
            *self = Self::default();
            return Ok(Vec::new());
        }
        let (uptime, minute) = (context.clock.uptime(), now.minus(SINCE).minute());
        if self.at.is_none_or(|(at, of)| of != minute || uptime.saturating_sub(at) >= EVERY) {
            self.found = look(tx, &there, now).await?;
            self.at = Some((uptime, minute));
        }
        Ok(self.found.clone())
    }
}

async fn look(tx: &mut Tx, there: &HashSet<i64>, now: Timestamp) -> Result<Vec<(Subject, String)>> {
    let busy: HashSet<(Id, i64)> = tx.held_by_node().await?.into_iter().collect();
    let mut shares = tx.shares(now.minus(BEFORE), now.minus(SINCE)).await?;
    shares.retain(|share| there.contains(&share.node));
    let told = |(share, why): (&crate::domain::apart::Share, String)| {
        (Subject { tenant: share.tenant, job: share.job, node: share.node, kind: AlertKind::Node }, why)
    };
    Ok(apart(&shares, &busy).into_iter().map(told).collect())
}
