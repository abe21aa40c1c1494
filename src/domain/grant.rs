//! What a job's plugin may do: the tenant's ceiling, set by the server's admin, and the job's grant inside it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::limits::LimitsSpec;
pub use super::origin::Origin;
use super::probe::{ProbeKind, sqlite_file};
pub use super::secret::{SIGN_ALGORITHMS, SecretGrant, SecretUse};
use super::span::{Size, Span};
use crate::config::network;
use crate::error::{Problem, did_you_mean};

/// The most that grants of a tenant's jobs may give. Nothing is allowed that is not named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ceiling {
    /// Origins with `*.` for any name below: `https://*.example.org`, `http://127.0.0.1:8091`, `redis://queue.internal`; and
    /// files of the machine, `sqlite:/srv/shop.db`, of those that windlass.toml names.
    pub hosts: Vec<String>,
    /// Private networks that may be reached, in CIDR form; public addresses need no entry, others are refused.
    pub networks: Vec<String>,
    pub memory: Size,
    pub scratch: Size,
    /// Of one attempt.
    pub time_limit: Span,
    #[serde(skip_serializing_if = "LimitsSpec::is_usual")]
    pub limits: LimitsSpec,
    /// Kinds of probes.
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

impl Ceiling {
    /// Whether it names this place.
    pub fn covers(&self, origin: &Origin) -> bool {
        self.hosts.iter().any(|host| Origin::parse(host).is_ok_and(|host| host.covers(origin)))
    }

    /// Why a probe may not query this SQLite file; `None` when it is named here.
    pub fn bars_file(&self, file: &str) -> Option<String> {
        if self.hosts.iter().any(|host| sqlite_file(host) == Some(file)) {
            return None;
        }
        let host = format!("sqlite:{file}");
        Some(format!("{host} is not within the tenant's ceiling; a server admin may add it: [ceiling] hosts = [{host:?}]"))
    }

    /// `field` is the ceiling's path in its file.
    pub fn contradictions(&self, field: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut refuse = |path: String, message: String| problems.push(Problem::new(format!("{field}.{path}"), message));
        for (n, host) in self.hosts.iter().enumerate() {
            let wrong = match sqlite_file(host) {
                Some(file) if file.starts_with('/') => None,
                Some(_) => Some(format!("{host:?} is no file; write it from the root, as in \"sqlite:/srv/shop.db\"")),
                None => Origin::parse(host).err(),
            };
            if let Some(wrong) = wrong {
                refuse(format!("hosts[{n}]"), wrong);
            }
        }
        for (n, text) in self.networks.iter().enumerate() {
            if let Err(wrong) = network(text) {
                refuse(format!("networks[{n}]"), wrong);
            }
        }
        for (n, probe) in self.probes.iter().enumerate() {
            let kinds = ProbeKind::ALL.map(ProbeKind::word);
            if !kinds.contains(&probe.as_str()) {
                refuse(
                    format!("probes[{n}]"),
                    format!("{probe:?} is no kind of probe{}; there are {}", did_you_mean(probe, kinds), kinds.join(", ")),
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
    #[serde(skip_serializing_if = "ArtifactGrant::is_none")]
    pub artifacts: ArtifactGrant,
}

/// Which files that other runs left behind it may read; its own run's need no grant to be written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArtifactGrant {
    /// Jobs of the same tenant, by name; the job itself only when it is named.
    pub read: Vec<String>,
}

impl ArtifactGrant {
    pub fn is_none(&self) -> bool {
        self.read.is_empty()
    }
}

impl Default for Grant {
    fn default() -> Self {
        Self {
            http: Vec::new(),
            memory: Size::mib(64),
            scratch: Size(0),
            limits: LimitsSpec::default(),
            secrets: Vec::new(),
            artifacts: ArtifactGrant::default(),
        }
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

impl Grant {
    /// What the grant asks for beyond the ceiling. `field` is the grant's path in its file.
    pub fn beyond(&self, ceiling: &Ceiling, field: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (n, http) in self.http.iter().enumerate() {
            let path = format!("{field}.http[{n}].host");
            match Origin::parse(&http.host) {
                Err(wrong) => problems.push(Problem::new(path, wrong)),
                Ok(origin) if !origin.scheme.is_http() => {
                    let message = format!("{} is not HTTP, and guests speak nothing else; write http:// or https://", http.host);
                    problems.push(Problem::new(path, message));
                }
                Ok(origin) if !ceiling.covers(&origin) => problems.push(Problem::new(
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
    fn a_ceiling_opens_a_protocol_and_a_grant_only_http() {
        let ceiling = Ceiling { hosts: vec!["redis://a.test".into(), "http://a.test".into()], ..Ceiling::default() };
        assert_eq!(ceiling.contradictions("ceiling"), []);
        let beyond = |host: &str| {
            let grant = Grant { http: vec![HttpGrant { host: host.into(), methods: vec!["GET".into()] }], ..Grant::default() };
            grant.beyond(&ceiling, "grant").iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(beyond("http://a.test"), Vec::<String>::new());
        assert!(beyond("redis://a.test")[0].contains("redis://a.test is not HTTP, and guests speak nothing else"));
        assert!(beyond("https://a.test")[0].contains("not within the tenant's ceiling"));
    }

    #[test]
    fn a_ceiling_opens_a_file_by_its_name() {
        let ceiling = |hosts: &[&str]| Ceiling { hosts: hosts.iter().map(ToString::to_string).collect(), ..Ceiling::default() };
        let open = ceiling(&["http://a.test", "sqlite:/srv/a.db", "sqlite:///srv/b.db"]);
        assert_eq!(
            (open.contradictions("ceiling"), open.bars_file("/srv/a.db"), open.bars_file("/srv/b.db")),
            (vec![], None, None)
        );
        let says = "sqlite:/srv/c.db is not within the tenant's ceiling; a server admin may add it: [ceiling] hosts = [\"sqlite:/srv/c.db\"]";
        assert_eq!(open.bars_file("/srv/c.db").as_deref(), Some(says));
        assert!(ceiling(&["sqlite:c.db"]).contradictions("ceiling")[0].message.contains("write it from the root"));
    }
}
