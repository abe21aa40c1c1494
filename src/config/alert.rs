//! Who is told what when something needs a person: `[[alert]]`, the same in a tenant's file and in windlass.toml.

use serde::{Deserialize, Serialize};

use crate::error::Problem;
use crate::span::Span;

/// What may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertKind {
    /// Dead runs wait for a person.
    Dead,
    /// The last runs died, or its backlog cannot be measured.
    Failing,
    /// A success was due and did not come.
    Silent,
    /// Work waits that no run can take.
    Stuck,
    /// Work waits longer than was promised.
    Lagging,
    /// Windlass itself is behind: a schedule or a measurement has not come round.
    Late,
    /// A node died, or has stopped taking a job that others take.
    Node,
}

impl AlertKind {
    pub const ALL: [Self; 7] = [Self::Dead, Self::Failing, Self::Silent, Self::Stuck, Self::Lagging, Self::Late, Self::Node];

    pub fn word(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Failing => "failing",
            Self::Silent => "silent",
            Self::Stuck => "stuck",
            Self::Lagging => "lagging",
            Self::Late => "late",
            Self::Node => "node",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// One `[[alert]]`: exactly one sink, and what it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertRule {
    #[serde(default = "AlertRule::all")]
    pub when: Vec<AlertKind>,
    /// A URL that gets JSON. `{{secret.NAME}}` in a URL's path or query is the tenant's secret of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// A URL that takes what Slack's incoming webhooks take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slack: Option<String>,
    /// A URL of a generic webhook of Matrix's bridge, hookshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix: Option<String>,
    /// An address, by the server's `mail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<String>,
    /// The tenant's secret that signs what goes to `webhook`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Told of what has lasted so long: for those who are called when nobody else has seen to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Span>,
    /// Told again of what lasts.
    #[serde(default = "AlertRule::every")]
    pub repeat: Span,
}

/// Where an alert goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink<'a> {
    Webhook(&'a str),
    Slack(&'a str),
    Matrix(&'a str),
    Mail(&'a str),
}

impl<'a> Sink<'a> {
    pub fn word(self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Slack(_) => "slack",
            Self::Matrix(_) => "matrix",
            Self::Mail(_) => "mail",
        }
    }

    /// The URL; mail has none.
    pub fn url(self) -> Option<&'a str> {
        match self {
            Self::Webhook(url) | Self::Slack(url) | Self::Matrix(url) => Some(url),
            Self::Mail(_) => None,
        }
    }

    /// Scheme, host and port of its URL.
    pub fn origin(self) -> Option<&'a str> {
        let url = self.url()?;
        let host = url.find("://")? + 3;
        Some(url[host..].find(['/', '?', '#']).map_or(url, |end| &url[..host + end]))
    }
}

/// As many secrets as a URL names.
pub fn secrets_in(url: &str) -> impl Iterator<Item = &str> {
    url.split("{{secret.").skip(1).filter_map(|rest| rest.split_once("}}").map(|(name, _)| name))
}

impl AlertRule {
    fn all() -> Vec<AlertKind> {
        AlertKind::ALL.to_vec()
    }

    fn every() -> Span {
        Span::secs(4 * 3600)
    }

    /// The first that is there: a rule that was read has one.
    pub fn sink(&self) -> Option<Sink<'_>> {
        self.sinks().next()
    }

    fn sinks(&self) -> impl Iterator<Item = Sink<'_>> {
        let urls = [self.webhook.as_deref().map(Sink::Webhook), self.slack.as_deref().map(Sink::Slack)];
        urls.into_iter().chain([self.matrix.as_deref().map(Sink::Matrix), self.mail.as_deref().map(Sink::Mail)]).flatten()
    }

    /// What the sink is called where it is listed: a path may be a secret, the host is none. Two rules of one name are one sink.
    pub fn name(&self) -> String {
        let sink = match self.sink() {
            Some(Sink::Mail(to)) => format!("mail {to}"),
            Some(sink) => {
                let (url, origin) = (sink.url().unwrap_or_default(), sink.origin().unwrap_or_default());
                // Two paths at one host are two sinks.
                let path: u64 = url.bytes().fold(5_381, |sum, byte| sum.wrapping_mul(33) ^ u64::from(byte));
                format!("{} {origin}/…{:04x}", sink.word(), path & 0xffff)
            }
            None => String::new(),
        };
        self.after.map_or(sink.clone(), |after| format!("{sink} after {after}"))
    }

    /// What is wrong with it by itself. `field` is its path in its file; the server has no secrets of a tenant.
    pub fn contradictions(&self, field: &str, of_server: bool) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut refuse = |key: &str, message: String| problems.push(Problem::new(format!("{field}{key}"), message));
        let sinks: Vec<Sink<'_>> = self.sinks().collect();
        match sinks.as_slice() {
            [_] => {}
            [] => refuse("", "names nobody to tell; write one of webhook, slack, matrix and mail".into()),
            [first, second, ..] => {
                let (first, second) = (first.word(), second.word());
                refuse("", format!("has {first} and {second}; write an [[alert]] for each"));
            }
        }
        for sink in &sinks {
            if let Some(wrong) = wrong_sink(*sink, of_server) {
                refuse(&format!(".{}", sink.word()), wrong);
            }
        }
        if let Some(kind) = self.when.iter().enumerate().find_map(|(n, kind)| self.when[..n].contains(kind).then_some(kind)) {
            refuse(".when", format!("names {:?} twice", kind.word()));
        }
        if self.when.is_empty() {
            refuse(".when", "names nothing; leave it out for everything, or write as in [\"dead\", \"silent\"]".into());
        }
        if self.secret.is_some() && (of_server || self.webhook.is_none()) {
            let message = if of_server {
                "a tenant's secret signs, and this is the server's"
            } else {
                "signs a webhook, and this has none"
            };
            refuse(".secret", format!("{message}; leave it out"));
        }
        for (key, span) in [(".repeat", Some(self.repeat)), (".after", self.after)] {
            if span.is_some_and(|span| span < Span::secs(60)) {
                refuse(key, format!("{} is not possible; write at least \"1m\", as in \"4h\"", span.unwrap_or_default()));
            }
        }
        problems
    }
}

