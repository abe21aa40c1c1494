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
        self.put_secret(tenant, name, value, who, false).await
    }

    /// Puts another value in the place of one that stands: attempts that begin from now on have the new one.
    ///
    /// # Errors
    /// `NotFound` when there is none; `Invalid` for a value that cannot be, or is the old one.
    pub async fn rotate_secret(&self, tenant: &str, name: &str, value: &[u8], who: &Who) -> Result<()> {
        self.put_secret(tenant, name, value, who, true).await
    }

    async fn put_secret(&self, tenant: &str, name: &str, value: &[u8], who: &Who, rotates: bool) -> Result<()> {
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
        if rotates {
            let standing = tx.secrets(tenant).await?.into_iter().find(|standing| standing.name == name);
            let standing = standing.ok_or_else(|| Error::NotFound(format!("there is no secret {name} to rotate; set it")))?;
            // What does not open any more is replaced as well.
            if self.vault.unseal(tenant, name, &standing.nonce, &standing.sealed).is_ok_and(|standing| standing == value) {
                return Err(Error::invalid("value", "this is the value that stands; a rotation brings another one"));
            }
        }
        let (nonce, sealed) = self.vault.seal(tenant, name, value)?;
        tx.put_secret(tenant, name, nonce, sealed, now).await?;
        tx.audit(tenant, &who.name, if rotates { "secret.rotate" } else { "secret.set" }, name, None, now).await?;
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
