//! What handlers take from a request; what is wrong with it is an [`Error`] like any other.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;

use crate::app::{App, Who};
use crate::error::{Error, Result};

/// No such route.
pub async fn no_route() -> Error {
    Error::NotFound("there is no such address in the API: docs/api.md lists all".into())
}

/// Who has the request's bearer token.
pub struct Caller(pub Who);

impl FromRequestParts<App> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let token = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
        let token = token
            .ok_or_else(|| Error::Unauthorized("send Authorization: Bearer wl_…: windlass token issue makes a token".into()))?;
        Ok(Self(app.who_has_token(token).await?))
    }
}

/// The scheme's name has no case (RFC 9110, 11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A JSON body; an empty one is an empty object.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        let Raw(bytes) = Raw::from_request(request, app).await?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        let mut reader = serde_json::Deserializer::from_slice(text);
        let value = serde_path_to_error::deserialize(&mut reader).map_err(|wrong| {
            let path = wrong.path().to_string();
            let field = if path == "." { "body" } else { &path };
            Error::invalid(field, wrong.inner().to_string()).into_response()
        })?;
        reader.end().map_err(|wrong| Error::invalid("body", wrong.to_string()).into_response())?;
        Ok(Self(value))
    }
}

/// A body as it came.
pub struct Raw(pub Bytes);

impl FromRequest<App> for Raw {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        Bytes::from_request(request, app).await.map(Self).map_err(|wrong| match wrong.status() {
            StatusCode::PAYLOAD_TOO_LARGE => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
            _ => Error::invalid("body", wrong.body_text()).into_response(),
        })
    }
}

/// The query after the question mark.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<App> for Asked<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let query = Query::<T>::from_request_parts(parts, app).await;
        query.map(|Query(asked)| Self(asked)).map_err(|wrong| {
            let text = wrong.body_text();
            Error::invalid("query", text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text))
        })
    }
}

/// The parts of the address.
pub struct At<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for At<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        // An id that is none is as little here as one that is not.
        let path = Path::<T>::from_request_parts(parts, app).await;
        path.map(|Path(at)| Self(at)).map_err(|wrong| Error::NotFound(wrong.body_text()))
    }
}
