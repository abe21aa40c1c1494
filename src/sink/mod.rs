//! Where alerts go: webhooks, chats, mail; and the heartbeat outwards. Whatever a tenant names is reached within its ceiling,
//! through the same gate as its guests.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Uri};

use crate::clock::{Clock, Timestamp};
use crate::config::{Settings, Sink, secrets_in};
use crate::domain::alert::{AlertKind, Notice};
use crate::domain::grant::{Ceiling, Origin};
use crate::egress::scrub::Scrubber;
use crate::egress::{Egress, Said};
use crate::error::Result;
use crate::id::Id;

mod chat;
mod mail;
mod webhook;

pub use webhook::sign;

/// A sink has so long to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read, and characters of it that an error shows.
const ANSWER: usize = 64 * 1024;
const SHOWN: usize = 200;
/// Bytes from which on a piece of a path may be a secret, and is more than a word.
const PIECE: usize = 8;

/// What a sink is told.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The same each time it is tried, so that a sink can tell.
    pub id: Id,
    pub at: Timestamp,
    pub alert: Id,
    pub notice: Notice,
    pub kind: AlertKind,
    /// Absent: the server.
    pub tenant: Option<String>,
    pub job: Option<String>,
    pub node: Option<i64>,
    pub message: String,
    pub since: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// The page where it is seen to.
    pub url: Option<String>,
}

impl Letter {
    /// "alpha / drain-jobs"
    fn about(&self) -> String {
        let of = match (&self.tenant, &self.job) {
            (Some(tenant), Some(job)) => format!("{tenant} / {job}"),
            (Some(tenant), None) => tenant.clone(),
            (None, _) => "Windlass".into(),
        };
        self.node.map_or(of.clone(), |node| format!("{of}, node {node}"))
    }

    /// One line.
    fn title(&self) -> String {
        let (about, kind) = (self.about(), self.kind.word());
        match self.notice {
            Notice::Raised => format!("{about}: {kind}"),
            Notice::Repeated => format!("{about}: still {kind}"),
            Notice::Recovered => format!("{about}: no longer {kind}"),
        }
    }

    /// The title, why, and where to look.
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.title()];
        match (self.notice, self.ended_at) {
            (Notice::Recovered, Some(ended)) => {
                lines.push(format!("It lasted {}.", crate::domain::health::words(ended.since(self.since))));
            }
            _ => lines.push(format!("{} (since {})", self.message, self.since.utc().format("%d %b %Y, %H:%M UTC"))),
        }
        lines.extend(self.url.clone());
        lines
    }
}

/// Whom to tell, and what it may take.
#[derive(Debug)]
pub struct To<'a> {
    pub sink: Sink<'a>,
    /// Whose it is; one of the server's is the server's alone.
    pub owner: Arc<str>,
    /// `None`: windlass.toml names it, whose host is the machine's admin.
    pub ceiling: Option<&'a Ceiling>,
    /// Values of the secrets that its URL names, and of the one that signs.
    pub secrets: HashMap<String, Vec<u8>>,
    pub signs: Option<&'a str>,
}

/// The ways out.
pub struct Sinks {
    egress: Arc<Egress>,
    mail: Option<mail::Mailer>,
    clock: Arc<dyn Clock>,
}

impl Sinks {
    /// # Errors
    /// When the address of the mail server is none.
    pub fn of(settings: &Settings, egress: Arc<Egress>, clock: Arc<dyn Clock>) -> Result<Self> {
        let mail = settings.mail.as_ref().map(mail::Mailer::new).transpose()?;
        Ok(Self { egress, mail, clock })
    }

    /// Tells it; answers when the sink has taken it.
    ///
    /// # Errors
    /// Why it did not, in one line without secrets.
    pub async fn send(&self, letter: &Letter, to: &To<'_>) -> std::result::Result<(), String> {
        let (body, mut headers) = match to.sink {
            Sink::Mail(address) => {
                let mail = self.mail.as_ref().ok_or("this server has no way for mail: windlass.toml, mail")?;
                return mail.send(letter, address).await;
            }
            Sink::Webhook(_) => (webhook::body(letter), Vec::new()),
            Sink::Slack(_) => (chat::slack(letter), Vec::new()),
            Sink::Matrix(_) => (chat::matrix(letter), Vec::new()),
        };
        let body = body.to_string();
        if let Some(name) = to.signs {
            let key = to.secrets.get(name).ok_or_else(|| unset(name, &to.owner))?;
            headers = webhook::headers(letter.id, self.clock.now(), &body, key);
        }
        let url = expanded(to.sink.url().unwrap_or_default(), to)?;
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = url;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in headers {
            request.headers_mut().insert(HeaderName::from_static(name), value);
        }
        let hidden = hidden(request.uri(), to.secrets.values().map(Vec::as_slice));
        self.asked(request, &to.owner, to.ceiling, &hidden).await
    }

