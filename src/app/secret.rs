//! Secrets: sealed before they are stored, opened only for a run whose job was granted them.

use std::collections::HashMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use rand::RngCore;

use super::{App, Who};
use crate::clock::Timestamp;
use crate::domain::member::Role;
use crate::domain::plugin::is_name;
use crate::error::{Error, Problem, Result};
use crate::id::Id;
use crate::plugin::Secret;
use crate::store::Tx;

/// Bytes of one secret.
const LIMIT: usize = 64 * 1024;

/// Seals and opens secrets with the key of this installation.
pub struct Vault(XChaCha20Poly1305);

/// A secret as it is listed: never its value.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Listed {
    pub name: String,
    pub version: u64,
    pub updated_at: Timestamp,
    pub used_at: Option<Timestamp>,
}

impl Vault {
    /// The key of `key_text` (32 bytes in base 64, from the environment) or of the file, which is made at first start.
    ///
    /// # Errors
    /// When the key is no key, or the file cannot be read or made.
    pub fn open(file: &Path, key_text: Option<&str>) -> Result<Self> {
        let text = match key_text {
            Some(text) => text.to_owned(),
            None if file.exists() => std::fs::read_to_string(file)?,
            None => make_key(file)?,
        };
        let wrong = || Error::Unavailable(format!("the secret key ({}) is not 32 bytes in base 64", file.display()));
        let key = STANDARD.decode(text.trim()).map_err(|_| wrong())?;
        XChaCha20Poly1305::new_from_slice(&key).map(Self).map_err(|_| wrong())
    }

    /// Answers nonce and sealed value. Tenant and name are bound to it: a row moved elsewhere does not open.
    fn seal(&self, tenant: Id, name: &str, value: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
        let mut nonce = [0; 24];
        rand::rng().fill_bytes(&mut nonce);
        let bound = format!("{tenant}/{name}");
        let sealed = self.0.encrypt(&XNonce::from(nonce), Payload { msg: value, aad: bound.as_bytes() });
        Ok((nonce.to_vec(), sealed.map_err(|_| Error::Internal(anyhow::anyhow!("secret {name} could not be sealed")))?))
    }

    fn open_sealed(&self, tenant: Id, name: &str, nonce: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
        let wrong = || Error::Unavailable(format!("secret {name} does not open: was it sealed with another key? Set it again"));
        let nonce: [u8; 24] = nonce.try_into().map_err(|_| wrong())?;
        let bound = format!("{tenant}/{name}");
        self.0.decrypt(&XNonce::from(nonce), Payload { msg: sealed, aad: bound.as_bytes() }).map_err(|_| wrong())
    }

    /// Values of a tenant's secrets with these names; one that is missing is left out.
    pub async fn values(&self, tx: &mut Tx, tenant: Id, names: &[&str]) -> Result<HashMap<String, Secret>> {
        let mut values = HashMap::new();
        if names.is_empty() {
            return Ok(values);
        }
        for secret in tx.secrets(tenant).await? {
            if names.contains(&secret.name.as_str()) {
                let value = self.open_sealed(tenant, &secret.name, &secret.nonce, &secret.sealed)?;
                values.insert(secret.name, Secret(Arc::from(value)));
            }
        }
        Ok(values)
    }
}

fn make_key(file: &Path) -> Result<String> {
    let mut key = [0; 32];
    rand::rng().fill_bytes(&mut key);
    let text = STANDARD.encode(key);
    let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    Ok(text)
}

impl App {
    /// Sets a secret of a tenant; an older value is gone.
    ///
    /// # Errors
    /// `Invalid` for a name or a value that cannot be.
    pub async fn set_secret(&self, tenant: &str, name: &str, value: &[u8], who: &Who) -> Result<()> {
        if !is_name(name) {
            return Err(Error::Invalid(vec![Problem::new("name", format!("{name:?} is no name: a-z, 0-9 and -, beginning with a letter"))]));
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
        let listed = |s: crate::store::secret::Sealed| Listed { name: s.name, version: s.version, updated_at: s.updated_at, used_at: s.used_at };
        Ok(tx.secrets(tenant).await?.into_iter().map(listed).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_only_where_it_belongs() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(&dir.path().join("key"), None).unwrap();
        let (nonce, sealed) = vault.seal(Id(1), "wiki-key", b"hunter2").unwrap();
        assert!(!sealed.windows(7).any(|part| part == b"hunter2"));
        assert_eq!(vault.open_sealed(Id(1), "wiki-key", &nonce, &sealed).unwrap(), b"hunter2");
        assert!(vault.open_sealed(Id(2), "wiki-key", &nonce, &sealed).is_err());
        assert!(vault.open_sealed(Id(1), "other", &nonce, &sealed).is_err());
        let again = Vault::open(&dir.path().join("key"), None).unwrap();
        assert_eq!(again.open_sealed(Id(1), "wiki-key", &nonce, &sealed).unwrap(), b"hunter2");
    }
}
