//! Nodes: who takes part.

use axum::Json;
use axum::extract::State;

use super::extract::Caller;
use super::shape::{JobOfNodeJson, List, NodeJson};
use crate::app::App;
use crate::app::node::Seen;
use crate::error::Result;

pub async fn list(State(app): State<App>, Caller(who): Caller) -> Result<Json<List<NodeJson>>> {
    Ok(Json(List::whole(app.nodes(&who).await?.into_iter().map(shape).collect())))
}

fn shape(seen: Seen) -> NodeJson {
    let state = seen.state().to_owned();
    let jobs = seen.jobs.into_iter().map(|job| JobOfNodeJson {
        tenant: job.tenant,
        job: job.job,
        lately: job.lately,
        last_success_at: job.last_success,
        stopped: job.stopped,
    });
    NodeJson {
        id: seen.node.id,
        state,
        here: seen.here,
        running: seen.running,
        beat_at: seen.node.beat_at,
        started_at: seen.node.started_at,
        version: seen.node.version,
        listen: seen.node.listen,
        jobs: jobs.collect(),
        name: seen.node.name,
    }
}
