//! Signs with a secret that the guest never sees, for texts that begin as the grant says.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

use crate::domain::grant::{SIGN_ALGORITHMS, SecretGrant, SecretUse};
use crate::plugin::bindings::windlass::plugin::sign::{Host, Refusal};
use crate::plugin::instance::{Context, Guest};
use crate::plugin::journal::{Level, Line};
use crate::plugin::tape::Refused;

impl Host for Guest {
    fn sign(&mut self, secret: String, algorithm: String, bytes: Vec<u8>) -> Result<Vec<u8>, Refusal> {
        let context = &self.context;
        context.journal.asked(|asks| asks.secrets += 1);
        let live = || {
            let signed = sign(context, &secret, &algorithm, &bytes);
            let (level, message) = match &signed {
                Ok(_) => (Level::Debug, format!("signed {} bytes with the secret {secret:?} ({algorithm})", bytes.len())),
                Err(refusal) => (Level::Warn, format!("signing refused: {}", refusal.message)),
            };
            context.journal.log(Line { at: context.clock.now(), level, message, fields: Vec::new() });
            signed.map_err(|Refusal { code, message }| Refused { code, message })
        };
        let signed = context.tape.called("sign", &[secret.as_bytes(), algorithm.as_bytes(), &bytes], live);
        signed.map_err(|Refused { code, message }| Refusal { code, message })
    }
}

/// Bytes of the name of a secret or an algorithm: they stand in messages.
const NAME: usize = 128;

fn sign(context: &Context, name: &str, algorithm: &str, bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    if name.len() > NAME || algorithm.len() > NAME {
        return Err(refusal("no-such-secret", format!("a name of a secret or an algorithm has at most {NAME} bytes")));
    }
    if !SIGN_ALGORITHMS.contains(&algorithm) {
        let known = SIGN_ALGORITHMS.join(", ");
        return Err(refusal("unknown-algorithm", format!("{algorithm:?} is not known here; there are {known}")));
    }
    let allowing = |begins_with: &str| {
        format!(
            "to allow it: grant.secrets = [{{ name = {name:?}, use = \"sign\", algorithm = {algorithm:?}, begins_with = {begins_with:?} }}]"
        )
    };
    let Some(grant) = context.grant.secret(name) else {
        return Err(refusal(
            "not-granted",
            format!("the secret {name:?} is not granted to this job; {}", allowing(&beginning(bytes))),
        ));
    };
    allowed(grant, algorithm, bytes).map_err(|(code, why)| {
        let begins_with = grant.begins_with.clone().filter(|_| code != "wrong-beginning").unwrap_or_else(|| beginning(bytes));
        refusal(code, format!("{why}; {}", allowing(&begins_with)))
    })?;
    let Some(secret) = context.secrets.get(name) else {
        return Err(refusal(
            "no-such-secret",
            format!("the tenant has no secret {name:?}; set it: windlass secret set TENANT/{name}"),
        ));
    };
    let signed =
        if algorithm == "hmac-sha1" { mac::<Hmac<Sha1>>(&secret.0, bytes) } else { mac::<Hmac<Sha256>>(&secret.0, bytes) };
    context.journal.secret(name);
    signed.ok_or_else(|| refusal("no-such-secret", format!("the secret {name:?} cannot be used as a key")))
}

fn allowed(grant: &SecretGrant, algorithm: &str, bytes: &[u8]) -> Result<(), (&'static str, String)> {
    let name = &grant.name;
    if grant.usage != SecretUse::Sign {
        return Err(("not-granted", format!("the secret {name:?} is granted for another use than signing")));
    }
    match grant.algorithm.as_deref() {
        Some(granted) if granted == algorithm => {}
        granted => {
            let granted = granted.unwrap_or("none");
            return Err((
                "wrong-algorithm",
                format!("the secret {name:?} is granted for the algorithm {granted}, not {algorithm}"),
            ));
        }
    }
    // Without a beginning the guest could sign anything: that must be written out, as an empty text.
    let Some(begins_with) = grant.begins_with.as_deref() else {
        return Err(("wrong-beginning", format!("the grant of the secret {name:?} says not how texts must begin")));
    };
    if bytes.starts_with(begins_with.as_bytes()) {
        return Ok(());
    }
    let begins = beginning(bytes);
    Err((
        "wrong-beginning",
        format!("the secret {name:?} is granted for texts that begin with {begins_with:?}, not with {begins:?}"),
    ))
}

/// Of the text to sign, enough to recognise it.
fn beginning(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(24)]).into_owned()
}

fn mac<M: Mac + KeyInit>(key: &[u8], bytes: &[u8]) -> Option<Vec<u8>> {
    let mut mac = <M as KeyInit>::new_from_slice(key).ok()?;
    mac.update(bytes);
    Some(mac.finalize().into_bytes().to_vec())
}

fn refusal(code: &str, message: String) -> Refusal {
    Refusal { code: code.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn signs_as_the_standards_do() {
        // RFC 2202, test case 2; RFC 4231, test case 2.
        let (key, text) = (b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex(&mac::<Hmac<Sha1>>(key, text).unwrap()), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        assert_eq!(
            hex(&mac::<Hmac<Sha256>>(key, text).unwrap()),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_grant_fixes_algorithm_and_beginning() {
        let grant = SecretGrant {
            name: "key".into(),
            usage: SecretUse::Sign,
            algorithm: Some("hmac-sha1".into()),
            begins_with: Some("async=0&".into()),
            header: None,
            parameter: None,
            hosts: Vec::new(),
        };
        assert!(allowed(&grant, "hmac-sha1", b"async=0&x").is_ok());
        assert_eq!(allowed(&grant, "hmac-sha256", b"async=0&x").unwrap_err().0, "wrong-algorithm");
        assert_eq!(allowed(&grant, "hmac-sha1", b"async=1&x").unwrap_err().0, "wrong-beginning");
        let header = SecretGrant { usage: SecretUse::Header, ..grant };
        assert_eq!(allowed(&header, "hmac-sha1", b"async=0&x").unwrap_err().0, "not-granted");
    }
}
