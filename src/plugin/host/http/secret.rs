//! Stand-ins of secrets in a request: the value goes into the one place that the grant names, for its hosts; a stand-in that
//! stands anywhere else is refused, and nothing is sent.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Request};
use rand::RngCore;
use wasmtime_wasi_http::Error;

use super::drain::Drain;
use super::gate::Refused;
use crate::domain::grant::{Grant, Origin, SecretGrant, SecretUse};
use crate::egress::scrub::{Scrubber, contains, percent, replaced};
use crate::plugin::Secret;
use crate::plugin::instance::Context;
use crate::plugin::journal::{Level, Line};

/// Bytes of a body into which a secret goes: it is gathered, because its length changes.
pub const BODY_WITH_SECRET: usize = 1024 * 1024;
/// Of one header, or one parameter.
const HEAD_WITH_SECRET: usize = 64 * 1024;

/// A secret's name and what stands for it, for one call of a guest.
#[derive(Debug, Clone)]
pub struct StandIn {
    pub name: String,
    pub text: String,
}

/// What a guest was given instead of secrets, and what must not come back to it.
#[derive(Default)]
pub struct Secrets {
    issued: Mutex<Vec<StandIn>>,
    scrubber: OnceLock<Arc<Scrubber>>,
}

impl Secrets {
    /// The same text each time it is asked for; letters and digits alone, so that no encoding changes it.
    pub fn stand_in(&self, name: &str) -> String {
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(standing) = issued.iter().find(|standing| standing.name == name) {
            return standing.text.clone();
        }
        let mut random = [0; 16];
        rand::rng().fill_bytes(&mut random);
        let text = format!("standin{:032x}", u128::from_be_bytes(random));
        issued.push(StandIn { name: name.to_owned(), text: text.clone() });
        text
    }

    pub fn issued(&self) -> Vec<StandIn> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The URL with names in the place of stand-ins.
    pub fn named(&self, text: &str) -> String {
        self.issued().iter().fold(text.to_owned(), |text, one| text.replace(&one.text, &format!("<{}>", one.name)))
    }

    pub fn scrubber(&self, context: &Context) -> &Arc<Scrubber> {
        self.scrubber.get_or_init(|| Arc::new(Scrubber::new(context.secrets.values().map(|secret| &*secret.0))))
    }
}

/// Puts values where stand-ins are, and answers the names of the secrets that the request carries then.
pub async fn put(
    mut request: Request<Drain>,
    origin: &Origin,
    context: &Arc<Context>,
    secrets: &Secrets,
) -> Result<(Request<Drain>, Vec<String>), Refused> {
    let issued = secrets.issued();
    if issued.is_empty() {
        return Ok((request, Vec::new()));
    }
    let mut carried = Vec::new();
    for one in &issued {
        let placing = Placing { one, origin, grant: &context.grant, value: context.secrets.get(&one.name) };
        let in_uri = placing.put_into_uri(&mut request)?;
        if in_uri | placing.put_into_headers(request.headers_mut())? {
            carried.push(one.name.clone());
        }
    }
    let for_body =
        |one: &&StandIn| context.grant.secret(&one.name).is_some_and(|it| it.usage == SecretUse::Body && it.is_for(origin));
    request = if issued.iter().any(|one| for_body(&one)) {
        put_into_body(request, origin, context, &issued, &mut carried).await?
    } else {
        watched(request, origin, context, issued)
    };
    if !carried.is_empty() {
        carried.iter().for_each(|name| context.journal.secret(name));
    }
    Ok((request, carried))
}

/// One stand-in on its way into one request.
struct Placing<'a> {
    one: &'a StandIn,
    origin: &'a Origin,
    grant: &'a Grant,
    value: Option<&'a Secret>,
}

