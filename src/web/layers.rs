//! What holds for every answer: headers that keep browsers strict, an id, limits of size and time, no panic let through.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use rand::RngCore;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, Predicate};
use tower_http::timeout::TimeoutLayer;

use super::{Web, error};
use crate::error::Error;

/// The longest that a request takes; event streams have no end and stand outside.
pub const TIME_LIMIT: Duration = Duration::from_secs(30);

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Names a request in the log and on the error page.
#[derive(Debug, Clone, Default)]
pub struct RequestId(pub Arc<str>);

/// Around pages and API alike, outermost first: headers and id, errors, panics, compression.
pub fn around(router: Router, web: &Web) -> Router {
    router
        .layer(CompressionLayer::new().compress_when(DefaultPredicate::new().and(is_shown)))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(web.clone(), error::render))
        .layer(from_fn(headers))
}

/// For routes that answer at once.
pub fn limited(router: Router, body_limit: usize) -> Router {
    router.layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, TIME_LIMIT)).layer(DefaultBodyLimit::max(body_limit))
}

async fn headers(mut request: Request, next: Next) -> Response {
    let mut bytes = [0; 4];
    rand::rng().fill_bytes(&mut bytes);
    let id = RequestId(format!("req-{:08x}", u32::from_be_bytes(bytes)).into());
    request.extensions_mut().insert(id.clone());
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    if let Ok(id) = HeaderValue::from_str(&id.0) {
        headers.insert(REQUEST_ID.clone(), id);
    }
    response
}

/// A file that is saved goes out as it is, with its length.
fn is_shown(_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    !headers.get(CONTENT_DISPOSITION).is_some_and(|how| how.as_bytes().starts_with(b"attachment"))
}

fn panicked(what: Box<dyn Any + Send>) -> Response {
    let text = what.downcast_ref::<String>().cloned().or_else(|| what.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    Error::Internal(anyhow::anyhow!("panic: {}", text.unwrap_or_default())).into_response()
}
