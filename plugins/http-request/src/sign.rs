//! A signature over the request, in one of its headers. The host makes it; the secret is never seen here.

use serde_json::{Map, Value, json};
use windlass_plugin::{Failure, sign};

use crate::config::{Reader, is_token};
use crate::template::Template;

pub const ALGORITHMS: [&str; 2] = ["hmac-sha1", "hmac-sha256"];
/// What the text to sign may name beside the usual, and what the header with the signature may.
const SIGNED: &[&str] = &["body", "timestamp", "method", "url", "input", "tenant", "job", "run", "attempt", "trigger"];
const SIGNATURE: &[&str] = &["signature", "timestamp"];

#[derive(Debug, Clone, PartialEq)]
pub struct Sign {
    pub secret: String,
    pub algorithm: String,
    /// What is signed.
    pub text: Template,
    pub header: String,
    /// What stands in the header.
    pub value: Template,
}

impl Sign {
    /// `values` has the body, the method, the URL and the time beside the usual.
    pub fn signature(&self, values: &Value) -> Result<String, Failure> {
        let lacks = |place: &'static str| move |wrong: String| Failure::permanent(format!("config.sign.{place}: {wrong}"));
        let text = self.text.fill(values, str::to_owned).map_err(lacks("text"))?;
        let signature = sign::sign_hex(&self.secret, &self.algorithm, text.as_bytes())
            .map_err(|refusal| Failure::from(refusal).context(&format!("signing with secret \"{}\"", self.secret)))?;
        let values = json!({ "signature": signature, "timestamp": values["timestamp"] });
        self.value.fill(&values, str::to_owned).map_err(lacks("value"))
    }
}

impl Reader {
    pub fn sign(&mut self, config: &Map<String, Value>) -> Option<Sign> {
        let value = config.get("sign")?;
        let Some(table) = value.as_object() else {
            self.wrong("sign", format!("{value} is no table, as in {{ secret = \"hook-key\", header = \"X-Signature\" }}"));
            return None;
        };
        self.unknown(table, "sign.", &["secret", "algorithm", "text", "header", "value"]);
        let mut text = |key: &str, usual: Option<&str>| match table.get(key) {
            Some(Value::String(text)) if !text.is_empty() => text.clone(),
            None if usual.is_some() => usual.unwrap_or_default().to_owned(),
            Some(other) => {
                self.wrong(format!("sign.{key}"), format!("{other} is no text"));
                String::new()
            }
            None => {
                self.wrong(format!("sign.{key}"), "is missing");
                String::new()
            }
        };
        let (secret, algorithm) = (text("secret", None), text("algorithm", Some("hmac-sha256")));
        let (signed, header, value) =
            (text("text", Some("{{body}}")), text("header", None), text("value", Some("{{signature}}")));
        if !algorithm.is_empty() && !ALGORITHMS.contains(&algorithm.as_str()) {
            self.wrong("sign.algorithm", format!("{algorithm:?} is not known; write {}", ALGORITHMS.join(" or ")));
        }
        if !header.is_empty() && !is_token(&header) {
            self.wrong("sign.header", format!("{header:?} is no name of a header"));
        }
        Some(Sign {
            text: self.template("sign.text", &signed, SIGNED),
            value: self.template("sign.value", &value, SIGNATURE),
            secret,
            algorithm,
            header,
        })
    }
}
