//! Notifications that programs outside send to a job, signed as Standard Webhooks says: the id, the time and the body with one
//! secret, so that nobody else can send one, and nobody can send an old one again.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Sha256;

use super::plugin::is_name;
use super::span::Span;
use crate::clock::Timestamp;
use crate::error::Problem;

/// Bytes of one notification's body.
pub const BODY_LIMIT: usize = 64 * 1024;
/// Notifications that wait for one job; further ones are refused, and their sender tries again.
pub const WAITING_LIMIT: u64 = 1_000;
/// Notifications that one run handles, and their bytes together.
pub const RUN_LIMIT: usize = 100;
pub const RUN_BYTES: usize = 256 * 1024;
/// A signature is believed so long before and after its time, and once.
pub const TOLERANCE: Duration = Duration::from_secs(300);
/// What arrives within a longer window would be more than one run handles.
const LONGEST_DEBOUNCE: Span = Span::secs(3_600);

/// `{ webhook = { secret = "hook-key", debounce = "30s" } }`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookSpec {
    /// The tenant's secret that signs. Without one, only who has a token may notify.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// What arrives within so long after the first is one run's.
    #[serde(default)]
    pub debounce: Span,
}

impl HookSpec {
    pub(super) fn contradictions(&self, field: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(secret) = self.secret.as_ref().filter(|secret| !is_name(secret)) {
            let message = format!("{secret:?} is no name of a secret; write a-z, 0-9 and -, beginning with a letter");
            problems.push(Problem::new(format!("{field}.secret"), message));
        }
        if self.debounce > LONGEST_DEBOUNCE {
            let message = format!("{} is too long to gather notifications; write at most \"1h\", as in \"30s\"", self.debounce);
            problems.push(Problem::new(format!("{field}.debounce"), message));
        }
        problems
    }
}

/// A notification as it came.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// `webhook-id`: the same for each try to deliver it.
    pub id: &'a str,
    /// `webhook-timestamp`: seconds since 1970.
    pub timestamp: &'a str,
    /// `webhook-signature`: one or more of `v1,BASE64`, with a space between.
    pub signature: &'a str,
    pub body: &'a [u8],
}

impl Delivery<'_> {
    /// Whether the secret has signed it, at about this time.
    ///
    /// # Errors
    /// Why not, for the server's log: whoever sent it is not told.
    pub fn check(&self, secret: &[u8], now: Timestamp) -> Result<(), &'static str> {
        let seconds: i64 = self.timestamp.parse().map_err(|_| "webhook-timestamp is no number of seconds")?;
        let sent = Timestamp(seconds.saturating_mul(1_000));
        if now.since(sent).max(sent.since(now)) > TOLERANCE {
            return Err("webhook-timestamp is more than 5 minutes away");
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(&key(secret)).map_err(|_| "the secret is no key")?;
        mac.update(format!("{}.{}.", self.id, self.timestamp).as_bytes());
        mac.update(self.body);
        let signatures = self.signature.split(' ').filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok());
        // verify_slice takes the same time wherever the two differ.
        let right = signatures.take(5).any(|signature| mac.clone().verify_slice(&signature).is_ok());
        right.then_some(()).ok_or("no signature in webhook-signature is of this id, time and body by the secret")
    }

    /// What the run gets of it: JSON as it is, anything else as text.
    pub fn payload(&self) -> Value {
        serde_json::from_slice(self.body).unwrap_or_else(|_| json!({ "text": String::from_utf8_lossy(self.body) }))
    }
}

/// Senders show secrets as `whsec_` and base 64; any other text signs as it is.
fn key(secret: &[u8]) -> Vec<u8> {
    let packed = secret.strip_prefix(b"whsec_").and_then(|packed| STANDARD.decode(packed).ok());
    packed.unwrap_or_else(|| secret.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_341_600_000);

    fn sign(secret: &[u8], id: &str, seconds: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
        mac.update(format!("{id}.{seconds}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }

    /// The example of the specification's own libraries.
    #[test]
    fn a_signature_is_as_standard_webhooks_says() {
        let delivery = Delivery {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
            timestamp: "1614265330",
            signature: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            body: br#"{"test": 2432232314}"#,
        };
        let at = Timestamp(1_614_265_330_000);
        assert_eq!(delivery.check(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", at), Ok(()));
        assert!(delivery.check(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSx", at).is_err());
    }

    #[test]
    fn what_differs_in_anything_that_was_signed_is_refused_and_so_is_what_is_old() {
        let seconds = NOW.0 / 1_000;
        let (good, time) = (sign(b"hunter2", "a", seconds, b"{}"), seconds.to_string());
        let delivery = Delivery { id: "a", timestamp: &time, signature: &good, body: b"{}" };
        assert_eq!(delivery.check(b"hunter2", NOW), Ok(()));
        let two = format!("v1,AAAA {good}");
        assert_eq!(Delivery { signature: &two, ..delivery }.check(b"hunter2", NOW), Ok(()), "one of them is enough");
        let later = (seconds + 1).to_string();
        for wrong in [
            Delivery { id: "b", ..delivery },
            Delivery { timestamp: &later, ..delivery },
            Delivery { timestamp: "now", ..delivery },
            Delivery { body: b"{ }", ..delivery },
            Delivery { signature: "", ..delivery },
            Delivery { signature: &good[3..], ..delivery },
        ] {
            assert!(wrong.check(b"hunter2", NOW).is_err(), "{wrong:?}");
        }
        for away in [NOW.plus(TOLERANCE + Duration::from_secs(1)), NOW.minus(TOLERANCE + Duration::from_secs(1))] {
            assert!(delivery.check(b"hunter2", away).unwrap_err().contains("5 minutes"));
        }
    }
}
