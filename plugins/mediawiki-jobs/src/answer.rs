//! What `Special:RunJobs` answers with `stats=1`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

#[derive(Debug, Deserialize)]
pub struct Answer {
    pub jobs: Vec<Job>,
    pub reached: Reached,
    /// Job types that rest, and until when (Unix seconds). PHP writes an empty map as `[]`; some answers lack the key.
    #[serde(default, deserialize_with = "map_or_list")]
    pub backoffs: BTreeMap<String, f64>,
}

#[derive(Debug, Deserialize)]
pub struct Job {
    #[serde(rename = "type")]
    pub job_type: String,
    pub status: String,
    #[serde(default)]
    pub error: Option<String>,
}

impl Job {
    /// The only sign of a failed job: the process that ran it ends well all the same.
    pub fn failed(&self) -> bool {
        self.status != "ok"
    }
}

/// Why the wiki ended the batch.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reached {
    NoneReady,
    JobLimit,
    TimeLimit,
    MemoryLimit,
    /// A database error stopped it.
    Exception,
    /// It knows no such job type.
    NonePossible,
    ReadOnly,
    ReplicaLagLimit,
    #[serde(untagged)]
    Other(String),
}

/// Reads the answer, or says what was wrong with it.
pub fn decode(body: &str) -> Result<Answer, String> {
    serde_json::from_str(body).map_err(|error| error.to_string())
}

fn map_or_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, f64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Map(BTreeMap<String, f64>),
        List(Vec<serde_json::Value>),
    }
    match Option::<Either>::deserialize(deserializer)? {
        Some(Either::Map(map)) => Ok(map),
        Some(Either::List(list)) if !list.is_empty() => Err(serde::de::Error::custom("backoffs is a list with entries")),
        Some(Either::List(_)) | None => Ok(BTreeMap::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_special_page_with_failures_and_no_backoffs() {
        let body = r#"{"jobs":[{"type":"refreshLinks","status":"ok","error":null,"time":3},
            {"type":"poison","status":"failed","error":"it is poison","time":0},
            {"type":"poison","status":"failed","error":"LogicException: it threw","time":1}],
            "reached":"none-ready","backoffs":[],"elapsed":4}"#;
        let answer = decode(body).unwrap();
        assert_eq!(answer.reached, Reached::NoneReady);
        assert_eq!(answer.jobs.iter().map(Job::failed).collect::<Vec<_>>(), [false, true, true]);
        assert_eq!(answer.jobs[2].error.as_deref(), Some("LogicException: it threw"));
        assert!(answer.backoffs.is_empty());
    }

    #[test]
    fn backoffs_as_an_object() {
        let body = r#"{"jobs":[],"reached":"none-ready","backoffs":{"htmlCacheUpdate":1795000000.25},"elapsed":0}"#;
        assert_eq!(decode(body).unwrap().backoffs["htmlCacheUpdate"], 1_795_000_000.25);
    }

    #[test]
    fn backoffs_absent() {
        for reached in ["none-possible", "read-only", "replica-lag-limit"] {
            let answer = decode(&format!(r#"{{"jobs":[],"reached":"{reached}"}}"#)).unwrap();
            assert!(answer.backoffs.is_empty() && answer.jobs.is_empty());
        }
    }

    #[test]
    fn the_command_line_prints_the_same_with_line_breaks() {
        let body = "{\n    \"jobs\": [\n        {\n            \"type\": \"null\",\n            \"status\": \"ok\",\n            \
            \"error\": null,\n            \"time\": 6\n        }\n    ],\n    \"reached\": \"job-limit\",\n    \
            \"backoffs\": [],\n    \"elapsed\": 6\n}";
        let answer = decode(body).unwrap();
        assert_eq!((answer.jobs.len(), answer.reached), (1, Reached::JobLimit));
    }

    #[test]
    fn every_word_of_reached_and_words_to_come() {
        let words = [
            ("none-ready", Reached::NoneReady),
            ("job-limit", Reached::JobLimit),
            ("time-limit", Reached::TimeLimit),
            ("memory-limit", Reached::MemoryLimit),
            ("exception", Reached::Exception),
            ("none-possible", Reached::NonePossible),
            ("read-only", Reached::ReadOnly),
            ("replica-lag-limit", Reached::ReplicaLagLimit),
            ("tea-time", Reached::Other("tea-time".into())),
        ];
        for (word, reached) in words {
            assert_eq!(decode(&format!(r#"{{"jobs":[],"reached":"{word}","backoffs":[]}}"#)).unwrap().reached, reached);
        }
    }

    #[test]
    fn nothing_else_passes_for_an_answer() {
        for body in ["", "<!DOCTYPE html><html>", r#"{"jobs":[{"type":"a","#, "{}", r#"{"jobs":[]}"#, "[]", "null", "0"] {
            assert!(decode(body).is_err(), "{body}");
        }
    }
}
