//! Items of runs, and what workers outside say of them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::domain::item::ItemState;
use crate::id::Id;

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ItemJson {
    pub name: String,
    /// From 0, in the order they were declared.
    pub position: u64,
    pub state: ItemState,
    pub input: Value,
    pub message: Option<String>,
    pub output: Value,
    /// The run's attempt that last took it; 0 before.
    pub attempt: u32,
    /// How often it was handed out.
    pub deliveries: u32,
    /// Outside, the worker that has it or had it last.
    pub worker: Option<String>,
    pub leased_until: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
}

/// A body of `POST …/items/claim`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimJson {
    pub worker: String,
    #[serde(default = "one")]
    pub max: u32,
}

fn one() -> u32 {
    1
}

/// An item that the worker has now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TakenJson {
    pub run: Id,
    pub name: String,
    pub input: Value,
    /// 1 for the first time that it is handed out.
    pub delivery: u32,
    pub leased_until: Option<Timestamp>,
}

/// A body of `POST …/items/renew`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewJson {
    pub worker: String,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
pub struct RenewedJson {
    /// Items that the worker has.
    pub renewed: u64,
    pub lease_ms: u64,
}

/// A body of `POST …/items/finish`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResultsJson {
    pub worker: String,
    pub items: Vec<ResultJson>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResultJson {
    pub run: Id,
    pub name: String,
    pub status: Status,
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub output: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Done,
    Failed,
    Skipped,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ToldJson {
    pub run: Id,
    pub name: String,
    /// False: the item has ended already, its run is over, or another has it. Nothing has changed.
    pub recorded: bool,
}
