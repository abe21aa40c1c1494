//! What a job may do with a secret: one use, in one place, for the hosts that its grant names.

use serde::{Deserialize, Serialize};

use super::grant::{HttpGrant, Origin};
use super::plugin::is_name;
use crate::error::{Problem, did_you_mean};

/// How a secret may be used: to sign, with one algorithm and texts that begin in one way; or in one place of requests to
/// some hosts, where the host puts the value in the place of a stand-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretGrant {
    pub name: String,
    #[serde(rename = "use")]
    pub usage: SecretUse,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begins_with: Option<String>,
    /// For `use = "header"`: the header's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// For `use = "query"`: the parameter's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// Origins that may get it, each within one of the job's `http`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretUse {
    Sign,
    Header,
    Query,
    Body,
}

impl SecretUse {
    pub fn word(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::Header => "header",
            Self::Query => "query",
            Self::Body => "body",
        }
    }

    /// The keys that belong to it, beside `name` and `use`.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Sign => &["algorithm", "begins_with"],
            Self::Header => &["header", "hosts"],
            Self::Query => &["parameter", "hosts"],
            Self::Body => &["hosts"],
        }
    }
}

/// Algorithms that `sign` knows.
pub const SIGN_ALGORITHMS: [&str; 2] = ["hmac-sha1", "hmac-sha256"];

impl SecretGrant {
    /// Whether a request to this origin may carry it.
    pub fn is_for(&self, origin: &Origin) -> bool {
        self.hosts.iter().any(|host| Origin::parse(host).is_ok_and(|host| host.covers(origin)))
    }

    /// What is wrong with it by itself. `field` is its path in its file.
    pub(super) fn contradictions(&self, field: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut refuse = |key: &str, message: String| problems.push(Problem::new(format!("{field}.{key}"), message));
        if !is_name(&self.name) {
            refuse("name", format!("{:?} is no name; write a-z, 0-9 and -, beginning with a letter", self.name));
        }
        let word = self.usage.word();
        for (key, given) in [
            ("algorithm", self.algorithm.is_some()),
            ("begins_with", self.begins_with.is_some()),
            ("header", self.header.is_some()),
            ("parameter", self.parameter.is_some()),
            ("hosts", !self.hosts.is_empty()),
        ] {
            if given && !self.usage.keys().contains(&key) {
                refuse(key, format!("does not belong to use = {word:?}; leave it out"));
            }
        }
        match self.usage {
            SecretUse::Sign => {
                if let Some(wrong) = wrong_algorithm(self.algorithm.as_deref()) {
                    refuse("algorithm", wrong);
                }
                if self.begins_with.as_deref().unwrap_or_default().is_empty() {
                    refuse(
                        "begins_with",
                        "is missing, and use = \"sign\" needs it: how every text that may be signed begins".into(),
                    );
                }
            }
            SecretUse::Header if !self.header.as_deref().is_some_and(is_token) => {
                refuse("header", "is missing or no header's name, and use = \"header\" needs it, as in \"Authorization\"".into())
            }
            SecretUse::Query if !self.parameter.as_deref().is_some_and(is_token) => {
                refuse("parameter", "is missing or no parameter's name, and use = \"query\" needs it, as in \"api_key\"".into())
            }
            _ => {}
        }
        if self.usage != SecretUse::Sign && self.hosts.is_empty() {
            refuse(
                "hosts",
                format!("is missing, and use = {word:?} needs it: who may get the value, as in [\"https://api.example.org\"]"),
            );
        }
        problems
    }

    /// Hosts of its own that the job may not ask at all.
    pub(super) fn beyond(&self, http: &[HttpGrant], field: &str) -> Vec<Problem> {
        let granted: Vec<Origin> = http.iter().filter_map(|http| Origin::parse(&http.host).ok()).collect();
        let wrong = self.hosts.iter().enumerate().filter_map(|(n, host)| {
            let message = match Origin::parse(host) {
                Err(wrong) => wrong,
                Ok(origin) if granted.iter().any(|granted| granted.covers(&origin)) => return None,
                Ok(_) => {
                    format!("{host} is not among the hosts that the job may ask; add it there: http = [{{ host = {host:?} }}]")
                }
            };
            Some(Problem::new(format!("{field}.hosts[{n}]"), message))
        });
        wrong.collect()
    }
}

fn wrong_algorithm(algorithm: Option<&str>) -> Option<String> {
    let known = SIGN_ALGORITHMS.map(|name| format!("{name:?}")).join(" or ");
    match algorithm {
        None => Some(format!("is missing, and use = \"sign\" needs one; write {known}")),
        Some(name) if SIGN_ALGORITHMS.contains(&name) => None,
        Some(name) => Some(format!("{name:?} is not known{}; write {known}", did_you_mean(name, SIGN_ALGORITHMS))),
    }
}

/// Names of headers, and of parameters that need no encoding.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

#[cfg(test)]
mod tests {
    use crate::domain::grant::Grant;

    fn problems(toml: &str) -> Vec<String> {
        let grant: Grant = toml::from_str(toml).unwrap();
        grant.contradictions("grant").into_iter().map(|problem| format!("{}: {}", problem.field, problem.message)).collect()
    }

    #[test]
    fn a_secret_goes_to_hosts_that_the_job_may_ask() {
        let http = "http = [{ host = \"https://*.example.org\" }]\n";
        let secret = |rest: &str| format!("{http}secrets = [{{ name = \"key\", {rest} }}]");
        assert_eq!(problems(&secret(r#"use = "header", header = "X-Key", hosts = ["https://a.example.org"]"#)), [""; 0]);
        assert_eq!(problems(&secret(r#"use = "query", parameter = "key", hosts = ["https://*.example.org"]"#)), [""; 0]);
        for (rest, says) in [
            (r#"use = "body""#, "secrets[0].hosts: is missing"),
            (r#"use = "query", hosts = ["https://a.example.org"]"#, "secrets[0].parameter: is missing"),
            (r#"use = "body", hosts = ["https://evil.org"]"#, "secrets[0].hosts[0]: https://evil.org is not among"),
            (r#"use = "body", header = "X", hosts = ["https://a.example.org"]"#, "secrets[0].header: does not belong"),
            (r#"use = "sign", algorithm = "hmac-sha1", begins_with = "a", hosts = ["https://a.example.org"]"#, "hosts: does not"),
        ] {
            let found = problems(&secret(rest));
            assert!(found.len() == 1 && found[0].contains(says), "{rest}: {found:?}");
        }
    }
}
