//! JSON to a URL, signed as Standard Webhooks has it: libraries that check it exist in every language.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use hyper::header::HeaderValue;
use serde_json::{Value, json};
use sha2::Sha256;

use super::Letter;
use crate::clock::Timestamp;
use crate::id::Id;

pub(super) fn body(letter: &Letter) -> Value {
    json!({
        "type": format!("alert.{}", letter.notice.word()),
        "timestamp": letter.at,
        "data": {
            "id": letter.alert, "kind": letter.kind, "tenant": letter.tenant, "job": letter.job, "node": letter.node,
            "message": letter.message, "since": letter.since, "ended_at": letter.ended_at, "url": letter.url,
        },
    })
}

/// Id, time and signature of a message.
pub(super) fn headers(id: Id, now: Timestamp, body: &str, key: &[u8]) -> Vec<(&'static str, HeaderValue)> {
    let (id, seconds) = (id.to_string(), now.0.div_euclid(1_000).to_string());
    let signature = sign(&id, &seconds, body, key);
    [("webhook-id", id), ("webhook-timestamp", seconds), ("webhook-signature", signature)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, HeaderValue::from_str(&value).ok()?)))
        .collect()
}

/// `v1,` and the HMAC-SHA256 of id, time in seconds and body with dots between them, in base 64. A key that begins with
/// `whsec_` is the base 64 behind it, as the libraries write keys; any other is taken as it is.
pub fn sign(id: &str, seconds: &str, body: &str, key: &[u8]) -> String {
    let written = key.strip_prefix(b"whsec_").and_then(|text| STANDARD.decode(text.trim_ascii()).ok());
    let key = written.as_deref().unwrap_or(key);
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(format!("{id}.{seconds}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference libraries.
    #[test]
    fn signatures_are_those_of_standard_webhooks() {
        let signature = sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            "{\"test\": 2432232314}",
            b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
