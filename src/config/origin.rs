//! Where each setting comes from, and what of it may be shown.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::Settings;
use super::document::{Document, is_within};
use crate::error::Result;

/// Who says what a setting is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Origin {
    #[default]
    Default,
    File {
        name: String,
        line: usize,
    },
    Variable(String),
    /// Of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// Of the keys that somebody wrote, by dotted path; the others are defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(BTreeMap<String, Origin>);

/// A key with what holds. What gives access is not in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    pub key: String,
    pub value: Value,
    pub origin: Origin,
}

impl Setting {
    /// The value as people read it.
    pub fn text(&self) -> String {
        plain(&self.value)
    }
}

impl Origins {
    /// `document` is the file with the environment put over it; `variables` name the paths that the environment gave.
    pub(super) fn read(document: &Document, variables: &BTreeMap<String, String>) -> Self {
        let mut origins = BTreeMap::new();
        for (key, _) in flat("", &document.value).into_iter().filter(|(key, _)| !key.is_empty()) {
            let given = variables.iter().filter(|(path, _)| is_within(&key, path)).max_by_key(|(path, _)| path.len());
            let origin = match given {
                Some((_, variable)) => Origin::Variable(variable.clone()),
                None => Origin::File { name: document.file.clone(), line: document.line(&key) },
            };
            origins.insert(key, origin);
        }
        Self(origins)
    }

    /// The command line says it.
    pub fn flag(&mut self, key: &str, flag: &'static str) {
        self.0.insert(key.to_owned(), Origin::Flag(flag));
    }

    pub fn of(&self, key: &str) -> Origin {
        self.0.get(key).cloned().unwrap_or_default()
    }
}

impl Settings {
    /// Every key there is with what holds, in the order of the document.
    ///
    /// # Errors
    /// None that can be: settings are JSON.
    pub fn effective(&self) -> Result<Vec<Setting>> {
        let all = flat("", &serde_json::to_value(self)?).into_iter();
        Ok(all.map(|(key, value)| Setting { origin: self.origins.of(&key), value: shown(&key, value), key }).collect())
    }
}

/// The leaves of a tree by dotted path. A list is a leaf unless there are tables in it.
pub fn flat(path: &str, value: &Value) -> Vec<(String, Value)> {
    match value {
        Value::Object(map) if !map.is_empty() => {
            let below = |(key, value): (&String, &Value)| {
                flat(&if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, value)
            };
            map.iter().flat_map(below).collect()
        }
        Value::Array(list) if list.iter().any(Value::is_object) => {
            list.iter().enumerate().flat_map(|(n, value)| flat(&format!("{path}[{n}]"), value)).collect()
        }
        leaf => vec![(path.to_owned(), leaf.clone())],
    }
}

/// As it stands in a file, without the quotes of a text.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => "none".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Without what gives access: passwords and secrets in URLs, and all behind the host where the path is one.
pub fn shown(key: &str, value: Value) -> Value {
    const HOOKS: [&str; 3] = ["webhook", "slack", "matrix"];
    let Value::String(text) = &value else { return value };
    let Some(begin) = text.find("://").map(|at| at + 3) else { return value };
    // A password may have any of the letters that end a host.
    let query = text.find('?').unwrap_or(text.len());
    let host = text[..query].rfind('@').map_or(begin, |at| begin.max(at + 1));
    let end = text[host..].find(['/', '?', '#']).map_or(text.len(), |at| host + at);
    let rest = &text[end..];
    let user = match text[begin..host].split_once(':') {
        Some((name, _)) => format!("{name}:…@"),
        None => text[begin..host].to_owned(),
    };
    let (scheme, authority) = (&text[..begin], format!("{user}{}", &text[host..end]));
    let path_is_secret = key == "heartbeat.url" || key.starts_with("alert") && HOOKS.iter().any(|hook| key.ends_with(hook));
    let rest = if path_is_secret && rest.len() > 1 { "/…".to_owned() } else { without_secrets(rest) };
    Value::String(format!("{scheme}{authority}{rest}"))
}

/// A path and its query, of which what is called a password or a key is left out.
fn without_secrets(rest: &str) -> String {
    let Some((path, query)) = rest.split_once('?') else { return rest.to_owned() };
    let part = |part: &str| match part.split_once('=') {
        Some((name, _)) if ["pass", "secret", "token", "key"].iter().any(|word| name.to_lowercase().contains(word)) => {
            format!("{name}=…")
        }
        _ => part.to_owned(),
    };
    format!("{path}?{}", query.split('&').map(part).collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_says_where_it_is_from_and_none_gives_access() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("windlass.toml");
        let text = "database_url = \"postgres://ann:hunter2/@#x@db.example.org/jobs?sslmode=require&sslpassword=hunter3\"\n\
                    worker = { runs_in_flight = 8 }\n[mail]\nsmtp = \"smtp://ann:hunter4@mail.example.org:587?tls=required\"\nfrom = \"w@example.org\"\n\
                    [heartbeat]\nurl = \"https://watch.example.org/hunter5\"\n[[alert]]\nslack = \"https://hooks.example.org/services/hunter6\"\n";
        std::fs::write(&file, text).unwrap();
        let env = [("WINDLASS_WORKER__GUEST_THREADS", "4"), ("WINDLASS_RETENTION", "{ dead = \"30d\" }")];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut settings = Settings::load(Some(&file), env.into_iter()).unwrap();
        settings.origins.flag("listen", "--listen");
        let all = settings.effective().unwrap();
        let of = |key: &str| {
            let found = all.iter().find(|one| one.key == key).unwrap_or_else(|| panic!("{key}"));
            (plain(&found.value), found.origin.to_string())
        };
        let at = |line: usize| format!("{}:{line}", file.display());
        let pair = |value: &str, from: &str| (value.to_owned(), from.to_owned());
        assert_eq!(of("database_url").0, "postgres://ann:…@db.example.org/jobs?sslmode=require&sslpassword=…");
        assert_eq!(of("worker.runs_in_flight"), pair("8", &at(2)));
        assert_eq!(of("worker.guest_threads"), pair("4", "WINDLASS_WORKER__GUEST_THREADS"));
        assert_eq!(of("worker.memory_budget"), pair("none", "default"), "its table is written, it is not");
        assert_eq!(of("retention.dead"), pair("30days", "WINDLASS_RETENTION"));
        assert_eq!(of("retention.logs"), pair("7days", "default"));
        assert_eq!(of("listen"), pair("127.0.0.1:7171", "--listen"));
        assert_eq!(of("mail.smtp"), pair("smtp://ann:…@mail.example.org:587?tls=required", &at(4)));
        assert_eq!(of("heartbeat.url").0, "https://watch.example.org/…");
        assert_eq!(of("alert[0].slack"), pair("https://hooks.example.org/…", &at(9)));
        assert_eq!(of("alert[0].repeat").1, "default");
        assert_eq!(of("otel"), pair("none", "default"));
        let text = format!("{all:?}");
        assert!(!text.contains("hunter"), "{text}");
    }

    #[test]
    fn every_key_of_the_document_is_there() {
        let all = Settings::default().effective().unwrap();
        for key in ["data_dir", "roles", "lease.skew", "network.target.concurrency", "artifacts.url", "plugins.require_signature"]
        {
            assert!(all.iter().any(|one| one.key == key), "{key}");
        }
    }
}
