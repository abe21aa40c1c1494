//! The key that secrets are sealed with: whether it is the database's, and another in its place.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::secret::Sealed;
use crate::store::{Store, Tx};
use crate::vault::Vault;

/// A setting that the key of a shared database has sealed, so that a node with another one knows.
pub const SEAL: &str = "key_seal";

/// What became of the secrets.
#[derive(Debug, PartialEq, Eq, serde::Serialize)]
pub struct Resealed {
    /// Sealed anew with the first key.
    pub resealed: usize,
    /// Those that it had sealed before.
    pub standing: usize,
    /// TENANT/NAME of those that no key opens; they are as they were.
    pub closed: Vec<String>,
    /// The first key had sealed all that opens, the database's seal too.
    #[serde(skip)]
    pub unchanged: bool,
}

/// Whether one of the keys has sealed the database's seal; `None`: it has none yet.
///
/// # Errors
/// When the store does not answer.
pub async fn fits(tx: &mut Tx, vault: &Vault) -> Result<Option<bool>> {
    let Some((nonce, sealed)) = seal(tx).await? else { return Ok(None) };
    Ok(Some(vault.unseal(Id(0), SEAL, &nonce, &sealed).is_ok()))
}

async fn seal(tx: &mut Tx) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    let bytes = tx.setting(SEAL).await?.map(|seal| STANDARD.decode(seal).unwrap_or_default());
    Ok(bytes.map(|bytes| {
        let (nonce, sealed) = bytes.split_at_checked(24).unwrap_or_default();
        (nonce.to_vec(), sealed.to_vec())
    }))
}

/// Leaves the seal of the first key.
///
/// # Errors
/// When the store does not answer.
pub async fn put_seal(tx: &mut Tx, vault: &Vault) -> Result<()> {
    let (nonce, sealed) = vault.seal(Id(0), SEAL, b"windlass")?;
    tx.set_setting(SEAL, &STANDARD.encode([nonce, sealed].concat())).await
}

/// How many of the secrets no key opens: it is another than they were sealed with.
pub fn closed(vault: &Vault, secrets: &[(Id, Sealed)]) -> usize {
    let opens = |(tenant, secret): &&(Id, Sealed)| vault.unseal(*tenant, &secret.name, &secret.nonce, &secret.sealed).is_ok();
    secrets.len() - secrets.iter().filter(opens).count()
}

/// Seals every secret with the first key, in one transaction: after a crash all are as before, or all are done, and both
/// open with the keys that are there. The other keys are not needed afterwards.
///
/// # Errors
/// `Conflict` when no key is the database's, or a secret was set meanwhile: nothing has changed then.
pub async fn reseal(store: &Store, vault: &Vault, who: &str, now: Timestamp) -> Result<Resealed> {
    let mut tx = store.begin().await?;
    if fits(&mut tx, vault).await? == Some(false) {
        return Err(Error::Conflict("none of these keys is the database's: give the one that stands behind the new one".into()));
    }
    let mut done = Resealed { resealed: 0, standing: 0, closed: Vec::new(), unchanged: false };
    let names: std::collections::HashMap<Id, String> =
        tx.tenants().await?.into_iter().map(|tenant| (tenant.id, tenant.name)).collect();
    for (tenant, secret) in tx.all_secrets().await? {
        let of = names.get(&tenant).map_or_else(|| tenant.to_string(), Clone::clone);
        if vault.is_of_the_first(tenant, &secret.name, &secret.nonce, &secret.sealed) {
            done.standing += 1;
            continue;
        }
        let Ok(value) = vault.unseal(tenant, &secret.name, &secret.nonce, &secret.sealed) else {
            done.closed.push(format!("{of}/{}", secret.name));
            continue;
        };
        let (nonce, sealed) = vault.seal(tenant, &secret.name, &value)?;
        if !tx.reseal_secret(tenant, &secret, nonce, sealed).await? {
            return Err(Error::Conflict(format!("{of}/{} was set meanwhile; nothing has changed, try again", secret.name)));
        }
        done.resealed += 1;
    }
    let seal = seal(&mut tx).await?;
    let is_first = |(nonce, sealed): &(Vec<u8>, Vec<u8>)| vault.is_of_the_first(Id(0), SEAL, nonce, sealed);
    done.unchanged = done.resealed == 0 && seal.as_ref().is_none_or(is_first);
    if done.unchanged {
        return Ok(done);
    }
    if seal.is_some() {
        put_seal(&mut tx, vault).await?;
    }
    tx.audit(Id(0), who, "secret.rotate-key", "", vault.marks().next(), now).await?;
    tx.commit().await?;
    Ok(done)
}
