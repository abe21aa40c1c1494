//! The way in: the first operator, login, logout.

use std::net::{IpAddr, SocketAddr};

use askama::Template;
use axum::extract::{ConnectInfo, Form, FromRequestParts, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use serde::Deserialize;
use subtle::ConstantTimeEq;

use super::see_other;
use crate::app::member::PASSWORD_MIN;
use crate::domain::health::words;
use crate::error::{Error, Result};
use crate::web::Web;
use crate::web::address::local;
use crate::web::session::{Session, same_site, set_cookie};

pub fn routes() -> Router<Web> {
    Router::new().route("/login", get(ask).post(log_in)).route("/first-start", get(first_start).post(make_first))
}

#[derive(Template)]
#[template(path = "member/login.html")]
struct Login {
    wrong: Option<String>,
    name: String,
    to: String,
}

#[derive(Template)]
#[template(path = "member/first_start.html")]
struct FirstStart {
    wrong: Option<String>,
    /// What is wrong with the password.
    short: Option<String>,
    code: String,
    name: String,
}

/// Where a request comes from, when the server was told to say so: who connected, or whom a trusted proxy names.
pub struct From(Option<IpAddr>);

impl FromRequestParts<Web> for From {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Self::Rejection> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip().to_canonical());
        let trusted = |address: &IpAddr| web.app.settings.trusted_proxies.iter().flatten().any(|net| net.contains(address));
        Ok(Self(peer.map(|peer| client(peer, &parts.headers, trusted))))
    }
}

/// The last address of `X-Forwarded-For` that no trusted proxy has: anybody may write what stands before it.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: impl Fn(&IpAddr) -> bool) -> IpAddr {
    let named = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let mut hops: Vec<&str> = named.flat_map(|value| value.split(',')).collect();
    let mut from = peer;
    while trusted(&from)
        && let Some(Ok(hop)) = hops.pop().map(|hop| hop.trim().parse::<IpAddr>())
    {
        from = hop.to_canonical();
    }
    from
}

#[derive(Deserialize)]
pub struct To {
    to: Option<String>,
}

async fn ask(State(web): State<Web>, Query(To { to }): Query<To>) -> Result<Response> {
    if web.app.is_first_start().await? {
        return Ok(see_other("/first-start"));
    }
    page(StatusCode::OK, &Login { wrong: None, name: String::new(), to: local(to.as_deref().unwrap_or("/")).to_owned() })
}

#[derive(Deserialize)]
struct LoginForm {
    name: String,
    password: String,
    #[serde(default)]
    to: String,
}

async fn log_in(State(web): State<Web>, From(from): From, headers: HeaderMap, Form(form): Form<LoginForm>) -> Result<Response> {
    same_site(&headers)?;
    let now = web.app.now();
    let to = local(&form.to).to_owned();
    let again = |status, wrong: String| page(status, &Login { wrong: Some(wrong), name: form.name.clone(), to: to.clone() });
    if let Some(wait) = web.throttle.wait(from, now) {
        return again(
            StatusCode::TOO_MANY_REQUESTS,
            format!("Too many wrong passwords from your address: wait {}.", words(wait)),
        );
    }
    match web.app.log_in(form.name.trim(), &form.password).await {
        Ok(session) => {
            web.throttle.right(from);
            set_cookie(&web, see_other(&to), Some(&session))
        }
        Err(Error::Unauthorized(_)) => {
            let rest = match web.throttle.wrong(from, now) {
                0 => "This address now waits 5 min.".to_owned(),
                n => format!("After {n} more {} this address waits 5 min.", if n == 1 { "try" } else { "tries" }),
            };
            again(StatusCode::UNAUTHORIZED, format!("That name and password do not belong together. {rest}"))
        }
        Err(wrong) => Err(wrong),
    }
}

async fn first_start(State(web): State<Web>) -> Result<Response> {
    if !web.app.is_first_start().await? {
        return Ok(see_other("/login"));
    }
    page(StatusCode::OK, &FirstStart { wrong: None, short: None, code: String::new(), name: String::new() })
}

#[derive(Deserialize)]
struct FirstForm {
    code: String,
    name: String,
    password: String,
}

