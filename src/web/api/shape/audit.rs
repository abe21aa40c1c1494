//! The audit.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::id::Id;

/// Who did what.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuditJson {
    pub id: Id,
    pub at: Timestamp,
    /// Absent: the server.
    pub tenant: Option<String>,
    pub who: String,
    /// `job.pause`
    pub what: String,
    /// What it was done to.
    pub object: String,
    /// What else there is to say; of an `apply`, JSON with old and new values.
    pub detail: Option<String>,
}
