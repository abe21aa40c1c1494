//! Where traces go.

use serde::{Deserialize, Serialize};

use crate::error::Problem;

/// A collector that speaks OTLP over gRPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Otel {
    /// `http://host:4317`
    pub endpoint: String,
}

impl Otel {
    pub(super) fn contradictions(&self) -> Option<Problem> {
        let host = self.endpoint.strip_prefix("http://").map(|host| host.trim_end_matches('/'));
        let right = host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']));
        let message = format!(
            "{:?} is not possible; write a collector's address without TLS, as in \"http://127.0.0.1:4317\": one beside each node, which sends on",
            self.endpoint
        );
        (!right).then(|| Problem::new("otel.endpoint", message))
    }
}
