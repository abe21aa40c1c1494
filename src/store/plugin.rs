//! Plugins and their bytes.

use super::sql::{Row, Sql, args};
use super::tx::Tx;
use crate::domain::plugin::{Plugin, PluginRef};
use crate::error::{Error, Result};
use crate::id::Id;

/// Owner of the plugins that everybody may use.
pub const SERVER: Id = Id(0);

static ALL: Sql = Sql::new(
    "SELECT digest, tenant, name, version, exports, imports, description, bytes, pushed_at, pushed_by, signature FROM plugin ORDER BY name, version",
);
static NAMED: Sql = Sql::new(
    "SELECT digest, tenant, name, version, exports, imports, description, bytes, pushed_at, pushed_by, signature FROM plugin WHERE name = $1 AND tenant IN (0, $2)",
);
static BY_DIGEST: Sql = Sql::new(
    "SELECT digest, tenant, name, version, exports, imports, description, bytes, pushed_at, pushed_by, signature FROM plugin WHERE digest = $1 AND tenant IN (0, $2) ORDER BY tenant DESC LIMIT 1",
);
static PUT: Sql = Sql::new(
    "INSERT INTO plugin (digest, tenant, name, version, exports, imports, description, bytes, state, pushed_at, pushed_by, signature) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'ready', $9, $10, $11)",
);
static PUT_BYTES: Sql = Sql::new("INSERT INTO plugin_bytes (digest, bytes) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING");
static BYTES: Sql = Sql::new("SELECT bytes FROM plugin_bytes WHERE digest = $1");
static CURRENT: Sql = Sql::new(
    "SELECT r.digest FROM job j JOIN job_revision r ON r.id = j.revision WHERE j.removed_at IS NULL \
     UNION SELECT old_digest FROM rollout UNION SELECT new_digest FROM rollout",
);
static USED: Sql = Sql::new(
    "SELECT DISTINCT digest FROM job_revision WHERE id IN (SELECT revision FROM job WHERE removed_at IS NULL UNION SELECT revision FROM ready \
     UNION SELECT revision FROM later UNION SELECT revision FROM lease) UNION SELECT old_digest FROM rollout \
     UNION SELECT new_digest FROM rollout UNION SELECT digest FROM run_plugin",
);

impl Tx {
    pub async fn plugins(&mut self) -> Result<Vec<Plugin>> {
        self.rows(&ALL, args![]).await?.iter().map(plugin).collect()
    }

    /// The newest plugin that a job of this tenant means; the tenant's own before the server's.
    pub async fn find_plugin(&mut self, tenant: Id, wanted: &PluginRef) -> Result<Option<Plugin>> {
        let rows = self.rows(&NAMED, args![&wanted.name, tenant]).await?;
        let mut fitting = rows.iter().map(plugin).collect::<Result<Vec<_>>>()?;
        fitting.retain(|plugin| plugin.fits(&wanted.want));
        fitting.sort_by_key(|plugin| (plugin.tenant != SERVER, plugin.version_key()));
        Ok(fitting.pop())
    }

    /// What a tenant calls the plugin with this digest; another tenant's name for it is not told.
    pub async fn plugin_by_digest(&mut self, tenant: Id, digest: &str) -> Result<Option<Plugin>> {
        self.row(&BY_DIGEST, args![digest, tenant]).await?.as_ref().map(plugin).transpose()
    }

    /// Adds a plugin. Versions do not change.
    ///
    /// # Errors
    /// `Conflict` when the version is there with other bytes; the same bytes again change nothing (`false`).
    pub async fn put_plugin(&mut self, p: &Plugin, bytes: Vec<u8>) -> Result<bool> {
        let standing = self.rows(&NAMED, args![&p.name, p.tenant]).await?;
        let standing = standing.iter().map(plugin).collect::<Result<Vec<_>>>()?;
        if let Some(same) = standing.iter().find(|s| s.version == p.version && s.tenant == p.tenant) {
            if same.digest == p.digest {
                return Ok(false);
            }
            return Err(Error::Conflict(format!(
                "{} {} is there already with other bytes ({}); versions do not change: push it under a new version",
                p.name, p.version, same.digest
            )));
        }
        self.exec(&PUT_BYTES, args![&p.digest, bytes]).await?;
        let args = args![
            &p.digest,
            p.tenant,
            &p.name,
            &p.version,
            p.exports.join(" "),
            p.imports.join(" "),
            p.description.to_string(),
            p.bytes,
            p.pushed_at,
            &p.pushed_by,
            p.signature.clone()
        ];
        self.exec(&PUT, args).await?;
        self.redefine();
        Ok(true)
    }

    pub async fn plugin_bytes(&mut self, digest: &str) -> Result<Option<Vec<u8>>> {
        self.row(&BYTES, args![digest]).await?.map(|row| row.bytes("bytes")).transpose()
    }

    /// Digests that current jobs use, old and new ones.
    pub async fn current_digests(&mut self) -> Result<Vec<String>> {
        self.rows(&CURRENT, args![]).await?.iter().map(|row| row.text("digest")).collect()
    }

    /// Digests that current jobs and unfinished runs use: what a node must have loaded. Reads every waiting run: for the start.
    pub async fn used_digests(&mut self) -> Result<Vec<String>> {
        self.rows(&USED, args![]).await?.iter().map(|row| row.text("digest")).collect()
    }
}

fn plugin(row: &Row) -> Result<Plugin> {
    let words = |column| Ok::<_, Error>(row.text(column)?.split_whitespace().map(str::to_owned).collect());
    Ok(Plugin {
        name: row.text("name")?,
        version: row.text("version")?,
        digest: row.text("digest")?,
        tenant: row.id("tenant")?,
        bytes: row.count("bytes")?,
        exports: words("exports")?,
        imports: words("imports")?,
        description: row.json("description")?,
        pushed_at: row.time("pushed_at")?,
        pushed_by: row.text("pushed_by")?,
        signature: row.opt_text("signature")?,
    })
}