async fn make_first(
    State(web): State<Web>,
    From(from): From,
    headers: HeaderMap,
    Form(form): Form<FirstForm>,
) -> Result<Response> {
    same_site(&headers)?;
    let now = web.app.now();
    let again =
        |status, wrong, short| page(status, &FirstStart { wrong, short, code: form.code.clone(), name: form.name.clone() });
    if let Some(wait) = web.throttle.wait(from, now) {
        return again(
            StatusCode::TOO_MANY_REQUESTS,
            Some(format!("Too many wrong codes from your address: wait {}.", words(wait))),
            None,
        );
    }
    let typed = form.code.trim().to_ascii_uppercase();
    let right = web.setup_code.as_deref().is_some_and(|code| bool::from(code.as_bytes().ct_eq(typed.as_bytes())));
    if !right {
        web.throttle.wrong(from, now);
        let wrong = "That is not the code. The server printed it when it started; a restart prints another one.";
        return again(StatusCode::FORBIDDEN, Some(wrong.to_owned()), None);
    }
    let length = form.password.chars().count();
    if length < PASSWORD_MIN {
        let short = format!("{length} characters. At least {PASSWORD_MIN}, please.");
        return again(StatusCode::UNPROCESSABLE_ENTITY, None, Some(short));
    }
    match web.app.set_first_password(form.name.trim(), &form.password).await {
        Ok(()) => {
            let session = web.app.log_in(form.name.trim(), &form.password).await?;
            set_cookie(&web, see_other("/?done=welcome"), Some(&session))
        }
        Err(Error::Conflict(_)) => Ok(see_other("/login")),
        Err(Error::Invalid(problems)) => again(StatusCode::UNPROCESSABLE_ENTITY, problems.first().map(ToString::to_string), None),
        Err(wrong) => Err(wrong),
    }
}

pub async fn log_out(State(web): State<Web>, Extension(session): Extension<Session>) -> Result<Response> {
    web.app.log_out(&session.cookie).await?;
    set_cookie(&web, see_other("/login"), None)
}

/// A page outside the shell. The header tells the script of an open page that it got a login instead of its part.
fn page(status: StatusCode, template: &impl Template) -> Result<Response> {
    let html = template.render().map_err(|wrong| Error::Internal(wrong.into()))?;
    let mut response = (status, html).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-page"), HeaderValue::from_static("gate"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_comes_back_escaped() {
        let html = Login { wrong: Some("<script>".into()), name: "\"><script>".into(), to: "/".into() }.render().unwrap();
        assert!(!html.contains("<script>"), "{html}");
        let first = FirstStart { wrong: None, short: Some("9 characters".into()), code: "<script>".into(), name: "<b>".into() }
            .render()
            .unwrap();
        assert!(!first.contains("<script>") && first.contains("aria-invalid"), "{first}");
    }

    #[test]
    fn who_asks_is_whom_the_last_trusted_proxy_names() {
        let proxy = |address: &IpAddr| address.is_loopback();
        let from = |peer: &str, named: &'static [&str]| {
            let named = named.iter().map(|value| ("x-forwarded-for".parse().unwrap(), value.parse().unwrap()));
            client(peer.parse().unwrap(), &named.collect::<HeaderMap>(), proxy).to_string()
        };
        assert_eq!(from("127.0.0.1", &["10.0.0.1, 10.0.0.2"]), "10.0.0.2", "what stands first was written by the client");
        assert_eq!(from("127.0.0.1", &["10.0.0.1", "10.0.0.2, 127.0.0.2"]), "10.0.0.2", "through two proxies");
        assert_eq!(from("127.0.0.1", &["rubbish, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(from("127.0.0.1", &["10.0.0.2, ::ffff:127.0.0.2"]), "10.0.0.2", "as a socket of both kinds names it");
        assert_eq!(from("127.0.0.1", &["10.0.0.2, rubbish"]), "127.0.0.1");
        assert_eq!(from("10.9.9.9", &["10.0.0.1"]), "10.9.9.9", "who is no proxy may say what he likes");
        assert_eq!(from("127.0.0.1", &[]), "127.0.0.1");
    }
}
