//! Modules on their way to plugins.

use super::sql::{Row, Sql, args};
use super::tx::Tx;
use crate::clock::Timestamp;
use crate::domain::plugin::{Push, PushState};
use crate::error::Result;
use crate::id::Id;

/// Pushes that a list has.
const LISTED: u32 = 50;

static PUT: Sql = Sql::new(
    "INSERT INTO push (id, tenant, name, version, digest, bytes, state, message, fresh, begun_at, at, pushed_by) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (id) DO UPDATE SET name = excluded.name, \
     version = excluded.version, state = excluded.state, message = excluded.message, fresh = excluded.fresh, at = excluded.at",
);
static ONE: Sql = Sql::new("SELECT * FROM push WHERE id = $1");
static ALL: Sql = Sql::new("SELECT * FROM push ORDER BY id DESC LIMIT $1");
static SEEN: Sql = Sql::new("SELECT * FROM push WHERE tenant IN (0, $1) ORDER BY id DESC LIMIT $2");
static CUT: Sql = Sql::new("DELETE FROM push WHERE id < $1");

impl Tx {
    /// Writes a push down as it is now.
    pub async fn put_push(&mut self, p: &Push) -> Result<()> {
        let args = args![
            p.id,
            p.tenant,
            &p.name,
            p.version.clone(),
            &p.digest,
            p.bytes,
            p.state.word(),
            p.message.clone(),
            p.fresh,
            p.begun_at,
            p.at,
            &p.pushed_by
        ];
        self.exec(&PUT, args).await?;
        Ok(())
    }

    pub async fn push(&mut self, id: Id) -> Result<Option<Push>> {
        self.row(&ONE, args![id]).await?.as_ref().map(push).transpose()
    }

    /// The last ones that a tenant may see, its own and the server's, or all; newest first.
    pub async fn pushes(&mut self, of: Option<Id>) -> Result<Vec<Push>> {
        let rows = match of {
            Some(tenant) => self.rows(&SEEN, args![tenant, LISTED]).await?,
            None => self.rows(&ALL, args![LISTED]).await?,
        };
        rows.iter().map(push).collect()
    }

    /// Cuts pushes begun before.
    pub(super) async fn prune_pushes(&mut self, before: Timestamp) -> Result<()> {
        self.exec(&CUT, args![Id::first_at(before)]).await?;
        Ok(())
    }
}

fn push(row: &Row) -> Result<Push> {
    Ok(Push {
        id: row.id("id")?,
        tenant: row.id("tenant")?,
        name: row.text("name")?,
        version: row.opt_text("version")?,
        digest: row.text("digest")?,
        bytes: row.count("bytes")?,
        state: PushState::parse(&row.text("state")?),
        message: row.opt_text("message")?,
        fresh: row.int("fresh")? != 0,
        begun_at: row.time("begun_at")?,
        at: row.time("at")?,
        pushed_by: row.text("pushed_by")?,
    })
}
