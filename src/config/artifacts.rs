//! Where the files lie that runs leave behind: a folder, or a bucket.

use serde::{Deserialize, Serialize};

use super::is_origin;

/// Where the files lie that runs leave behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Artifacts {
    /// `file:` and a folder, relative to `data_dir`; or `s3://bucket/prefix`.
    pub url: String,
    /// Whether the folder is the same on every node of the database.
    pub shared: bool,
    /// Of a bucket that is not Amazon's: scheme, host and port.
    pub endpoint: Option<String>,
    /// Of a bucket; `us-east-1` without.
    pub region: Option<String>,
}

impl Default for Artifacts {
    fn default() -> Self {
        Self { url: "file:artifacts".into(), shared: false, endpoint: None, region: None }
    }
}

impl Artifacts {
    /// Keys, and what is wrong with them.
    pub(super) fn contradictions(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        let right = "write \"file:artifacts\", a folder relative to data_dir, or \"s3://bucket/prefix\"";
        let bucket = self.url.strip_prefix("s3://");
        match (bucket, self.url.strip_prefix("file:")) {
            (Some(bucket), _) if bucket.is_empty() || bucket.starts_with('/') => {
                wrong.push(("url", format!("{:?} names no bucket; {right}", self.url)));
            }
            (None, None | Some("")) => wrong.push(("url", format!("{:?} is no place for files; {right}", self.url))),
            _ => {}
        }
        for (key, given) in [("endpoint", &self.endpoint), ("region", &self.region)] {
            if given.is_some() && bucket.is_none() {
                wrong.push((key, format!("belongs to a bucket, and artifacts.url is {:?}; leave it out", self.url)));
            }
        }
        if let Some(endpoint) = self.endpoint.as_deref().filter(|endpoint| bucket.is_some() && !is_origin(endpoint)) {
            wrong.push((
                "endpoint",
                format!("{endpoint:?} is not possible; write scheme and host, as in \"https://s3.example.org\""),
            ));
        }
        wrong
    }
}