impl Placing<'_> {
    /// The value, when the grant lets it stand there. `place` is for people, `keys` are the grant's that would allow it.
    fn value_for(&self, usage: SecretUse, here: Option<&str>, place: &str) -> Result<&[u8], Refused> {
        let Some(grant) = self.grant.secret(&self.one.name) else { return Err(self.refused(usage, here, place)) };
        let named = match usage {
            SecretUse::Header => grant.header.as_deref(),
            SecretUse::Query => grant.parameter.as_deref(),
            SecretUse::Body | SecretUse::Sign => None,
        };
        let same = match (here, named) {
            (Some(here), Some(named)) => here == named || usage == SecretUse::Header && here.eq_ignore_ascii_case(named),
            (here, named) => here == named,
        };
        if grant.usage != usage || !same || !grant.is_for(self.origin) {
            return Err(self.refused(usage, here, place));
        }
        self.value.map(|value| &*value.0).ok_or_else(|| self.refused(usage, here, place))
    }

    fn refused(&self, usage: SecretUse, here: Option<&str>, place: &str) -> Refused {
        let why = misplaced(&self.one.name, self.origin, self.grant.secret(&self.one.name), usage, here, place);
        Refused::denied(Error::HttpRequestDenied, why)
    }

    fn put_into_uri(&self, request: &mut Request<Drain>) -> Result<bool, Refused> {
        let uri = request.uri();
        let stand_in = &self.one.text;
        if !uri.to_string().contains(stand_in.as_str()) {
            return Ok(false);
        }
        let query = uri.query().filter(|query| query.contains(stand_in.as_str()) && !uri.path().contains(stand_in.as_str()));
        let Some(query) = query else { return Err(self.refused(SecretUse::Header, None, "the URL's path")) };
        let mut pairs = Vec::new();
        for pair in query.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if key.contains(stand_in.as_str()) {
                return Err(self.refused(SecretUse::Query, None, "the name of a parameter"));
            }
            if !value.contains(stand_in.as_str()) {
                pairs.push(pair.to_owned());
                continue;
            }
            let secret = self.value_for(SecretUse::Query, Some(key), &format!("the parameter {key}"))?;
            let secret = percent(secret, true, |byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte));
            bounded(value.as_bytes(), stand_in.as_bytes(), secret.len(), HEAD_WITH_SECRET)?;
            pairs.push(format!("{key}={}", value.replace(stand_in.as_str(), &String::from_utf8_lossy(&secret))));
        }
        let whole = format!("{}://{}{}?{}", self.origin.scheme.word(), authority(request), request.uri().path(), pairs.join("&"));
        let wrong = |_| Refused::failed(Error::HttpRequestUriInvalid, "the URL is not valid with the secret in it");
        *request.uri_mut() = whole.parse().map_err(wrong)?;
        Ok(true)
    }

    fn put_into_headers(&self, headers: &mut HeaderMap) -> Result<bool, Refused> {
        let mut found = false;
        for (name, value) in headers.iter_mut() {
            let stand_in = self.one.text.as_bytes();
            if name.as_str().contains(&self.one.text) {
                return Err(self.refused(SecretUse::Header, None, "the name of a header"));
            }
            let basic = (name == AUTHORIZATION).then(|| in_basic(value)).flatten().filter(|plain| contains(plain, stand_in));
            if basic.is_none() && !contains(value.as_bytes(), stand_in) {
                continue;
            }
            let secret = self.value_for(SecretUse::Header, Some(name.as_str()), &format!("the header {name}"))?;
            bounded(basic.as_deref().unwrap_or(value.as_bytes()), stand_in, secret.len(), HEAD_WITH_SECRET)?;
            let with = match basic {
                Some(plain) => format!("Basic {}", STANDARD.encode(replaced(&plain, stand_in, secret))).into_bytes(),
                None => replaced(value.as_bytes(), stand_in, secret),
            };
            let mut with = HeaderValue::from_bytes(&with).map_err(|_| {
                let why = format!("the value of the secret {:?} has bytes that cannot stand in a header", self.one.name);
                Refused::failed(Error::HttpRequestDenied, why)
            })?;
            with.set_sensitive(true);
            *value = with;
            found = true;
        }
        Ok(found)
    }
}

/// User and password of `Authorization: Basic …`.
fn in_basic(value: &HeaderValue) -> Option<Vec<u8>> {
    let (scheme, rest) = value.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("basic") { STANDARD.decode(rest.trim()).ok() } else { None }
}

fn authority(request: &Request<Drain>) -> String {
    request.uri().authority().map(ToString::to_string).unwrap_or_default()
}

fn misplaced(
    name: &str,
    origin: &Origin,
    standing: Option<&SecretGrant>,
    usage: SecretUse,
    here: Option<&str>,
    place: &str,
) -> String {
    let host = origin.to_string();
    let key = match usage {
        SecretUse::Header => format!("header = {:?}, ", here.unwrap_or("Authorization")),
        SecretUse::Query => format!("parameter = {:?}, ", here.unwrap_or("key")),
        SecretUse::Body | SecretUse::Sign => String::new(),
    };
    let mut hosts: Vec<String> = standing.map(|grant| grant.hosts.clone()).unwrap_or_default();
    if standing.is_none_or(|grant| !grant.is_for(origin)) {
        hosts.push(host.clone());
    }
    format!(
        "the secret {name:?} is not granted for {place} of a request to {host}, and nothing was sent; to allow it: \
         grant.secrets = [{{ name = {name:?}, use = {:?}, {key}hosts = {hosts:?} }}]",
        usage.word()
    )
}

