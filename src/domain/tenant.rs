//! A tenant: owns jobs, limits, secrets and members.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::grant::Ceiling;
use super::job::JobSpec;
use super::span::Span;
use crate::clock::Timestamp;
use crate::id::Id;

/// One TOML file: a tenant with all its jobs. `docs/tenant-file.md` is its reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantFile {
    pub tenant: String,
    /// Default zone of schedules and pages, IANA name.
    #[serde(default = "default_zone")]
    pub zone: Tz,
    /// Share of the workers when there are not enough: 2 gets twice what 1 gets.
    #[serde(default = "default_weight")]
    pub weight: u32,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub limits: TenantLimits,
    /// Absent: the ceiling stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<Ceiling>,
    #[serde(default, rename = "job")]
    pub jobs: Vec<JobSpec>,
    #[serde(default, rename = "alert")]
    pub alerts: Vec<AlertSpec>,
}

fn default_zone() -> Tz {
    Tz::UTC
}

fn default_weight() -> u32 {
    1
}

/// Limits of the whole tenant, over all nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TenantLimits {
    pub running: u32,
    pub starts_per_minute: u32,
    pub waiting: u64,
}

impl Default for TenantLimits {
    fn default() -> Self {
        Self { running: 16, starts_per_minute: 6_000, waiting: 1_000_000 }
    }
}

/// Who is told when a job's health turns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertSpec {
    pub when: Vec<String>,
    pub webhook: String,
    #[serde(default = "AlertSpec::default_repeat")]
    pub repeat: Span,
}

impl AlertSpec {
    fn default_repeat() -> Span {
        Span::secs(4 * 3600)
    }
}

/// A tenant as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Tenant {
    pub id: Id,
    pub name: String,
    pub zone: Tz,
    pub weight: u32,
    pub labels: BTreeMap<String, String>,
    pub limits: TenantLimits,
    pub ceiling: Ceiling,
    pub alerts: Vec<AlertSpec>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}
