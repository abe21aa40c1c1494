//! Who did what, and settings of the server.

use super::sql::{Row, Sql, args};
use super::tx::Tx;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::Id;

static PUT: Sql = Sql::new("INSERT INTO audit (id, at, tenant, who, action, object, detail) VALUES ($1, $2, $3, $4, $5, $6, $7)");
static TENANT: Sql = Sql::new("SELECT name FROM tenant WHERE id = $1");
static ALL: Sql = Sql::new(
    "SELECT a.id, a.at, a.tenant, t.name AS name, a.who, a.action, a.object, a.detail FROM audit a LEFT JOIN tenant t ON t.id = a.tenant \
     WHERE a.id < $1 AND ($2 = '' OR a.action = $2 OR a.action LIKE $3) ORDER BY a.id DESC LIMIT $4",
);
static OF_TENANT: Sql = Sql::new(
    "SELECT a.id, a.at, a.tenant, t.name AS name, a.who, a.action, a.object, a.detail FROM audit a LEFT JOIN tenant t ON t.id = a.tenant \
     WHERE a.tenant = $1 AND a.id < $2 AND ($3 = '' OR a.action = $3 OR a.action LIKE $4) ORDER BY a.id DESC LIMIT $5",
);
static GET: Sql = Sql::new("SELECT value FROM setting WHERE key = $1");
static SET: Sql =
    Sql::new("INSERT INTO setting (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value");

/// Who did what, to which object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: Id,
    pub at: Timestamp,
    /// Its name; absent: the server.
    pub tenant: Option<String>,
    pub who: String,
    /// `job.pause`
    pub what: String,
    pub object: String,
    pub detail: Option<String>,
}

impl Entry {
    /// Without the detail: what a file says now and said before is for those who may read the audit.
    pub(super) fn log(&self) {
        let Self { tenant, who, what, object, .. } = self;
        tracing::info!(tenant.name = tenant.as_deref(), who, object, "audit: {what}");
    }
}

impl Tx {
    /// In the same transaction as what it tells of; logged when that is committed.
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
        let named = if tenant == Id(0) { None } else { self.row(&TENANT, args![tenant]).await? };
        self.news.audited.push(Entry {
            id,
            at: now,
            tenant: named.map(|row| row.text("name")).transpose()?,
            who: who.to_owned(),
            what: action.to_owned(),
            object: object.to_owned(),
            detail: None,
        });
        Ok(())
    }

    /// The audit, newest first: of one tenant, or all. `what` is a whole word, as in `job.pause`, or what stands before its
    /// dot.
    pub async fn audited(&mut self, tenant: Option<Id>, what: &str, before: Option<Id>, limit: u32) -> Result<Vec<Entry>> {
        let (before, within) = (before.unwrap_or(Id(i64::MAX)), format!("{what}.%"));
        let rows = match tenant {
            Some(tenant) => self.rows(&OF_TENANT, args![tenant, before, what, within, limit]).await?,
            None => self.rows(&ALL, args![before, what, within, limit]).await?,
        };
        rows.iter().map(entry).collect()
    }

    pub async fn setting(&mut self, key: &str) -> Result<Option<String>> {
        self.row(&GET, args![key]).await?.map(|row| row.text("value")).transpose()
    }

    pub async fn set_setting(&mut self, key: &str, value: &str) -> Result<()> {
        self.exec(&SET, args![key, value]).await?;
        Ok(())
    }
}

fn entry(row: &Row) -> Result<Entry> {
    let tenant = row.id("tenant")?;
    Ok(Entry {
        id: row.id("id")?,
        at: row.time("at")?,
        tenant: if tenant == Id(0) { None } else { Some(row.opt_text("name")?.unwrap_or_else(|| tenant.to_string())) },
        who: row.text("who")?,
        what: row.text("action")?,
        object: row.text("object")?,
        detail: row.opt_text("detail")?,
    })
}