/// Gathers the body and puts the value into it, written as the body's type wants it.
async fn put_into_body(
    request: Request<Drain>,
    origin: &Origin,
    context: &Context,
    issued: &[StandIn],
    carried: &mut Vec<String>,
) -> Result<Request<Drain>, Refused> {
    let (mut head, body) = request.into_parts();
    let sent = Arc::clone(&body.sent);
    let mut bytes = gather(body).await?;
    // It is counted once more, as it goes out.
    sent.store(0, Relaxed);
    for one in issued.iter().filter(|one| contains(&bytes, one.text.as_bytes())).collect::<Vec<_>>() {
        let placing = Placing { one, origin, grant: &context.grant, value: context.secrets.get(&one.name) };
        let secret = placing.value_for(SecretUse::Body, None, "the body")?;
        let content = as_content(secret, head.headers.get(CONTENT_TYPE));
        bounded(&bytes, one.text.as_bytes(), content.len(), BODY_WITH_SECRET)?;
        bytes = replaced(&bytes, one.text.as_bytes(), &content);
        carried.push(one.name.clone());
    }
    if head.headers.contains_key(CONTENT_LENGTH) || !bytes.is_empty() {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    }
    let body = Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed_unsync();
    Ok(Request::from_parts(head, Drain::new(body, sent, u64::MAX)))
}

/// Whether it stays within `most` bytes: a short stand-in may stand there many times, and a long value come in its place.
fn bounded(bytes: &[u8], stand_in: &[u8], value: usize, most: usize) -> Result<(), Refused> {
    let times = bytes.windows(stand_in.len()).filter(|piece| *piece == stand_in).count();
    if bytes.len().saturating_add(times.saturating_mul(value)) > most {
        let why = format!("with the values of its secrets it has more than {most} bytes");
        return Err(Refused::failed(Error::HttpRequestDenied, why));
    }
    Ok(())
}

async fn gather(mut body: Drain) -> Result<Vec<u8>, Refused> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|wrong| Refused::failed(wrong, "the guest did not write the body to its end"))?;
        bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        if bytes.len() > BODY_WITH_SECRET {
            let why = format!("a body in which a secret may stand has at most {BODY_WITH_SECRET} bytes");
            return Err(Refused::failed(Error::HttpRequestBodySize(Some(BODY_WITH_SECRET as u64)), why));
        }
    }
    Ok(bytes)
}

/// A value as it stands in a body of this type.
fn as_content(secret: &[u8], content_type: Option<&HeaderValue>) -> Vec<u8> {
    let kind = content_type.and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    if kind.starts_with("application/x-www-form-urlencoded") {
        return percent(secret, true, |byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    }
    match (kind.contains("json"), std::str::from_utf8(secret)) {
        (true, Ok(text)) => {
            let quoted = serde_json::Value::from(text).to_string();
            quoted.as_bytes()[1..quoted.len() - 1].to_vec()
        }
        _ => secret.to_vec(),
    }
}

/// Lets the body through as it comes, unless a stand-in comes along.
fn watched(request: Request<Drain>, origin: &Origin, context: &Arc<Context>, issued: Vec<StandIn>) -> Request<Drain> {
    let (origin, context) = (origin.clone(), Arc::clone(context));
    request.map(|body| {
        body.watched(
            issued.iter().map(|one| one.text.clone().into_bytes()).collect(),
            Box::new(move |n: usize| {
                let name = &issued[n].name;
                let why = misplaced(name, &origin, context.grant.secret(name), SecretUse::Body, None, "the body");
                let message = format!("request denied: {why}");
                context.journal.log(Line { at: context.clock.now(), level: Level::Warn, message, fields: Vec::new() });
            }),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_written_as_the_body_wants_it() {
        let kind = |text: &'static str| Some(HeaderValue::from_static(text));
        let written = |text| String::from_utf8(as_content(b"a b\"&", kind(text).as_ref())).unwrap();
        assert_eq!(written("application/x-www-form-urlencoded; charset=utf-8"), "a%20b%22%26");
        assert_eq!(written("application/json"), "a b\\\"&");
        assert_eq!(written("text/plain"), "a b\"&");
    }

    #[test]
    fn a_refusal_says_the_line_that_would_allow_it() {
        let origin = Origin::parse("https://api.example.org").unwrap();
        let said = misplaced("key", &origin, None, SecretUse::Header, Some("x-key"), "the header x-key");
        assert!(
            said.ends_with(
                r#"grant.secrets = [{ name = "key", use = "header", header = "x-key", hosts = ["https://api.example.org"] }]"#
            ),
            "{said}"
        );
    }

    #[test]
    fn a_stand_in_is_the_same_for_one_secret_and_says_nothing() {
        let secrets = Secrets::default();
        let (one, other) = (secrets.stand_in("one"), secrets.stand_in("other"));
        assert_eq!(one, secrets.stand_in("one"));
        assert!(one != other && one.bytes().all(|byte| byte.is_ascii_alphanumeric()) && one.len() == 39);
        assert_eq!(secrets.named(&format!("http://a/?k={one}&l={other}")), "http://a/?k=<one>&l=<other>");
        assert_ne!(one, Secrets::default().stand_in("one"), "another call has another");
    }
}
