//! What a job's plugin may do: the tenant's ceiling, set by the server's admin, and the job's grant inside it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::limits::LimitsSpec;
pub use super::secret::{SIGN_ALGORITHMS, SecretGrant, SecretUse};
use super::span::{Size, Span};
use crate::config::network;
use crate::error::{Problem, did_you_mean};

/// The most that grants of a tenant's jobs may give. Nothing is allowed that is not named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ceiling {
    /// Origins with `*.` for any name below: `https://*.example.org`, `http://127.0.0.1:8091`.
    pub hosts: Vec<String>,
    /// Private networks that may be reached, in CIDR form; public addresses need no entry, others are refused.
    pub networks: Vec<String>,
    pub memory: Size,
    pub scratch: Size,
    /// Of one attempt.
    pub time_limit: Span,
    #[serde(skip_serializing_if = "LimitsSpec::is_usual")]
    pub limits: LimitsSpec,
    /// Kinds of probes: `plugin`, `http`, `sql`, `redis` …
    pub probes: Vec<String>,
}

impl Default for Ceiling {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            networks: Vec::new(),
            memory: Size::mib(64),
            scratch: Size(0),
            time_limit: Span::secs(24 * 60 * 60),
            limits: LimitsSpec::default(),
            probes: vec!["plugin".into()],
        }
    }
}

/// Kinds that a ceiling may name. It permits; which of them can be used, [`super::trigger::ProbeKind`] says.
const PROBES: [&str; 7] = ["plugin", "http", "sql", "redis", "rabbitmq", "nats", "prometheus"];

impl Ceiling {
    /// `field` is the ceiling's path in its file.
    pub fn contradictions(&self, field: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut refuse = |path: String, message: String| problems.push(Problem::new(format!("{field}.{path}"), message));
        for (n, host) in self.hosts.iter().enumerate() {
            if let Err(wrong) = Origin::parse(host) {
                refuse(format!("hosts[{n}]"), wrong);
            }
        }
        for (n, text) in self.networks.iter().enumerate() {
            if let Err(wrong) = network(text) {
                refuse(format!("networks[{n}]"), wrong);
            }
        }
        for (n, probe) in self.probes.iter().enumerate() {
            if !PROBES.contains(&probe.as_str()) {
                refuse(
                    format!("probes[{n}]"),
                    format!("{probe:?} is no kind of probe{}; there are {}", did_you_mean(probe, PROBES), PROBES.join(", ")),
                );
            }
        }
        problems.extend(self.limits.contradictions(&format!("{field}.limits")));
        problems
    }
}

/// What one job's plugin may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grant {
    pub http: Vec<HttpGrant>,
    /// Linear memory and tables of the whole instance, and what the host holds for it.
    pub memory: Size,
    pub scratch: Size,
    #[serde(skip_serializing_if = "LimitsSpec::is_usual")]
    pub limits: LimitsSpec,
    pub secrets: Vec<SecretGrant>,
}

impl Default for Grant {
    fn default() -> Self {
        Self { http: Vec::new(), memory: Size::mib(64), scratch: Size(0), limits: LimitsSpec::default(), secrets: Vec::new() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpGrant {
    /// An origin: `https://api.example.org`, `http://127.0.0.1:8091`, `https://*.example.org`.
    pub host: String,
    #[serde(default = "HttpGrant::default_methods")]
    pub methods: Vec<String>,
}

impl HttpGrant {
    fn default_methods() -> Vec<String> {
        vec!["GET".into(), "HEAD".into()]
    }
}

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Scheme, host (exact, or `*.x` for any name below x) and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    pub tls: bool,
    pub host: String,
    pub port: u16,
}

impl Origin {
    /// `scheme://host[:port]` and nothing behind it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let right = "write scheme and host, as in \"https://api.example.org\" or \"http://127.0.0.1:8091\"";
        let (tls, rest) = match text.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ => return Err(format!("{text:?} is no origin: {right}")),
        };
        if rest.is_empty() || rest.contains(['/', '?', '#', '@']) {
            return Err(format!("{text:?} is no origin: no path, query or user in it; {right}"));
        }
        let name = rest.strip_prefix("*.").unwrap_or(rest);
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
            || name.is_empty()
            || name.starts_with(['.', ':'])
        {
            return Err(format!(
                "{text:?} is no origin: a \"*.\" may stand before a name, and nothing else in its place; {right}"
            ));
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                let number = port.parse().ok().filter(|port| *port > 0);
                (host, number.ok_or_else(|| format!("{port:?} in {text:?} is no port; write 1 to 65535"))?)
            }
            _ => (rest, if tls { 443 } else { 80 }),
        };
        Ok(Self { tls, host: host.trim_end_matches('.').to_ascii_lowercase(), port })
    }

    /// Whether `other` (which may have `*.` itself) lies inside this one.
    pub fn covers(&self, other: &Self) -> bool {
        let host =
            match self.host.strip_prefix("*.") {
                Some(parent) => other.host.trim_start_matches("*.").strip_suffix(parent).is_some_and(|below| {
                    below.ends_with('.') && below.len() > 1 || other.host.starts_with("*.") && below.is_empty()
                }),
                None => self.host == other.host,
            };
        host && self.tls == other.tls && self.port == other.port
    }
}