    /// Asks the heartbeat's URL.
    ///
    /// # Errors
    /// Why it did not take it.
    pub async fn beat(&self, url: &str) -> std::result::Result<(), String> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = url.parse().map_err(|_| "the URL is none".to_owned())?;
        let hidden = hidden(request.uri(), std::iter::empty());
        self.asked(request, &Arc::from("windlass"), None, &hidden).await
    }

    async fn asked(
        &self,
        mut request: Request<Full<Bytes>>,
        owner: &Arc<str>,
        ceiling: Option<&Ceiling>,
        hidden: &Scrubber,
    ) -> std::result::Result<(), String> {
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(concat!("Windlass/", env!("CARGO_PKG_VERSION"))));
        let everywhere = everywhere(request.uri());
        let ceiling = ceiling.unwrap_or(&everywhere);
        let said = self.egress.ask(owner, ceiling, request, PATIENCE, ANSWER).await.map_err(|refused| refused.why)?;
        taken(&said, hidden)
    }
}

/// What must not stand in a reason: secrets; and what the URL has behind its host, whole and in pieces, for a secret may be
/// written there, and many a server says in its answer what it was asked for.
fn hidden<'a>(url: &'a Uri, secrets: impl Iterator<Item = &'a [u8]>) -> Scrubber {
    let path = url.path_and_query().map_or("", |path| path.as_str());
    let pieces = path.split(['/', '?', '&', '=']).filter(|piece| piece.len() >= PIECE);
    Scrubber::new(secrets.map(<[u8]>::trim_ascii).chain(std::iter::once(path).chain(pieces).map(str::as_bytes)))
}

/// The machine's admin wrote the URL: it may be anywhere, but at what is never a target.
fn everywhere(uri: &Uri) -> Ceiling {
    let host = uri.scheme_str().zip(uri.authority()).map(|(scheme, authority)| format!("{scheme}://{authority}"));
    let hosts = host.into_iter().filter(|host| Origin::parse(host).is_ok()).collect();
    Ceiling { hosts, networks: vec!["0.0.0.0/0".into(), "::/0".into()], ..Ceiling::default() }
}

fn taken(said: &Said, hidden: &Scrubber) -> std::result::Result<(), String> {
    if (200..300).contains(&said.status) {
        return Ok(());
    }
    let whole = hidden.masked(&String::from_utf8_lossy(&said.body), "…");
    let text: String = whole.chars().filter(|letter| !letter.is_control()).take(SHOWN).collect();
    Err(format!("it answered {}{}{text}", said.status, if text.is_empty() { "" } else { ": " }))
}

/// The URL with its secrets in their places.
fn expanded(url: &str, to: &To<'_>) -> std::result::Result<Uri, String> {
    let mut whole = url.to_owned();
    for name in secrets_in(url) {
        let value = to.secrets.get(name).ok_or_else(|| unset(name, &to.owner))?;
        whole = whole.replace(&format!("{{{{secret.{name}}}}}"), String::from_utf8_lossy(value).trim());
    }
    // Not the URL itself: a secret may stand in it.
    whole.parse().map_err(|_| "its URL is none once its secrets are in their places".to_owned())
}

fn unset(name: &str, owner: &str) -> String {
    format!("the secret {name:?} is not set: windlass secret set {owner}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(body: String, url: &str, secret: &str) -> String {
        let said = Said { status: 404, headers: hyper::HeaderMap::default(), body: body.into() };
        taken(&said, &hidden(&url.parse().unwrap(), std::iter::once(secret.as_bytes()))).unwrap_err()
    }

    #[test]
    fn an_answer_that_repeats_what_it_was_asked_for_does_not_show_the_secret_in_it() {
        let url = "https://chat.test/services/T0/hush-hush";
        let reason = |body: &str| reason(body.into(), url, "hunter2\n");
        assert_eq!(reason("Cannot POST /services/T0/hush-hush"), "it answered 404: Cannot POST …");
        assert_eq!(reason(r#"{"path": "\/services\/T0\/hush-hush"}"#), r#"it answered 404: {"path": "…"}"#);
        assert_eq!(reason("no webhook hush-hush signed by hunter2"), "it answered 404: no webhook … signed by …");
        let said = Said { status: 204, headers: hyper::HeaderMap::default(), body: Bytes::new() };
        assert!(taken(&said, &Scrubber::default()).is_ok());
    }

    #[test]
    fn of_a_secret_that_the_cut_goes_through_nothing_is_left() {
        for before in SHOWN - 8..=SHOWN {
            let reason = reason(format!("{}hunter2-hunter2", "x".repeat(before)), "https://a.test", "hunter2-hunter2");
            assert!(!reason.contains("hun"), "{before}: {reason}");
        }
    }
}
