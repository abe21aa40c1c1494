//! What an answer that is not the expected one, or none, comes to. README.md shows the defaults as a table.

use std::fmt;

use windlass_plugin::{Class, Failure};

/// How much of a target's own words a message quotes.
pub const QUOTED: usize = 500;
/// How long a snooze lasts when the target does not say.
const REST_MS: u64 = 30_000;

/// What may happen to a request, and what a class is chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    Status(u16),
    /// `"5xx"`: any status of that hundred.
    Hundred(u16),
    /// It certainly did not reach the target: refused, no such name, no connection in time, TLS.
    Unsent,
    /// The target may have got it: no answer in time, a reset, half an answer.
    Unanswered,
}

impl Case {
    pub fn parse(value: &serde_json::Value) -> Result<Self, String> {
        let right = "write a status as in 503, a hundred as in \"5xx\", \"unsent\" or \"unanswered\"";
        let status = |number: u64| u16::try_from(number).ok().filter(|status| (100..600).contains(status)).map(Self::Status);
        let found = match value {
            serde_json::Value::Number(number) => number.as_u64().and_then(status),
            serde_json::Value::String(text) => match text.as_str() {
                "unsent" => Some(Self::Unsent),
                "unanswered" => Some(Self::Unanswered),
                text => match text.strip_suffix("xx").map(str::parse::<u16>) {
                    Some(Ok(hundred @ 1..=5)) => Some(Self::Hundred(hundred)),
                    Some(_) => None,
                    None => text.parse().ok().and_then(status),
                },
            },
            _ => None,
        };
        found.ok_or_else(|| format!("{value} is no answer to expect: {right}"))
    }

    /// Whether this case, as it stands in a configuration, speaks of what happened.
    fn covers(self, happened: Self) -> bool {
        match (self, happened) {
            (Self::Hundred(hundred), Self::Status(status)) => status / 100 == hundred,
            _ => self == happened,
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::Hundred(hundred) => write!(f, "{hundred}xx"),
            Self::Unsent => f.write_str("unsent"),
            Self::Unanswered => f.write_str("unanswered"),
        }
    }
}

pub fn is_among(happened: Case, cases: &[Case]) -> bool {
    cases.iter().any(|case| case.covers(happened))
}

/// What the configuration says of a case, the exact one before its hundred; else the default.
pub fn class(happened: Case, configured: &[(Case, Class)]) -> Class {
    let exact = configured.iter().find(|(case, _)| *case == happened);
    let said = exact.or_else(|| configured.iter().find(|(case, _)| case.covers(happened)));
    said.map_or_else(|| usual(happened), |(_, class)| *class)
}

fn usual(happened: Case) -> Class {
    match happened {
        Case::Unsent | Case::Unanswered | Case::Status(408 | 425 | 429 | 500..=599) | Case::Hundred(5) => Class::Transient,
        Case::Status(_) | Case::Hundred(_) => Class::Permanent,
    }
}

/// A failure of this class; `retry_after_ms` is what the target asked for.
pub fn failure(class: Class, message: String, retry_after_ms: Option<u64>) -> Failure {
    let failure = Failure::new(class, message);
    match (class, retry_after_ms) {
        (Class::Permanent, _) | (Class::Transient, None) => failure,
        (_, Some(delay_ms)) => failure.after(delay_ms),
        (Class::Snooze, None) => failure.after(REST_MS),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn case(value: serde_json::Value) -> Case {
        Case::parse(&value).unwrap()
    }

    #[test]
    fn cases_are_read() {
        assert_eq!(case(json!(503)), Case::Status(503));
        assert_eq!(case(json!("503")), Case::Status(503));
        assert_eq!(case(json!("5xx")), Case::Hundred(5));
        assert_eq!((case(json!("unsent")), case(json!("unanswered"))), (Case::Unsent, Case::Unanswered));
        for wrong in [json!(99), json!(600), json!("6xx"), json!("xx"), json!("timeout"), json!(null), json!(2.5)] {
            assert!(Case::parse(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_passes_by_itself_is_tried_again() {
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert_eq!(class(Case::Status(status), &[]), Class::Transient, "{status}");
        }
        for status in [204, 301, 400, 401, 403, 404, 409, 422] {
            assert_eq!(class(Case::Status(status), &[]), Class::Permanent, "{status}");
        }
        assert_eq!((class(Case::Unsent, &[]), class(Case::Unanswered, &[])), (Class::Transient, Class::Transient));
    }

    #[test]
    fn a_configuration_decides_otherwise_and_the_exact_case_wins() {
        let configured = [
            (case(json!("4xx")), Class::Transient),
            (case(json!(404)), Class::Permanent),
            (case(json!(423)), Class::Snooze),
            (case(json!("unanswered")), Class::Permanent),
        ];
        let class = |happened| super::class(happened, &configured);
        assert_eq!(class(Case::Status(409)), Class::Transient);
        assert_eq!(class(Case::Status(404)), Class::Permanent);
        assert_eq!(class(Case::Status(423)), Class::Snooze);
        assert_eq!((class(Case::Unanswered), class(Case::Unsent)), (Class::Permanent, Class::Transient));
    }

    #[test]
    fn delays_are_the_targets() {
        let delay = |class, after| failure(class, "x".into(), after).delay_ms();
        assert_eq!(delay(Class::Transient, Some(7_000)), Some(7_000));
        assert_eq!(delay(Class::Transient, None), None);
        assert_eq!((delay(Class::Snooze, None), delay(Class::Snooze, Some(5))), (Some(30_000), Some(5)));
        assert_eq!(delay(Class::Permanent, Some(7_000)), None);
    }
}
