//! Addresses with a query, encoded.

use std::fmt;

/// A path and what stands behind its question mark.
#[derive(Debug, Clone)]
pub struct Address {
    text: String,
    asked: bool,
}

impl Address {
    pub fn new(path: impl Into<String>) -> Self {
        Self { text: path.into(), asked: false }
    }

    #[must_use]
    pub fn some(mut self, key: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.text.push(if self.asked { '&' } else { '?' });
            self.asked = true;
            self.text.push_str(key);
            self.text.push('=');
            self.text.push_str(&encoded(value));
        }
        self
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A value as it stands behind a question mark.
pub fn encoded(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Where a login leads: a path on this server, or the overview.
pub fn local(to: &str) -> &str {
    let one_slash = to.starts_with('/') && !to.starts_with("//") && !to.starts_with("/\\");
    if one_slash && !to.bytes().any(|byte| byte.is_ascii_control()) { to } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded() {
        let address = Address::new("/runs").some("q", Some("a b&c=ü")).some("x", None).some("state", Some("dead"));
        assert_eq!(address.to_string(), "/runs?q=a%20b%26c%3D%C3%BC&state=dead");
    }

    #[test]
    fn a_login_leads_only_to_this_server() {
        for (to, right) in [
            ("/runs?x=1", "/runs?x=1"),
            ("//evil.example", "/"),
            ("https://evil.example", "/"),
            ("/\\evil", "/"),
            ("", "/"),
            ("/a\nb", "/"),
        ] {
            assert_eq!(local(to), right);
        }
    }
}
