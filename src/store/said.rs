//! Which keys a tenant's file wrote, of the tenant and of each job: what holds without being written is a default.

use std::collections::{BTreeSet, HashMap};

use super::sql::{Row, Sql, args};
use super::tx::Tx;
use crate::error::Result;
use crate::id::Id;

/// Dotted paths, as in `retry.attempts` and `triggers[0].overlap`.
pub type Said = BTreeSet<String>;

/// The tenant's own, beside those of its jobs.
pub const OWN: Id = Id(0);

static OF_TENANT: Sql = Sql::new("SELECT job, keys FROM said WHERE tenant = $1");
static OF_JOB: Sql = Sql::new("SELECT job, keys FROM said WHERE tenant = $1 AND (job = 0 OR job = $2)");
static PUT: Sql =
    Sql::new("INSERT INTO said (tenant, job, keys) VALUES {3} ON CONFLICT (tenant, job) DO UPDATE SET keys = excluded.keys");

impl Tx {
    /// By job, and of the tenant under [`OWN`]. What was applied by a version that did not note it is not there.
    pub async fn said_of_tenant(&mut self, tenant: Id) -> Result<HashMap<Id, Said>> {
        said(&self.rows(&OF_TENANT, args![tenant]).await?)
    }

    /// The same, of one job and its tenant.
    pub async fn said_of_job(&mut self, tenant: Id, job: Id) -> Result<HashMap<Id, Said>> {
        said(&self.rows(&OF_JOB, args![tenant, job]).await?)
    }

    pub async fn put_said(&mut self, tenant: Id, said: &[(Id, &Said)]) -> Result<()> {
        let text = |said: &Said| said.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        self.exec_rows(&PUT, said.iter().map(|(job, said)| args![tenant, *job, text(said)]).collect()).await?;
        Ok(())
    }
}

fn said(rows: &[Row]) -> Result<HashMap<Id, Said>> {
    let keys = |text: String| text.split(' ').filter(|key| !key.is_empty()).map(str::to_owned).collect();
    rows.iter().map(|row| Ok((row.id("job")?, keys(row.text("keys")?)))).collect()
}
