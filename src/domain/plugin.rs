//! A plugin: a Wasm component with a name and a version, pinned by the digest of its bytes.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::Id;

/// What a job asks for: the newest version that fits, one version, or one digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PluginRef {
    pub name: String,
    pub want: Want,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    Newest,
    /// `@1` or `@1.4`: the newest version that begins so.
    Line(String),
    /// `@1.4.2`
    Exactly(String),
    /// `@sha256:…`
    Digest(String),
}

impl FromStr for PluginRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, want) = text.split_once('@').map_or((text, None), |(name, want)| (name, Some(want)));
        if !is_name(name) {
            return Err(format!("{name:?} is no plugin name: a-z, 0-9 and -, beginning with a letter"));
        }
        let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let want = match want {
            None => Want::Newest,
            Some(digest) if digest.starts_with("sha256:") => Want::Digest(digest.to_owned()),
            Some(version) => {
                let core = version.split(['-', '+']).next().unwrap_or_default();
                let parts: Vec<&str> = core.split('.').collect();
                match parts.len() {
                    1 | 2 if core == version && parts.iter().copied().all(number) => Want::Line(version.to_owned()),
                    3 if parts.iter().copied().all(number) => Want::Exactly(version.to_owned()),
                    _ => {
                        return Err(format!(
                            "{version:?} is no version: write \"{name}@1\", \"{name}@1.4.2\" or \"{name}@sha256:…\""
                        ));
                    }
                }
            }
        };
        Ok(Self { name: name.to_owned(), want })
    }
}

impl TryFrom<String> for PluginRef {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<PluginRef> for String {
    fn from(plugin: PluginRef) -> Self {
        plugin.to_string()
    }
}

impl fmt::Display for PluginRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.want {
            Want::Newest => f.write_str(&self.name),
            Want::Line(v) | Want::Exactly(v) | Want::Digest(v) => write!(f, "{}@{v}", self.name),
        }
    }
}

/// Names of tenants, jobs and plugins: they stand in URLs.
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 63
        && bytes.next().is_some_and(|b| b.is_ascii_lowercase())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// A plugin as stored; its bytes stand apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plugin {
    pub name: String,
    pub version: String,
    /// `sha256:…` of the component's bytes.
    pub digest: String,
    /// Owner; `Id(0)` is the server, whose plugins everybody may use.
    #[serde(skip)]
    pub tenant: Id,
    pub bytes: u64,
    pub exports: Vec<String>,
    pub imports: Vec<String>,
    /// What the plugin says of itself, JSON.
    pub description: serde_json::Value,
    pub pushed_at: Timestamp,
    pub pushed_by: String,
    /// What minisign wrote about its bytes, checked when it was pushed.
    #[serde(skip)]
    pub signature: Option<String>,
}

/// A module on its way to a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    pub id: Id,
    /// Owner; `Id(0)` is the server.
    pub tenant: Id,
    /// The plugin's; before that is known, what it is called by who pushes it, or nothing.
    pub name: String,
    pub version: Option<String>,
    /// Of the bytes that were pushed.
    pub digest: String,
    pub bytes: u64,
    pub state: PushState,
    /// Why it was refused.
    pub message: Option<String>,
    /// Ready, and these bytes were not there before.
    pub fresh: bool,
    pub begun_at: Timestamp,
    /// The last word of the node that has it.
    pub at: Timestamp,
    pub pushed_by: String,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushState {
    /// Another module is being compiled.
    Waiting,
    Compiling,
    /// It is compiled, and says what it is.
    Describing,
    Ready,
    Refused,
    /// Its node has not said a word of it for a minute.
    Lost,
}

impl PushState {
    const STORED: [Self; 5] = [Self::Waiting, Self::Compiling, Self::Describing, Self::Ready, Self::Refused];

    /// As it stands in the database, the API and on pages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Compiling => "compiling",
            Self::Describing => "describing",
            Self::Ready => "ready",
            Self::Refused => "refused",
            Self::Lost => "lost",
        }
    }

    pub fn parse(word: &str) -> Self {
        Self::STORED.into_iter().find(|state| state.word() == word).unwrap_or(Self::Lost)
    }

    pub fn is_final(self) -> bool {
        matches!(self, Self::Ready | Self::Refused | Self::Lost)
    }
}

impl Push {
    /// A node says a word so often of what it has.
    pub const WORD: Duration = Duration::from_secs(10);

    /// As it is now: lost, where its node has gone.
    pub fn seen(mut self, now: Timestamp) -> Self {
        if !self.state.is_final() && now.since(self.at) > 6 * Self::WORD {
            self.state = PushState::Lost;
            self.message = Some("the node that had it is gone: push it again".into());
        }
        self
    }
}

impl Plugin {
    /// Whether it has the contract's `backlog` export.
    pub fn measures(&self) -> bool {
        self.exports.iter().any(|name| name.starts_with("windlass:plugin/backlog@"))
    }

    /// Whether it declares items.
    pub fn has_items(&self) -> bool {
        self.imports.iter().any(|name| name.starts_with("windlass:plugin/items@"))
    }

    /// Whether it is what `want` asks for, apart from being the newest.
    pub fn fits(&self, want: &Want) -> bool {
        match want {
            Want::Newest => true,
            Want::Line(line) => self.version.strip_prefix(line.as_str()).is_some_and(|rest| rest.starts_with('.')),
            // Embedded plugins carry "+digest" behind their version; it does not count in a comparison (semver.org, 10).
            Want::Exactly(version) => self.version == *version || self.version.split('+').next() == Some(version),
            Want::Digest(digest) => self.digest == *digest,
        }
    }

    /// Orders versions by their numbers; a pre-release comes before its release.
    pub fn version_key(&self) -> (Vec<u64>, bool, Timestamp) {
        let core = self.version.split(['-', '+']).next().unwrap_or_default();
        let numbers = core.split('.').map(|n| n.parse().unwrap_or(0)).collect();
        (numbers, !self.version.split('+').next().unwrap_or_default().contains('-'), self.pushed_at)
    }
}
