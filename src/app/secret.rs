//! Secrets: sealed before they are stored, opened only for a run whose job was granted them.

use super::{App, Who};
use crate::clock::Timestamp;
use crate::domain::member::Role;
use crate::domain::plugin::is_name;
use crate::error::{Error, Problem, Result};

/// Bytes of one secret.
const LIMIT: usize = 64 * 1024;

/// A secret as it is listed: never its value.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Listed {
    pub name: String,
    pub version: u64,
    pub updated_at: Timestamp,
    pub used_at: Option<Timestamp>,
}

impl App {
    /// Sets a secret of a tenant; an older value is gone.
    ///
    /// # Errors
    /// `Invalid` for a name or a value that cannot be.
    pub async fn set_secret(&self, tenant: &str, name: &str, value: &[u8], who: &Who) -> Result<()> {
        if !is_name(name) {
            return Err(Error::Invalid(vec![Problem::new(
                "name",
                format!("{name:?} is no name: a-z, 0-9 and -, beginning with a letter"),
            )]));
        }
        if value.is_empty() || value.len() > LIMIT {
            return Err(Error::Invalid(vec![Problem::new("value", format!("{} bytes; 1 to {LIMIT} are right", value.len()))]));
        }
        let now = self.now();
        let mut tx = self.store.begin().await?;
        let tenant = tx.need_tenant(tenant).await?.id;
        who.may(Role::Admin, tenant, "setting a secret")?;
        let (nonce, sealed) = self.vault.seal(tenant, name, value)?;
        tx.put_secret(tenant, name, nonce, sealed, now).await?;
        tx.audit(tenant, &who.name, "secret.set", name, None, now).await?;
        tx.commit().await
    }

    pub async fn list_secrets(&self, tenant: &str, who: &Who) -> Result<Vec<Listed>> {
        let mut tx = self.store.read().await?;
        let tenant = tx.need_tenant(tenant).await?.id;
        who.may(Role::Admin, tenant, "listing secrets")?;
        let listed = |s: crate::store::secret::Sealed| Listed {
            name: s.name,
            version: s.version,
            updated_at: s.updated_at,
            used_at: s.used_at,
        };
        Ok(tx.secrets(tenant).await?.into_iter().map(listed).collect())
    }
}
