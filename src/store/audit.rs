//! Who did what, and settings of the server.

use super::sql::{Sql, args};
use super::tx::Tx;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::Id;

static PUT: Sql = Sql::new("INSERT INTO audit (id, at, tenant, who, action, object, detail) VALUES ($1, $2, $3, $4, $5, $6, $7)");
static GET: Sql = Sql::new("SELECT value FROM setting WHERE key = $1");
static SET: Sql =
    Sql::new("INSERT INTO setting (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value");

impl Tx {
    /// In the same transaction as what it tells of.
    pub async fn audit(
        &mut self,
        tenant: Id,
        who: &str,
        action: &str,
        object: &str,
        detail: Option<&str>,
        now: Timestamp,
    ) -> Result<()> {
        let id = self.new_id();
        self.exec(&PUT, args![id, now, tenant, who, action, object, detail]).await?;
        Ok(())
    }

    pub async fn setting(&mut self, key: &str) -> Result<Option<String>> {
        self.row(&GET, args![key]).await?.map(|row| row.text("value")).transpose()
    }

    pub async fn set_setting(&mut self, key: &str, value: &str) -> Result<()> {
        self.exec(&SET, args![key, value]).await?;
        Ok(())
    }
}
