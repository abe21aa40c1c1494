//! Nodes: who takes part, and what each did of each job.

use std::collections::HashMap;
use std::time::Duration;

use super::{App, Who};
use crate::clock::Timestamp;
use crate::domain::alert::AlertKind;
use crate::domain::apart::Share;
use crate::domain::member::Role;
use crate::error::Result;
use crate::id::Id;
use crate::store::node::Node;

/// Of what nodes did, so far back.
const AGO: Duration = Duration::from_secs(3600);
const LATELY: Duration = Duration::from_secs(120);

/// A node as it is seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub node: Node,
    /// This process.
    pub here: bool,
    pub running: u64,
    pub jobs: Vec<JobOfNode>,
}

/// What a node did of one job in the last hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobOfNode {
    pub tenant: String,
    pub job: String,
    pub lately: u64,
    pub last_success: Option<Timestamp>,
    /// It has stopped taking it: why that is known.
    pub stopped: Option<String>,
}

impl Seen {
    /// up, stopped or dead
    pub fn state(&self) -> &'static str {
        match (self.node.died_at, self.node.stopped_at) {
            (Some(_), _) => "dead",
            (None, Some(_)) => "stopped",
            (None, None) => "up",
        }
    }
}

impl App {
    /// Those that are there first; with the jobs that whoever asks may see.
    ///
    /// # Errors
    /// `Forbidden` for who belongs to one tenant.
    pub async fn nodes(&self, who: &Who) -> Result<Vec<Seen>> {
        who.may_all(Role::Viewer, "looking at nodes")?;
        let (mut tx, now) = (self.store.read().await?, self.now());
        let mut running: HashMap<i64, u64> = HashMap::new();
        for (node, n) in tx.running_by_node().await? {
            *running.entry(node).or_default() += n;
        }
        let names: HashMap<Id, (String, String)> =
            tx.job_names().await?.into_iter().map(|(id, tenant, job)| (id, (tenant, job))).collect();
        let alerts = tx.open_alerts().await?;
        let stopped = |share: &Share| {
            let of = alerts.iter().find(|alert| {
                let of = alert.subject;
                of.kind == AlertKind::Node && (of.tenant, of.job, of.node) == (share.tenant, share.job, share.node)
            });
            of.map(|alert| alert.message.clone())
        };
        let mut jobs: HashMap<i64, Vec<JobOfNode>> = HashMap::new();
        for share in tx.shares(now.minus(AGO), now.minus(LATELY)).await? {
            let Some((tenant, job)) = names.get(&share.job).cloned() else { continue };
            let of = JobOfNode { tenant, job, lately: share.lately, last_success: share.last_success, stopped: stopped(&share) };
            jobs.entry(share.node).or_default().push(of);
        }
        let mut nodes: Vec<Seen> = tx
            .nodes()
            .await?
            .into_iter()
            .map(|node| Seen {
                here: node.id == self.store.node(),
                running: running.get(&node.id).copied().unwrap_or(0),
                jobs: jobs.remove(&node.id).unwrap_or_default(),
                node,
            })
            .collect();
        nodes.sort_by_key(|seen| (seen.node.stopped_at.is_some(), seen.node.id));
        Ok(nodes)
    }
}
