//! `POST /hooks/{tenant}/{job}`: notifications of programs outside, signed as Standard Webhooks says.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};

use super::Web;
use super::api::shape::NoticedJson;
use crate::domain::hook::Delivery;
use crate::error::{Error, Result};

/// Characters of a `webhook-id`.
const ID_LIMIT: usize = 200;

pub fn routes() -> Router<Web> {
    Router::new().route("/hooks/{tenant}/{job}", post(notify))
}

/// 202: it will be in the input of a run. `repeated`: it was taken in before, by the same `webhook-id`.
async fn notify(
    State(web): State<Web>,
    Path((tenant, job)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<NoticedJson>)> {
    let header = |name: &str| {
        let text = headers.get(name).and_then(|value| value.to_str().ok());
        text.ok_or_else(|| Error::Unauthorized(format!("{name} is missing: sign it as Standard Webhooks says")))
    };
    let (id, timestamp, signature) = (header("webhook-id")?, header("webhook-timestamp")?, header("webhook-signature")?);
    if id.is_empty() || id.len() > ID_LIMIT {
        return Err(Error::invalid("webhook-id", format!("1 to {ID_LIMIT} characters are right")));
    }
    let noticed = web.app.notify(&tenant, &job, Delivery { id, timestamp, signature, body: &body }).await?;
    Ok((StatusCode::ACCEPTED, Json(NoticedJson { id: noticed.id, repeated: noticed.repeated })))
}
