//! Tenants.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::sql::{Row, Sql, args};
use super::tx::Tx;
use crate::clock::Timestamp;
use crate::config::AlertRule;
use crate::domain::grant::Ceiling;
use crate::domain::tenant::{Tenant, TenantLimits, TenantRetention};
use crate::error::{Error, Result};
use crate::id::Id;

/// The parts of a tenant that no statement looks into.
#[derive(Serialize, Deserialize)]
struct Spec {
    labels: BTreeMap<String, String>,
    #[serde(default)]
    retention: TenantRetention,
    ceiling: Ceiling,
    #[serde(default)]
    alerts: Vec<AlertRule>,
}

static ALL: Sql = Sql::new(
    "SELECT id, name, zone, weight, max_running, starts_per_minute, max_waiting, spec, created_at, updated_at FROM tenant \
     WHERE removed_at IS NULL ORDER BY name",
);
static ONE: Sql = Sql::new(
    "SELECT id, name, zone, weight, max_running, starts_per_minute, max_waiting, spec, created_at, updated_at FROM tenant \
     WHERE name = $1 AND removed_at IS NULL",
);
static PUT: Sql = Sql::new(
    "INSERT INTO tenant (id, name, zone, weight, max_running, starts_per_minute, max_waiting, spec, created_at, updated_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (name) DO UPDATE SET zone = excluded.zone, weight = excluded.weight, \
     max_running = excluded.max_running, starts_per_minute = excluded.starts_per_minute, max_waiting = excluded.max_waiting, \
     spec = excluded.spec, updated_at = excluded.updated_at, removed_at = NULL",
);

impl Tx {
    /// All tenants by name.
    pub async fn tenants(&mut self) -> Result<Vec<Tenant>> {
        self.rows(&ALL, args![]).await?.iter().map(tenant).collect()
    }

    pub async fn tenant(&mut self, name: &str) -> Result<Option<Tenant>> {
        self.row(&ONE, args![name]).await?.as_ref().map(tenant).transpose()
    }

    /// The tenant of that name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn need_tenant(&mut self, name: &str) -> Result<Tenant> {
        self.tenant(name).await?.ok_or_else(|| Error::not_found(format!("tenant {name}")))
    }

    /// Makes or changes it, by name; the id and `created_at` of one that stands stay.
    pub async fn put_tenant(&mut self, t: &Tenant, now: Timestamp) -> Result<()> {
        let spec = Spec {
            labels: t.labels.clone(),
            retention: t.retention.clone(),
            ceiling: t.ceiling.clone(),
            alerts: t.alerts.clone(),
        };
        let args = args![
            t.id,
            &t.name,
            t.zone.name(),
            t.weight,
            t.limits.running,
            t.limits.starts_per_minute.unwrap_or(0),
            t.limits.waiting.unwrap_or(0),
            serde_json::to_string(&spec)?,
            t.created_at,
            now
        ];
        self.exec(&PUT, args).await?;
        self.redefine();
        Ok(())
    }
}

fn tenant(row: &Row) -> Result<Tenant> {
    let spec: Spec = row.json("spec")?;
    let zone = row.text("zone")?;
    Ok(Tenant {
        id: Id(row.int("id")?),
        name: row.text("name")?,
        zone: zone.parse().map_err(|_| Error::Internal(anyhow::anyhow!("column zone: {zone:?} is no zone")))?,
        weight: row.small("weight")?,
        labels: spec.labels,
        limits: TenantLimits {
            running: row.small("max_running")?,
            starts_per_minute: Some(row.small("starts_per_minute")?).filter(|starts| *starts > 0),
            waiting: Some(row.small("max_waiting")?).filter(|waiting| *waiting > 0),
        },
        retention: spec.retention,
        ceiling: spec.ceiling,
        alerts: spec.alerts,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}
