//! Errors as RFC 9457, and the extractors that answer so.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;

use super::shape::ProblemJson;
use crate::app::{App, Who};
use crate::error::Error;

/// What every handler answers.
pub type Answer<T> = Result<T, Refused>;

/// An error on its way out.
#[derive(Debug)]
pub struct Refused(pub Error);

impl<E: Into<Error>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, kind, title) = match &self.0 {
            Error::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "This cannot be carried out as it stands"),
            Error::NotFound(_) => (StatusCode::NOT_FOUND, "not-found", "There is no such thing here"),
            Error::Conflict(_) => (StatusCode::CONFLICT, "conflict", "It clashes with what is there"),
            Error::Unauthorized(_) => (StatusCode::UNAUTHORIZED, "unauthorized", "A bearer token is needed"),
            Error::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden", "The token may not do this"),
            Error::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not now: try again"),
            Error::Internal(cause) => {
                tracing::error!(error = %format!("{cause:#}"), "a request failed");
                (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Windlass failed")
            }
        };
        let (detail, errors) = match self.0 {
            Error::Internal(_) => ("the server's log has the cause".to_owned(), Vec::new()),
            Error::Invalid(problems) => (Error::Invalid(problems.clone()).to_string(), problems),
            other => (other.to_string(), Vec::new()),
        };
        problem(status, kind, title, detail, errors)
    }
}

pub fn problem(status: StatusCode, kind: &str, title: &str, detail: String, errors: Vec<crate::error::Problem>) -> Response {
    let body = ProblemJson { kind: format!("urn:windlass:{kind}"), title: title.to_owned(), status: status.as_u16(), detail, errors };
    let mut response = (status, Json(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"windlass\""));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// No such route.
pub async fn no_route() -> Refused {
    Refused(Error::NotFound("there is no such address in the API: docs/api.md lists all".into()))
}

pub async fn no_method() -> Response {
    let detail = "this address knows other methods: docs/api.md lists all".to_owned();
    problem(StatusCode::METHOD_NOT_ALLOWED, "method", "Not by this method", detail, Vec::new())
}

/// Who has the request's bearer token.
pub struct Caller(pub Who);

impl FromRequestParts<App> for Caller {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Answer<Self> {
        let token = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
        let token = token.ok_or_else(|| Error::Unauthorized("send Authorization: Bearer wl_…: windlass token issue makes a token".into()))?;
        Ok(Self(app.who_has_token(token).await?))
    }
}

/// The scheme's name has no case (RFC 9110, 11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A JSON body; an empty one is the default of what is asked for.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Unread;

    async fn from_request(request: Request, app: &App) -> Result<Self, Unread> {
        let Raw(bytes) = Raw::from_request(request, app).await?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(text).map(Self).map_err(|wrong| Unread::Wrong(wrong.to_string()))
    }
}

/// A body as it came.
pub struct Raw(pub Bytes);

impl FromRequest<App> for Raw {
    type Rejection = Unread;

    async fn from_request(request: Request, app: &App) -> Result<Self, Unread> {
        Bytes::from_request(request, app).await.map(Self).map_err(|wrong| match wrong.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Unread::TooLarge,
            _ => Unread::Wrong(wrong.body_text()),
        })
    }
}

/// Why there is no body.
pub enum Unread {
    TooLarge,
    Wrong(String),
}

impl IntoResponse for Unread {
    fn into_response(self) -> Response {
        match self {
            Self::TooLarge => {
                let detail = "docs/api.md says how much each address takes".to_owned();
                problem(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large", detail, Vec::new())
            }
            Self::Wrong(why) => Refused(Error::invalid("body", why)).into_response(),
        }
    }
}

/// The query after the question mark.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<App> for Asked<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Answer<Self> {
        let query = Query::<T>::from_request_parts(parts, app).await;
        query.map(|Query(asked)| Self(asked)).map_err(|wrong| Error::invalid("query", wrong.body_text()).into())
    }
}

/// The parts of the address.
pub struct At<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for At<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Answer<Self> {
        // An id that is none is as little here as one that is not.
        let path = Path::<T>::from_request_parts(parts, app).await;
        path.map(|Path(at)| Self(at)).map_err(|wrong| Error::NotFound(wrong.body_text()).into())
    }
}
