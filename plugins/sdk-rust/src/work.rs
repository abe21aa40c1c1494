//! Typed views of what a guest is asked and what it answers.

use serde::de::DeserializeOwned;

use crate::{Counts, Failure, Measurement, Output, Problem, Target, Work};

impl Work {
    /// The job's configuration. What does not fit is a permanent failure that names the key.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        decode("config", &self.config)
    }

    /// The run's input. What does not fit is a permanent failure that names the key.
    pub fn input<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        decode("input", if self.input.trim().is_empty() { "null" } else { &self.input })
    }
}

impl Target {
    /// The job's configuration. What does not fit is a permanent failure that names the key.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        decode("config", &self.config)
    }
}

pub(crate) fn decode<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, Failure> {
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { what.to_owned() } else { format!("{what}.{path}") };
        Failure::permanent(format!("{field}: {}", error.inner())).extra("field", field)
    })
}

impl Output {
    pub fn new(summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), data: None, counts: None, extras: Vec::new() }
    }

    /// JSON for programs, and for the job that runs after this one.
    #[must_use]
    pub fn data(mut self, data: impl ToString) -> Self {
        self.data = Some(data.to_string());
        self
    }

    #[must_use]
    pub fn counts(mut self, counts: Counts) -> Self {
        self.counts = Some(counts);
        self
    }

    #[must_use]
    pub fn extra(mut self, key: &str, value: impl Into<String>) -> Self {
        self.extras.push((key.to_owned(), value.into()));
        self
    }
}

impl From<String> for Output {
    fn from(summary: String) -> Self {
        Self::new(summary)
    }
}

impl From<&str> for Output {
    fn from(summary: &str) -> Self {
        Self::new(summary)
    }
}

impl From<()> for Output {
    fn from((): ()) -> Self {
        Self::new("")
    }
}

impl From<u64> for Measurement {
    fn from(size: u64) -> Self {
        Self { size, age_ms: None, extras: Vec::new() }
    }
}

impl Problem {
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        limits: Limits,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Limits {
        batch: u32,
    }

    #[test]
    fn a_wrong_value_is_named_by_its_path() {
        let failure = decode::<Config>("config", r#"{"limits":{"batch":"many"}}"#).unwrap_err();
        assert_eq!(failure.class(), crate::Class::Permanent);
        assert!(failure.message().starts_with("config.limits.batch: invalid type: string \"many\""), "{failure}");
    }

    #[test]
    fn an_unknown_key_is_named_by_its_path() {
        let failure = decode::<Config>("config", r#"{"limits":{"batch":1,"bach":2}}"#).unwrap_err();
        assert!(failure.message().starts_with("config.limits.bach: unknown field `bach`"), "{failure}");
        assert_eq!(decode::<Config>("config", r#"{"limits":{"batch":1}}"#).unwrap().limits.batch, 1);
    }

    #[test]
    fn text_that_is_not_json_is_named_as_a_whole() {
        let failure = decode::<Config>("input", "{").unwrap_err();
        assert!(failure.message().starts_with("input"), "{failure}");
    }
}
