//! What the host answers when it will not do what it was asked.

use std::fmt;

use crate::Failure;

/// The host would not do it: `code` for a program, `message` for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: String,
    pub message: String,
}

impl Refusal {
    /// Somebody else was first: read again and decide again.
    pub fn is_conflict(&self) -> bool {
        self.code == "conflict"
    }

    pub(crate) fn to_failure(&self) -> Failure {
        let failure = if self.is_conflict() || self.code == "unavailable" { Failure::transient } else { Failure::permanent };
        failure(self.to_string()).extra("code", &self.code)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Refusal {}

/// Each interface of the contract has a record `refusal` of its own with the same two fields.
macro_rules! from_contract {
    ($($interface:ident),+) => {$(
        impl From<crate::bindings::job::windlass::plugin::$interface::Refusal> for Refusal {
            fn from(refusal: crate::bindings::job::windlass::plugin::$interface::Refusal) -> Self {
                Self { code: refusal.code, message: refusal.message }
            }
        }
    )+};
}
from_contract!(artifact_source, artifacts, items, secrets, sign, state);
