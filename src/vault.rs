//! Seals and opens secrets with the keys of this installation; knows nothing of where they are kept.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use rand::RngCore;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::id::Id;

/// The first key seals; each opens what it has sealed. There is one, except while it is replaced.
pub struct Vault(Vec<Key>);

struct Key {
    /// XChaCha20-Poly1305, whose long nonce may be random.
    cipher: XChaCha20Poly1305,
    /// Tells it from others, and nothing of it.
    mark: String,
}

impl Vault {
    /// The keys of `key_text` (each 32 bytes in base 64, from the environment) or of the file, which is made at first start.
    ///
    /// # Errors
    /// When a key is no key, or the file cannot be read or made.
    pub fn open(file: &Path, key_text: Option<&str>) -> Result<Self> {
        let text = match key_text {
            Some(text) => text.to_owned(),
            None if file.exists() => std::fs::read_to_string(file)?,
            None => {
                let key = new_key();
                let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
                out.write_all(key.as_bytes())?;
                out.sync_all()?;
                key
            }
        };
        let keys = text.split_whitespace().map(Key::parse).collect::<Option<Vec<_>>>().filter(|keys| !keys.is_empty());
        keys.map(Self).ok_or_else(|| {
            let from = if key_text.is_some() { "WINDLASS_SECRET_KEY".to_owned() } else { file.display().to_string() };
            Error::Unavailable(format!("the secret key ({from}) is not 32 bytes in base 64"))
        })
    }

    /// Answers nonce and sealed value. Tenant and name are bound to it: a row moved elsewhere does not open.
    pub fn seal(&self, tenant: Id, name: &str, value: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
        let mut nonce = [0; 24];
        rand::rng().fill_bytes(&mut nonce);
        let bound = format!("{tenant}/{name}");
        let sealed = self.0[0].cipher.encrypt(&XNonce::from(nonce), Payload { msg: value, aad: bound.as_bytes() });
        Ok((nonce.to_vec(), sealed.map_err(|_| Error::Internal(anyhow::anyhow!("secret {name} could not be sealed")))?))
    }

    /// # Errors
    /// `Conflict` when it was sealed with another key, or for another tenant or name.
    pub fn unseal(&self, tenant: Id, name: &str, nonce: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
        let bound = format!("{tenant}/{name}");
        self.0
            .iter()
            .find_map(|key| key.unseal(&bound, nonce, sealed))
            .ok_or_else(|| Error::Conflict(format!("secret {name} does not open: was it sealed with another key? Set it again")))
    }

    /// Whether the first key has sealed it: then it opens when the others are gone.
    pub fn is_of_the_first(&self, tenant: Id, name: &str, nonce: &[u8], sealed: &[u8]) -> bool {
        self.0[0].unseal(&format!("{tenant}/{name}"), nonce, sealed).is_some()
    }

    /// Of each key, the first one before the others: 16 letters that tell it from others, and nothing of it.
    pub fn marks(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(|key| key.mark.as_str())
    }
}

impl Key {
    fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok()?;
        let cipher = XChaCha20Poly1305::new_from_slice(&bytes).ok()?;
        let hash = Sha256::new().chain_update(b"windlass key ").chain_update(&bytes).finalize();
        Some(Self { cipher, mark: hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect() })
    }

    fn unseal(&self, bound: &str, nonce: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let nonce: [u8; 24] = nonce.try_into().ok()?;
        self.cipher.decrypt(&XNonce::from(nonce), Payload { msg: sealed, aad: bound.as_bytes() }).ok()
    }
}

/// 32 random bytes in base 64.
pub fn new_key() -> String {
    let mut key = [0; 32];
    rand::rng().fill_bytes(&mut key);
    STANDARD.encode(key)
}

/// Puts a new key before those of the file: from now on it seals, and the others open what they have sealed.
///
/// # Errors
/// When the file cannot be read or written; then it is as it was.
pub fn put_key_before(file: &Path) -> Result<()> {
    let standing = std::fs::read_to_string(file)?;
    replace(file, &format!("{}\n{}\n", new_key(), standing.trim()))
}

/// Leaves the first key of the file alone in it.
///
/// # Errors
/// As [`put_key_before`].
pub fn keep_first_key(file: &Path) -> Result<()> {
    let standing = std::fs::read_to_string(file)?;
    replace(file, standing.split_whitespace().next().unwrap_or_default())
}

/// In one step: whoever reads it, after whatever crash, finds the one text or the other.
fn replace(file: &Path, text: &str) -> Result<()> {
    let fresh = file.with_extension("key.new");
    let _ = std::fs::remove_file(&fresh);
    let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    std::fs::rename(&fresh, file)?;
    if let Some(folder) = file.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
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

    #[test]
    fn the_first_key_seals_and_each_opens_what_is_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret.key");
        let old = Vault::open(&file, None).unwrap();
        let (nonce, sealed) = old.seal(Id(1), "a", b"one").unwrap();
        put_key_before(&file).unwrap();
        let both = Vault::open(&file, None).unwrap();
        assert_eq!((both.marks().len(), both.marks().nth(1)), (2, old.marks().next()));
        assert_eq!(both.unseal(Id(1), "a", &nonce, &sealed).unwrap(), b"one");
        assert!(!both.is_of_the_first(Id(1), "a", &nonce, &sealed));
        let (nonce, sealed) = both.seal(Id(1), "a", b"two").unwrap();
        assert!(both.is_of_the_first(Id(1), "a", &nonce, &sealed) && old.unseal(Id(1), "a", &nonce, &sealed).is_err());
        keep_first_key(&file).unwrap();
        let new = Vault::open(&file, None).unwrap();
        assert_eq!((new.marks().len(), new.marks().next()), (1, both.marks().next()));
        assert_eq!(new.unseal(Id(1), "a", &nonce, &sealed).unwrap(), b"two");
        // The environment has no lines.
        let text = format!("{} {}", new_key(), new_key());
        assert_eq!(Vault::open(&file, Some(&text)).unwrap().marks().len(), 2);
        for wrong in ["", "short", &format!("{} short", new_key())] {
            assert!(Vault::open(&file, Some(wrong)).is_err(), "{wrong:?}");
        }
    }
}