fn wrong_sink(sink: Sink<'_>, of_server: bool) -> Option<String> {
    let Sink::Mail(to) = sink else {
        let (url, origin) = (sink.url().unwrap_or_default(), sink.origin().unwrap_or_default());
        let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        return if host.is_none_or(|host| host.is_empty() || host.contains(['@', '{', '}', ' ', '*'])) {
            Some(format!("{:?} is no URL; write as in \"https://chat.example.org/hook\"", hidden(url)))
        } else if of_server && url.contains("{{secret.") {
            Some("the server has no secrets of tenants; write the URL as it is, or the alert in the tenant's file".into())
        } else if url.matches("{{").count() != secrets_in(url).count() {
            Some("has a {{ that no {{secret.NAME}} follows; write the name of one of the tenant's secrets".into())
        } else {
            None
        };
    };
    let right = to.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    (!right || to.contains([' ', ',', '<', '>'])).then(|| format!("{to:?} is no address; write one, as in \"ops@example.org\""))
}

/// A refusal goes to logs: no password of a URL.
fn hidden(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, rest)) => format!("…@{rest}"),
        None => url.to_owned(),
    }
}

/// The way mail goes out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    /// `smtp://host:25`, `smtp://user:password@host:587?tls=required`, `smtps://host`.
    pub smtp: String,
    pub from: String,
}

/// A URL that is asked as long as this server does its work: whoever misses it knows before the server could say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    pub url: String,
    #[serde(default = "Heartbeat::every")]
    pub every: Span,
}

impl Heartbeat {
    fn every() -> Span {
        Span::secs(60)
    }
}

/// What windlass.toml says of alerts, against itself.
pub(super) fn contradictions(rules: &[AlertRule], mail: Option<&Mail>, heartbeat: Option<&Heartbeat>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (n, rule) in rules.iter().enumerate() {
        problems.extend(rule.contradictions(&format!("alert[{n}]"), true));
        problems.extend(without_mail(rule, mail.is_some(), &format!("alert[{n}]")));
    }
    if let Some(mail) = mail {
        if !["smtp://", "smtps://"].iter().any(|scheme| mail.smtp.starts_with(scheme)) {
            let message = format!("{:?} is no mail server; write as in \"smtp://127.0.0.1:25\"", hidden(&mail.smtp));
            problems.push(Problem::new("mail.smtp", message));
        }
        if let Some(wrong) = wrong_sink(Sink::Mail(&mail.from), true) {
            problems.push(Problem::new("mail.from", wrong));
        }
    }
    if let Some(Heartbeat { url, every }) = heartbeat {
        if let Some(wrong) = wrong_sink(Sink::Webhook(url), true) {
            problems.push(Problem::new("heartbeat.url", wrong));
        }
        if *every < Span::secs(5) {
            problems
                .push(Problem::new("heartbeat.every", format!("{every} is not possible; write at least \"5s\", as in \"60s\"")));
        }
    }
    problems
}

/// A rule that wants mail where there is no way for it.
pub fn without_mail(rule: &AlertRule, has_mail: bool, field: &str) -> Option<Problem> {
    let message = "this server has no way for mail; windlass.toml may add it: mail = { smtp = \"smtp://127.0.0.1:25\", from = \"windlass@example.org\" }";
    (rule.mail.is_some() && !has_mail).then(|| Problem::new(format!("{field}.mail"), message))
}
