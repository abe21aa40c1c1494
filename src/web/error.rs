//! Errors over HTTP, in one place: a page for people, RFC 9457 JSON under `/api`. What is our fault is logged here, once,
//! and shown with the request's id only.

use askama::Template;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Web;
use super::api;
use super::api::shape::ProblemJson;
use super::dashboard::shell::{Place, Shell};
use super::layers::RequestId;
use super::session::{FORM_LIMIT, STALE_FORM, Session};
use crate::domain::hook;
use crate::error::{Error, Problem};
use crate::span::Size;

/// What may be said of an error; it travels in the answer's extensions to [`render`].
#[derive(Debug, Clone)]
pub struct Shown {
    pub status: StatusCode,
    pub title: &'static str,
    pub detail: String,
    pub problems: Vec<Problem>,
    /// For the log, when it is our fault.
    pub cause: Option<String>,
}

impl From<Error> for Shown {
    fn from(error: Error) -> Self {
        let shown = |status, title, detail| Self { status, title, detail, problems: Vec::new(), cause: None };
        match error {
            Error::Invalid(problems) => Self {
                problems: problems.clone(),
                ..shown(StatusCode::UNPROCESSABLE_ENTITY, "Not possible as it stands", Error::Invalid(problems).to_string())
            },
            Error::NotFound(detail) => shown(StatusCode::NOT_FOUND, "Not here, or not yours to see", detail),
            Error::Conflict(detail) => shown(StatusCode::CONFLICT, "It clashes with what is there", detail),
            Error::Unauthorized(detail) => shown(StatusCode::UNAUTHORIZED, "Log in first", detail),
            Error::Forbidden(detail) => shown(StatusCode::FORBIDDEN, "Not allowed", detail),
            Error::TooMany(detail) => shown(StatusCode::TOO_MANY_REQUESTS, "Too many at once", detail),
            Error::Unavailable(detail) => shown(StatusCode::SERVICE_UNAVAILABLE, "Not now", detail),
            Error::Internal(cause) => Self { cause: Some(format!("{cause:#}")), ..Self::of(StatusCode::INTERNAL_SERVER_ERROR) },
        }
    }
}

impl Shown {
    /// For answers that the framework made.
    fn of(status: StatusCode) -> Self {
        let (title, detail) = match status {
            StatusCode::NOT_FOUND => ("Not here, or not yours to see", "There is no such page."),
            StatusCode::METHOD_NOT_ALLOWED => ("Not this way", "This address does not take that method."),
            StatusCode::PAYLOAD_TOO_LARGE => ("Too large", "What was sent is larger than this address takes."),
            StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => {
                ("It took too long", "The server gave up after 30 s; try again, or narrow what you ask for.")
            }
            StatusCode::INTERNAL_SERVER_ERROR => {
                ("The server failed", "This is a fault of Windlass, not yours. Its log says more under the request's id.")
            }
            _ if status.is_server_error() => ("The server failed", "Try again; the log says more under the request's id."),
            _ => ("Not understood", "The request could not be read."),
        };
        Self { status, title, detail: detail.to_owned(), problems: Vec::new(), cause: None }
    }

    fn too_large(path: &str) -> Self {
        let limit = match path.strip_prefix("/api/v1") {
            Some(path) => api::limit_of(path),
            None if path.starts_with("/hooks/") => hook::BODY_LIMIT,
            None => FORM_LIMIT,
        };
        let detail = format!("What was sent is larger than this address takes: {} at most.", Size(limit as u64));
        Self { detail, ..Self::of(StatusCode::PAYLOAD_TOO_LARGE) }
    }

