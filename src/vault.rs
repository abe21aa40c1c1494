//! Seals and opens secrets with the key of this installation; knows nothing of where they are kept.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use rand::RngCore;

use crate::error::{Error, Result};
use crate::id::Id;

/// The key: XChaCha20-Poly1305, whose long nonce may be random.
pub struct Vault(XChaCha20Poly1305);

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
    pub fn seal(&self, tenant: Id, name: &str, value: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
        let mut nonce = [0; 24];
        rand::rng().fill_bytes(&mut nonce);
        let bound = format!("{tenant}/{name}");
        let sealed = self.0.encrypt(&XNonce::from(nonce), Payload { msg: value, aad: bound.as_bytes() });
        Ok((nonce.to_vec(), sealed.map_err(|_| Error::Internal(anyhow::anyhow!("secret {name} could not be sealed")))?))
    }

    /// # Errors
    /// `Conflict` when it was sealed with another key, or for another tenant or name.
    pub fn unseal(&self, tenant: Id, name: &str, nonce: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
        let wrong = || Error::Conflict(format!("secret {name} does not open: was it sealed with another key? Set it again"));
        let nonce: [u8; 24] = nonce.try_into().map_err(|_| wrong())?;
        let bound = format!("{tenant}/{name}");
        self.0.decrypt(&XNonce::from(nonce), Payload { msg: sealed, aad: bound.as_bytes() }).map_err(|_| wrong())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_only_where_it_belongs() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(&dir.path().join("key"), None).unwrap();
        let (nonce, sealed) = vault.seal(Id(1), "wiki-key", b"hunter2").unwrap();
        assert!(!sealed.windows(7).any(|part| part == b"hunter2"));
        assert_eq!(vault.unseal(Id(1), "wiki-key", &nonce, &sealed).unwrap(), b"hunter2");
        assert!(vault.unseal(Id(2), "wiki-key", &nonce, &sealed).is_err());
        assert!(vault.unseal(Id(1), "other", &nonce, &sealed).is_err());
        let again = Vault::open(&dir.path().join("key"), None).unwrap();
        assert_eq!(again.unseal(Id(1), "wiki-key", &nonce, &sealed).unwrap(), b"hunter2");
    }
}
