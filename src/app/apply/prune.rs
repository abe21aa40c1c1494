//! Tenants that no file names any more: found by their labels, and left without jobs.

use super::super::Who;
use super::super::change::Change;
use super::{Checked, Labels, remove_job};
use crate::clock::Timestamp;
use crate::error::{Error, Problem, Result};
use crate::store::Tx;

/// # Errors
/// `Invalid` for jobs that have too much to do to be removed, all of them.
pub(super) async fn prune(
    tx: &mut Tx,
    files: &[Checked],
    labels: &Labels,
    who: &Who,
    now: Timestamp,
    changes: &mut Vec<Change>,
) -> Result<()> {
    let mut tenants = tx.tenants().await?;
    tenants.retain(|tenant| {
        let labelled = labels.iter().all(|(name, value)| tenant.labels.get(name) == Some(value));
        labelled && files.iter().all(|file| file.parsed.file.tenant != tenant.name)
    });
    let mut problems = Vec::new();
    for tenant in tenants {
        for job in tx.jobs_of(tenant.id).await? {
            if let Err(why) = remove_job(tx, &job, who, now, changes).await? {
                problems.push(Problem::new(format!("tenant {}", tenant.name), why));
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::Invalid(problems)) }
}