    fn advice(&self) -> &'static str {
        match self.status {
            StatusCode::NOT_FOUND => {
                "It may have been deleted: runs are kept 7 days. If a colleague sent you the address, ask for access to its tenant."
            }
            // No role would help.
            StatusCode::FORBIDDEN if self.detail == STALE_FORM => "Nothing was changed.",
            StatusCode::FORBIDDEN => "An admin can give you the role it needs.",
            StatusCode::UNAUTHORIZED => "Your login has ended, or there was none.",
            StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => "Nothing was changed.",
            StatusCode::SERVICE_UNAVAILABLE => "Try again in a few seconds.",
            _ => "Give the request's id to whoever runs this server.",
        }
    }

    fn problem(&self, request: &RequestId) -> Response {
        let body = ProblemJson {
            kind: "about:blank".into(),
            title: self.title.into(),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            errors: self.problems.clone(),
            request: request.0.to_string(),
        };
        let mut response = (self.status, Json(body)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"windlass\""));
        }
        response
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let shown = Shown::from(self);
        let mut response = shown.status.into_response();
        response.extensions_mut().insert(shown);
        response
    }
}

#[derive(Template)]
#[template(path = "error/show.html")]
struct ErrorPage<'a> {
    shell: Shell,
    status: u16,
    title: &'a str,
    lines: Vec<&'a str>,
    advice: &'a str,
    request: &'a str,
}

/// Puts a page or a problem into every answer that is an error.
pub async fn render(State(web): State<Web>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let api = path.starts_with("/api/") || path.starts_with("/hooks/") || path == "/metrics";
    let id = request.extensions().get::<RequestId>().cloned().unwrap_or_default();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let shown = match response.extensions_mut().remove::<Shown>() {
        Some(shown) => shown,
        // A page that answers a wrong form shows itself.
        None if is_finished(response.headers()) => return response,
        None if status == StatusCode::PAYLOAD_TOO_LARGE => Shown::too_large(&path),
        None => Shown::of(status),
    };
    if let Some(cause) = &shown.cause {
        tracing::error!(request.id = %id.0, http.method = %method, http.path = path, error = cause, "a request failed");
    }
    let session = response.extensions_mut().remove::<Session>();
    let mut rendered = if api { shown.problem(&id) } else { page(&web, &shown, session, &id) };
    rendered.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if matches!(shown.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
        rendered.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    rendered
}

fn is_finished(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media_type.starts_with("text/html") || media_type.contains("json")
}

fn page(web: &Web, shown: &Shown, session: Option<Session>, id: &RequestId) -> Response {
    let shell = web.shell(session.as_ref()).at(Place::Elsewhere, &[], shown.title);
    let page = ErrorPage {
        shell,
        status: shown.status.as_u16(),
        title: shown.title,
        lines: shown.detail.lines().collect(),
        advice: shown.advice(),
        request: &id.0,
    };
    match page.render() {
        Ok(html) => (shown.status, [(CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response(),
        Err(wrong) => {
            tracing::error!(request.id = %id.0, error = %wrong, "the error page failed");
            (shown.status, shown.title).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_status() {
        for (error, status) in [
            (Error::invalid("a", "b"), 422),
            (Error::not_found("run X"), 404),
            (Error::Conflict("x".into()), 409),
            (Error::TooMany("x".into()), 429),
            (Error::Unauthorized("x".into()), 401),
            (Error::Forbidden("x".into()), 403),
            (Error::Unavailable("x".into()), 503),
            (Error::Internal(anyhow::anyhow!("secret path")), 500),
        ] {
            assert_eq!(error.into_response().status().as_u16(), status);
        }
    }

    #[test]
    fn what_is_our_fault_is_not_shown() {
        let shown = Shown::from(Error::Internal(anyhow::anyhow!("/srv/secret.db is corrupt")));
        assert!(!shown.detail.contains("secret") && shown.cause.as_deref() == Some("/srv/secret.db is corrupt"));
    }

    #[tokio::test]
    async fn problems_name_their_fields() {
        let shown = Shown::from(Error::invalid("job[0].retry.attempts", "0 is not from 1 to 100"));
        let body = axum::body::to_bytes(shown.problem(&RequestId("req-1".into())).into_body(), 10_000).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["status"], 422);
        assert_eq!(body["errors"][0]["field"], "job[0].retry.attempts");
        assert_eq!(body["request"], "req-1");
    }
}
