//! Notes which keys a file wrote, for who wants to know where a value comes from.

use std::collections::HashMap;

use crate::app::tenant_file::Parsed;
use crate::error::Result;
use crate::id::Id;
use crate::store::Tx;
use crate::store::said::{OWN, Said};

/// Answers whether it is otherwise than before.
pub(super) async fn write(tx: &mut Tx, parsed: &Parsed, tenant: Id) -> Result<bool> {
    let ids: HashMap<String, Id> = tx.jobs_of(tenant).await?.into_iter().map(|job| (job.spec.name, job.id)).collect();
    let before = tx.said_of_tenant(tenant).await?;
    let mut now: Vec<(Id, Said)> = vec![(OWN, parsed.said())];
    for (n, job) in parsed.file.jobs.iter().enumerate() {
        now.extend(ids.get(&job.name).map(|id| (*id, parsed.said_of_job(n))));
    }
    let new: Vec<(Id, &Said)> =
        now.iter().filter(|(id, said)| before.get(id) != Some(said)).map(|(id, said)| (*id, said)).collect();
    tx.put_said(tenant, &new).await?;
    Ok(!new.is_empty())
}
