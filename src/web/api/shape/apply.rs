//! What is applied, and what became of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A body of `POST apply`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyJson {
    pub files: Vec<SourceJson>,
    #[serde(default)]
    pub dry_run: bool,
    /// Tenants with all of these labels that no file names lose their jobs.
    #[serde(default)]
    pub prune: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceJson {
    /// For messages alone: the server reads no file.
    pub path: String,
    pub text: String,
}

/// The answer of `POST apply`, in the order of the files.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    pub changes: Vec<ChangeJson>,
    pub dry_run: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ChangeJson {
    /// As in `tenant alpha` or `job alpha/drain-jobs`.
    pub object: String,
    /// created, updated, already up to date, removed
    pub result: String,
    /// updated: the dotted keys that changed.
    #[serde(default)]
    pub what: Vec<String>,
    /// updated: the same with their values.
    #[serde(default)]
    pub diff: Vec<DifferenceJson>,
}

/// `null`: not there.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DifferenceJson {
    /// As in `triggers[0].backlog.every`.
    pub key: String,
    pub old: Value,
    pub new: Value,
}
