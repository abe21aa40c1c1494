//! How a run did not end well.

use std::any::Any;
use std::error::Error;
use std::fmt;

use crate::bindings::job::windlass::plugin::types;
use crate::{Class, Counts, Refusal, http};

/// Why a run did not end well, and whether trying again can help.
///
/// `?` makes one from any standard error. It is transient, except that a refusal of the host and a request that may not
/// be made are permanent: they will not go away by themselves.
///
/// A type of its own and not the contract's record: that one is an `Error`, which would forbid the conversion from errors.
#[derive(Debug, Clone)]
pub struct Failure(types::Failure);

impl Failure {
    /// May go away by itself: retried with backoff while attempts are left.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(Class::Transient, message)
    }

    /// Will not go away by itself: the run is dead at once.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self::new(Class::Permanent, message)
    }

    /// Not now, and nobody's fault: tried again after `delay_ms` without spending an attempt.
    pub fn snooze(delay_ms: u64, message: impl Into<String>) -> Self {
        Self::new(Class::Snooze, message).after(delay_ms)
    }

    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Self(types::Failure { class, message: message.into(), delay_ms: None, counts: None, extras: Vec::new() })
    }

    /// Not before so many milliseconds from now.
    #[must_use]
    pub fn after(mut self, delay_ms: u64) -> Self {
        self.0.delay_ms = Some(delay_ms);
        self
    }

    /// What was dealt with before it failed.
    #[must_use]
    pub fn counts(mut self, counts: Counts) -> Self {
        self.0.counts = Some(counts);
        self
    }

    /// A fact for a machine.
    #[must_use]
    pub fn extra(mut self, key: &str, value: impl Into<String>) -> Self {
        self.0.extras.push((key.to_owned(), value.into()));
        self
    }

    /// The same failure with what was being done in front of its message.
    #[must_use]
    pub fn context(mut self, doing: &str) -> Self {
        self.0.message = format!("{doing}: {}", self.0.message);
        self
    }

    pub fn class(&self) -> Class {
        self.0.class
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn delay_ms(&self) -> Option<u64> {
        self.0.delay_ms
    }

    #[doc(hidden)]
    pub fn into_contract(self) -> types::Failure {
        self.0
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let any: &dyn Any = &error;
        if let Some(refusal) = any.downcast_ref::<Refusal>() {
            return refusal.to_failure();
        }
        if let Some(error) = any.downcast_ref::<http::Error>() {
            return error.to_failure();
        }
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            // Many errors already quote their cause.
            let text = cause.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = cause.source();
        }
        Self::transient(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<u64, Failure> {
        Ok(text.parse()?)
    }

    #[test]
    fn any_error_is_transient() {
        let failure = parse("x").unwrap_err();
        assert_eq!(failure.class(), Class::Transient);
        assert_eq!(failure.message(), "invalid digit found in string");
    }

    #[test]
    fn a_refusal_is_permanent_unless_it_is_a_conflict() {
        let from = |code: &str| Failure::from(Refusal { code: code.into(), message: "m".into() });
        assert_eq!(from("denied").class(), Class::Permanent);
        assert_eq!(from("conflict").class(), Class::Transient);
        assert_eq!(from("denied").into_contract().extras, [("code".to_owned(), "denied".to_owned())]);
    }

    #[test]
    fn builders_set_what_they_say() {
        let failure = Failure::snooze(30_000, "read-only").context("draining").extra("code", "423");
        assert_eq!(failure.message(), "draining: read-only");
        assert_eq!(failure.delay_ms(), Some(30_000));
        assert_eq!(failure.class(), Class::Snooze);
    }
}
