//! Signatures of plugins, in the format of minisign: an ed25519 signature of the component's bytes, by a key that the node
//! trusts.

use minisign_verify::{PublicKey, Signature};

/// Whether one of the keys has signed the bytes.
///
/// # Errors
/// Why not, for who pushes the plugin.
pub fn check(bytes: &[u8], signature: &str, trusted: &[String]) -> Result<(), String> {
    let signature = Signature::decode(signature).map_err(|_| {
        "the signature is none of minisign: give the .minisig file that minisign -Sm FILE writes beside the component".to_owned()
    })?;
    let mut keys = trusted.iter().filter_map(|text| PublicKey::from_base64(text).ok());
    // Not the old format, which signs the whole file at once: minisign has not written it since 2020.
    if keys.any(|key| key.verify(bytes, &signature, false).is_ok()) {
        return Ok(());
    }
    Err("the signature is not of these bytes by a key that this node trusts (plugins.trusted_keys in windlass.toml)".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_these_bytes_by_a_trusted_key() {
        let (ours, theirs) = (
            minisign::KeyPair::generate_unencrypted_keypair().unwrap(),
            minisign::KeyPair::generate_unencrypted_keypair().unwrap(),
        );
        let sign =
            |pair: &minisign::KeyPair, bytes: &[u8]| minisign::sign(None, &pair.sk, bytes, None, None).unwrap().to_string();
        let trusted = vec![ours.pk.to_base64()];
        let good = sign(&ours, b"component");
        assert_eq!(check(b"component", &good, &trusted), Ok(()));
        for (bytes, signature) in [
            (&b"componenu"[..], good.as_str()),
            (b"component", &sign(&theirs, b"component")),
            (b"component", "RW"),
            (b"component", ""),
        ] {
            assert!(check(bytes, signature, &trusted).is_err(), "{signature}");
        }
        assert!(check(b"component", &good, &[]).is_err());
    }
}
