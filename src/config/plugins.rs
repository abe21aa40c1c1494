//! Which plugins a node takes.

use minisign_verify::PublicKey;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plugins {
    /// Only those that one of `trusted_keys` has signed.
    pub require_signature: bool,
    /// Public keys of minisign: the second line of a `.pub` file.
    pub trusted_keys: Vec<String>,
}

impl Plugins {
    /// Keys, and what is wrong with them.
    pub(super) fn contradictions(&self) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        if self.require_signature && self.trusted_keys.is_empty() {
            let message = "is empty, and require_signature would let no plugin in; write the keys that sign them";
            wrong.push(("trusted_keys".to_owned(), message.to_owned()));
        }
        for (n, key) in self.trusted_keys.iter().enumerate().filter(|(_, key)| PublicKey::from_base64(key).is_err()) {
            let message = format!("{key:?} is no key of minisign; write the second line of its .pub file, which begins with RW");
            wrong.push((format!("trusted_keys[{n}]"), message));
        }
        wrong
    }
}
