//! How much one attempt of a run may take: every limit with its name, its default and what it cannot be above. The table
//! below is all there is; docs/limits.md shows it, and a test holds the two together.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::span::Size;
use crate::error::Problem;

/// A limit as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its key in `limits = { … }`.
    pub key: &'static str,
    pub default: String,
    /// No ceiling goes beyond it.
    pub most: String,
}

/// Of a guest, for everybody; beyond it `stack overflow`. It is the default of wasmtime.
pub const STACK: Size = Size(512 * 1024);

/// How much of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub enum Amount {
    Bytes(u64),
    Count(u64),
}

impl From<Size> for Amount {
    fn from(size: Size) -> Self {
        Self::Bytes(size.0)
    }
}

impl From<u64> for Amount {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(bytes) => Size(*bytes).fmt(f),
            Self::Count(count) => count.fmt(f),
        }
    }
}

macro_rules! limits {
    ($($(#[$doc:meta])* $key:ident: $kind:ty = $default:expr, at most $most:expr;)*) => {
        /// As they hold for an attempt.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Limits {
            $($(#[$doc])* pub $key: $kind,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }

        /// As written: the most that a ceiling allows, or what a job's grant asks for. What is not written is the default.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct LimitsSpec {
            $(
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $key: Option<$kind>,
            )*
        }

        impl Limits {
            /// What a grant comes to inside its ceiling. A default above the ceiling gives way to it.
            pub fn of(grant: &LimitsSpec, ceiling: &LimitsSpec) -> Self {
                let usual = Self::default();
                Self { $($key: grant.$key.unwrap_or(usual.$key).min(ceiling.$key.unwrap_or(usual.$key)),)* }
            }

            /// All of them, by key.
            pub fn amounts(&self) -> Vec<(&'static str, Amount)> {
                vec![$((stringify!($key), self.$key.into()),)*]
            }

            /// What there is to know of all of them.
            pub fn known() -> Vec<Known> {
                let usual = Self::default();
                vec![$(Known {
                    key: stringify!($key),
                    default: written(&usual.$key),
                    most: written(&<$kind>::from($most)),
                },)*]
            }
        }

        impl LimitsSpec {
            pub fn is_usual(&self) -> bool {
                *self == Self::default()
            }

            /// What is written, by key.
            pub fn written(&self) -> Vec<(&'static str, String)> {
                let mut all = Vec::new();
                $(all.extend(self.$key.map(|amount| (stringify!($key), written(&amount))));)*
                all
            }

            /// What asks for more than a ceiling gives. `field` is the path of these limits in their file.
            pub fn beyond(&self, ceiling: &Self, field: &str) -> Vec<Problem> {
                let usual = Limits::default();
                let mut problems = Vec::new();
                $(if let Some(asked) = self.$key && asked > ceiling.$key.unwrap_or(usual.$key) {
                    let most = ceiling.$key.unwrap_or(usual.$key);
                    problems.push(too_much(field, stringify!($key), &asked, &most, "the tenant's ceiling"));
                })*
                problems
            }

            /// What cannot be, whatever the ceiling.
            pub fn contradictions(&self, field: &str) -> Vec<Problem> {
                let mut problems = Vec::new();
                $(if let Some(asked) = self.$key && asked > <$kind>::from($most) {
                    problems.push(too_much(field, stringify!($key), &asked, &<$kind>::from($most), "what is possible"));
                })*
                problems
            }
        }
    };
}

limits! {
    /// Bytes of the data that a success answers.
    output_bytes: Size = Size::mib(1), at most Size::mib(16);
    /// Bytes of log that are kept; what comes after is counted and dropped.
    log_bytes: Size = Size::mib(1), at most Size::mib(64);
    /// Lines of log that are kept; the same.
    log_lines: u64 = 20_000, at most 1_000_000_u64;
    /// HTTP requests in all.
    requests: u64 = 10_000, at most 1_000_000_u64;
    /// HTTP requests under way at a time.
    open_requests: u64 = 16, at most 256_u64;
    /// Bytes of one request's body.
    request_bytes: Size = Size::mib(16), at most Size::mib(4096);
    /// Bytes of one answer's body.
    response_bytes: Size = Size::mib(16), at most Size::mib(4096);
    /// Keys of the job's state, over all its runs.
    state_keys: u64 = 1_000, at most 100_000_u64;
    /// Bytes of the job's state, over all its runs.
    state_bytes: Size = Size::mib(1), at most Size::mib(256);
    /// Items of a run.
    items: u64 = 10_000, at most 100_000_u64;
    /// Bytes of names, inputs and outputs of items that one attempt stores.
    item_bytes: Size = Size::mib(32), at most Size::mib(512);
    /// Files that a run leaves behind.
    artifacts: u64 = 100, at most 10_000_u64;
    /// Bytes of these files together.
    artifact_bytes: Size = Size::mib(64), at most Size::mib(65_536);
    /// Elements of all tables of the instance; each counts as 8 bytes of its memory, too.
    table_elements: u64 = 65_536, at most 1_000_000_u64;
    /// Modules that the component is made of, as they are instantiated.
    instances: u64 = 100, at most 1_000_u64;
    /// Things of the host that a guest holds at a time: streams, requests, headers, files.
    handles: u64 = 256, at most 4_096_u64;
}

/// As it stands in a tenant file, without its quotes.
fn written(amount: &impl Serialize) -> String {
    match serde_json::to_value(amount) {
        Ok(Value::String(text)) => text,
        Ok(number) => number.to_string(),
        Err(_) => String::new(),
    }
}

fn too_much(field: &str, key: &str, asked: &impl Serialize, most: &impl Serialize, whose: &str) -> Problem {
    let (asked, most) = (written(asked), written(most));
    let way = if whose == "the tenant's ceiling" { "; a server admin may raise it: [ceiling] limits" } else { "; write less" };
    Problem::new(format!("{field}.{key}"), format!("{asked} is above {whose}, {most}{way}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> LimitsSpec {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_grant_is_held_by_its_ceiling_and_both_by_what_is_possible() {
        let (none, ceiling) = (LimitsSpec::default(), spec("requests = 50\nlog_bytes = \"4 MiB\""));
        assert_eq!(Limits::of(&none, &none), Limits::default());
        // A default gives way, what is written is refused.
        assert_eq!(Limits::of(&none, &ceiling).requests, 50);
        assert_eq!(Limits::of(&none, &ceiling).log_bytes, Size::mib(1));
        assert!(none.beyond(&ceiling, "limits").is_empty());
        let asked = spec("requests = 51\nlog_bytes = \"3 MiB\"\nitems = 10001");
        let told: Vec<String> = asked.beyond(&ceiling, "job[0].grant.limits").iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].starts_with("job[0].grant.limits.requests: 51 is above the tenant's ceiling, 50; a server admin"),
            "{told:?}"
        );
        assert!(told[1].starts_with("job[0].grant.limits.items: 10001 is above the tenant's ceiling, 10000"), "{told:?}");
        assert_eq!(Limits::of(&asked, &ceiling).log_bytes, Size::mib(3));
        let wrong = spec("log_bytes = \"65 MiB\"").contradictions("ceiling.limits");
        assert_eq!(wrong[0].to_string(), "ceiling.limits.log_bytes: 65 MiB is above what is possible, 64 MiB; write less");
        assert!(toml::from_str::<LimitsSpec>("output = 1").is_err());
        assert_eq!(ceiling.written(), [("log_bytes", "4 MiB".to_owned()), ("requests", "50".to_owned())]);
    }

    #[test]
    fn the_document_has_every_limit_with_its_numbers() {
        let document = include_str!("../../docs/limits.md");
        for Known { key, default, most } in Limits::known() {
            let row = format!("| `{key}` | {default} | {most} |");
            assert!(document.contains(&row), "docs/limits.md lacks: {row}");
        }
    }
}
