//! Who looks at a page. A session is a random cookie; only its hash is stored. Nothing is shown, and nothing is done,
//! without one; nothing is done without the session's own token in the form, and from another site not at all.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{COOKIE, HOST, ORIGIN, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Web;
use super::address::Address;
use super::fragment::FRAGMENT;
use crate::app::Who;
use crate::app::member::SESSION;
use crate::error::{Error, Result};

/// Bytes of a form; none of ours has more than a few lines.
pub const FORM_LIMIT: usize = 64 * 1024;

/// Said of a form that is not this session's own.
pub const STALE_FORM: &str = "the form is old or came from another site: reload the page and try again";

/// A logged-in person, on a request.
#[derive(Debug, Clone)]
pub struct Session {
    pub who: Who,
    /// Stands in every form of this session.
    pub csrf: String,
    pub cookie: String,
}

impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Error::Unauthorized("log in first".into()))
    }
}

/// Lets through who is logged in, and of what they send only what came from our own forms.
pub async fn guard(State(web): State<Web>, request: Request, next: Next) -> Response {
    match let_in(&web, request).await {
        Ok(Pass::In(request, session)) => {
            let mut response = next.run(*request).await;
            response.extensions_mut().insert(*session);
            response
        }
        Ok(Pass::Gate(to)) => to.into_response(),
        Err(wrong) => wrong.into_response(),
    }
}

enum Pass {
    In(Box<Request>, Box<Session>),
    Gate(Redirect),
}

/// Who looks, where nobody has to be logged in.
pub async fn of(web: &Web, headers: &HeaderMap) -> Result<Option<Session>> {
    let Some(cookie) = cookie(headers, web.cookie_name()) else { return Ok(None) };
    Ok(web.app.who_in_session(&cookie).await?.map(|who| Session { who, csrf: csrf_of(&cookie), cookie }))
}

async fn let_in(web: &Web, request: Request) -> Result<Pass> {
    let Some(session) = of(web, request.headers()).await? else {
        // A fragment cannot show a login form: its page asks again as a whole.
        if request.headers().contains_key(&FRAGMENT) || !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Error::Unauthorized("you are logged out: log in again".into()));
        }
        let to = request.uri().path_and_query().map_or("/", |to| to.as_str());
        return Ok(Pass::Gate(Redirect::to(&Address::new("/login").some("to", Some(to).filter(|to| *to != "/")).to_string())));
    };
    let mut request = request;
    if request.method() != Method::GET && request.method() != Method::HEAD {
        same_site(request.headers())?;
        request = with_token(request, &session.csrf).await?;
    }
    request.extensions_mut().insert(session.clone());
    Ok(Pass::In(Box::new(request), Box::new(session)))
}

/// Refuses what another site's page sent. Browsers say so themselves; what is no browser has no cookie to misuse.
pub fn same_site(headers: &HeaderMap) -> Result<()> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let refused = || Error::Forbidden(STALE_FORM.into());
    match text("sec-fetch-site") {
        Some("same-origin" | "none") => return Ok(()),
        Some(_) => return Err(refused()),
        None => {}
    }
    match (text(ORIGIN.as_str()), text(HOST.as_str())) {
        (Some(origin), Some(host)) if origin.split_once("://").is_none_or(|(_, from)| from != host) => Err(refused()),
        _ => Ok(()),
    }
}

/// The request again, once its form has been seen to hold the session's token.
async fn with_token(request: Request, csrf: &str) -> Result<Request> {
    let (parts, body) = request.into_parts();
    let body: Bytes = to_bytes(body, FORM_LIMIT)
        .await
        .map_err(|_| Error::invalid("", format!("the form is larger than {FORM_LIMIT} bytes")))?;
    let sent = form_value(&body, "csrf").unwrap_or_default();
    if !bool::from(sent.as_bytes().ct_eq(csrf.as_bytes())) {
        return Err(Error::Forbidden(STALE_FORM.into()));
    }
    Ok(Request::from_parts(parts, Body::from(body)))
}

/// A field whose value needs no decoding.
fn form_value<'a>(body: &'a [u8], name: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(body).ok()?;
    text.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value))
}

pub fn csrf_of(cookie: &str) -> String {
    Sha256::digest(format!("csrf:{cookie}")).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let all = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    all.flat_map(|line| line.split(';')).find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name && !value.is_empty()).then(|| value.to_owned())
    })
}

/// Adds the cookie to an answer, or takes it away.
///
/// # Errors
/// Never with our own tokens: they are letters and digits.
pub fn set_cookie(web: &Web, mut response: Response, session: Option<&str>) -> Result<Response> {
    let secure = if web.is_https() { "; Secure" } else { "" };
    let (value, age) = session.map_or(("", 0), |session| (session, SESSION.as_secs()));
    let line = format!("{}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age}{secure}", web.cookie_name());
    let line = HeaderValue::from_str(&line).map_err(|wrong| Error::Internal(wrong.into()))?;
    response.headers_mut().append(SET_COOKIE, line);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn forms_of_other_sites_are_refused() {
        for mine in [
            headers(&[("sec-fetch-site", "same-origin")]),
            headers(&[("sec-fetch-site", "none")]),
            headers(&[("origin", "http://127.0.0.1:7171"), ("host", "127.0.0.1:7171")]),
            headers(&[]),
        ] {
            assert!(same_site(&mine).is_ok(), "{mine:?}");
        }
        for theirs in [
            headers(&[("sec-fetch-site", "cross-site")]),
            headers(&[("sec-fetch-site", "same-site")]),
            headers(&[("origin", "https://evil.example"), ("host", "127.0.0.1:7171")]),
            headers(&[("origin", "null"), ("host", "127.0.0.1:7171")]),
        ] {
            assert!(same_site(&theirs).is_err(), "{theirs:?}");
        }
    }

    #[tokio::test]
    async fn a_form_without_the_sessions_token_is_refused() {
        let csrf = csrf_of("cookie");
        let form = |body: String| Request::builder().method("POST").uri("/x").body(Body::from(body)).unwrap();
        for wrong in
            [String::new(), "csrf=".into(), "csrf=abc".into(), format!("csrf={}", csrf_of("other")), format!("x=csrf={csrf}")]
        {
            assert!(matches!(with_token(form(wrong.clone()), &csrf).await, Err(Error::Forbidden(_))), "{wrong}");
        }
        let passed = with_token(form(format!("a=1&csrf={csrf}&b=2")), &csrf).await.unwrap();
        assert_eq!(to_bytes(passed.into_body(), 1000).await.unwrap(), format!("a=1&csrf={csrf}&b=2"));
        assert!(with_token(form("x".repeat(FORM_LIMIT + 1)), &csrf).await.is_err());
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let sent = headers(&[("cookie", "a=1; windlass=abc; b=2")]);
        assert_eq!(cookie(&sent, "windlass").as_deref(), Some("abc"));
        assert_eq!(cookie(&sent, "wind"), None);
        assert_eq!(cookie(&headers(&[("cookie", "windlass=")]), "windlass"), None);
    }
}