impl Grant {
    /// What the grant asks for beyond the ceiling. `field` is the grant's path in its file.
    pub fn beyond(&self, ceiling: &Ceiling, field: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let allowed: Vec<Origin> = ceiling.hosts.iter().filter_map(|host| Origin::parse(host).ok()).collect();
        for (n, http) in self.http.iter().enumerate() {
            let path = format!("{field}.http[{n}].host");
            match Origin::parse(&http.host) {
                Err(wrong) => problems.push(Problem::new(path, wrong)),
                Ok(origin) if !allowed.iter().any(|ceiling| ceiling.covers(&origin)) => problems.push(Problem::new(
                    path,
                    format!(
                        "{} is not within the tenant's ceiling; a server admin may add it: [ceiling] hosts = [{:?}]",
                        http.host, http.host
                    ),
                )),
                Ok(_) => {}
            }
        }
        for (what, asked, most) in [("memory", self.memory, ceiling.memory), ("scratch", self.scratch, ceiling.scratch)] {
            if asked > most {
                problems
                    .push(Problem::new(format!("{field}.{what}"), format!("{asked} is above the tenant's ceiling of {most}")));
            }
        }
        problems.extend(self.limits.beyond(&ceiling.limits, &format!("{field}.limits")));
        problems
    }

    /// What is wrong with it whatever the ceiling. `field` is the grant's path in its file.
    pub fn contradictions(&self, field: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (n, http) in self.http.iter().enumerate() {
            // Hosts: `beyond` says what is wrong with them.
            for (m, method) in http.methods.iter().enumerate() {
                if !METHODS.contains(&method.as_str()) {
                    let message =
                        format!("{method:?} is no method{}; there are {}", did_you_mean(method, METHODS), METHODS.join(", "));
                    problems.push(Problem::new(format!("{field}.http[{n}].methods[{m}]"), message));
                }
            }
        }
        let mut names = BTreeSet::new();
        for (n, secret) in self.secrets.iter().enumerate() {
            let field = format!("{field}.secrets[{n}]");
            if !names.insert(&secret.name) {
                problems.push(Problem::new(
                    format!("{field}.name"),
                    format!("{:?} is granted twice; a secret is used in one way", secret.name),
                ));
            }
            problems.extend(secret.contradictions(&field));
            problems.extend(secret.beyond(&self.http, &field));
        }
        problems.extend(self.limits.contradictions(&format!("{field}.limits")));
        problems
    }

    pub fn secret(&self, name: &str) -> Option<&SecretGrant> {
        self.secrets.iter().find(|secret| secret.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_covers_itself_and_a_star_what_is_below() {
        let covers = |a: &str, b: &str| Origin::parse(a).unwrap().covers(&Origin::parse(b).unwrap());
        assert!(covers("http://127.0.0.1:8091", "http://127.0.0.1:8091"));
        assert!(covers("https://*.example.org", "https://a.b.example.org"));
        assert!(covers("https://*.example.org", "https://*.example.org"));
        assert!(covers("https://*.example.org", "https://*.x.example.org"));
        assert!(!covers("https://*.example.org", "https://example.org"));
        assert!(!covers("https://*.example.org", "https://badexample.org"));
        assert!(!covers("https://*.example.org", "http://a.example.org"));
        assert!(!covers("http://127.0.0.1:8091", "http://127.0.0.1:8092"));
        assert!(!covers("https://a.example.org", "https://*.example.org"));
    }

    #[test]
    fn an_origin_has_no_path_and_no_user() {
        for wrong in [
            "",
            "127.0.0.1",
            "ftp://x",
            "http://a/b",
            "http://good@evil",
            "http://x:99999",
            "http://x:0",
            "http://*",
            "http://a.*.b",
            "http://*.",
            "http://a b",
        ] {
            assert!(Origin::parse(wrong).is_err(), "{wrong}");
        }
    }
}
