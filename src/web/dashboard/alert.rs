//! `/alerts`: what needs a person, who is told of it, and of what nobody is told for a while.

use askama::Template;
use axum::extract::{Form, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use chrono_tz::Tz;
use serde::Deserialize;

use super::see_other;
use super::shell::{Place, Shell};
use super::tenant::need;
use crate::app::alert::{Hushed, Shown, SinkState, Standing, Which};
use crate::clock::Timestamp;
use crate::domain::member::Role;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::web::Web;
use crate::web::address::Address;
use crate::web::api::parse_kind;
use crate::web::fragment;
use crate::web::session::Session;
use crate::web::show::pill::Pill;

#[derive(Template)]
#[template(path = "alert/index.html", blocks = ["open", "sinks"])]
struct Alerts {
    shell: Shell,
    here: String,
    tenant: Option<String>,
    may: bool,
    open: Vec<Row>,
    /// The next page of open ones.
    older: Option<String>,
    ended: Vec<Row>,
    older_ended: Option<String>,
    /// The page begins with the newest of both.
    first: String,
    is_first: bool,
    silences: Vec<Quiet>,
    sinks: Vec<SinkRow>,
}

fragment::fragments!(Alerts: open => as_open, sinks => as_sinks);

struct Row {
    kind: &'static str,
    pill: Pill,
    about: String,
    href: String,
    /// For the button.
    tenant: String,
    job: String,
    node: i64,
    why: String,
    opened_at: Timestamp,
    closed_at: Option<Timestamp>,
    silenced: Option<(Timestamp, String)>,
}

struct Quiet {
    words: String,
    tenant: String,
    job: String,
    node: i64,
    kind: &'static str,
    until: Timestamp,
    by: String,
}

struct SinkRow {
    sink: String,
    of: String,
    when: String,
    pill: Option<Pill>,
    at: Option<Timestamp>,
    error: Option<String>,
}

#[derive(Deserialize)]
pub struct Asked {
    tenant: Option<String>,
    done: Option<String>,
    /// The last of the page before, of open ones and of ended ones.
    after: Option<Id>,
    ended: Option<Id>,
}

/// Alerts a page, of each kind.
const PAGE: u32 = 50;

pub async fn index(State(web): State<Web>, session: Session, headers: HeaderMap, Query(asked): Query<Asked>) -> Result<Response> {
    let zone = match &asked.tenant {
        Some(name) => need(&mut web.app.store.read().await?, &session, name).await?.zone,
        None => Tz::UTC,
    };
    let board = web.glance(asked.done.as_deref()).await?;
    let (of, who) = (asked.tenant.as_deref(), &session.who);
    let first = Address::new("/alerts").some("tenant", of);
    let mut open = web.app.alerts(of, Standing::Open, asked.after, PAGE + 1, who).await?;
    let mut ended = web.app.alerts(of, Standing::Ended, asked.ended, PAGE + 1, who).await?;
    let (after, over) = (asked.after.map(|id| id.to_string()), asked.ended.map(|id| id.to_string()));
    let here = first.clone().some("after", after.as_deref()).some("ended", over.as_deref());
    let older = cut(&mut open).map(|last| first.clone().some("after", Some(&last)).some("ended", over.as_deref()).to_string());
    let older_ended =
        cut(&mut ended).map(|last| format!("{}#ended", first.clone().some("after", after.as_deref()).some("ended", Some(&last))));
    let page = Alerts {
        shell: web.shell_with(&session, &board, zone, asked.done.as_deref()).at(Place::Alerts, &[], "Alerts"),
        here: here.to_string(),
        is_first: here.to_string() == first.to_string(),
        first: first.to_string(),
        may: session.who.role >= Role::Operator,
        open: open.into_iter().map(row).collect(),
        older,
        ended: ended.into_iter().map(row).collect(),
        older_ended,
        silences: web.app.silences(of, who).await?.into_iter().map(quiet).collect(),
        sinks: web.app.sinks(of, who).await?.into_iter().map(sink).collect(),
        tenant: asked.tenant,
    };
    fragment::answer(&page, &headers)
}

/// Leaves a page's worth; answers the last of it where there is more.
fn cut(found: &mut Vec<Shown>) -> Option<String> {
    let more = found.len() > PAGE as usize;
    found.truncate(PAGE as usize);
    found.last().filter(|_| more).map(|last| last.alert.id.to_string())
}

fn row(shown: Shown) -> Row {
    let Shown { alert, tenant, job, silenced } = shown;
    let node = Some(alert.subject.node).filter(|node| *node != 0);
    let (about, href) = match (&tenant, &job) {
        (Some(tenant), Some(job)) => (format!("{tenant} / {job}"), format!("/t/{tenant}/jobs/{job}")),
        (Some(tenant), None) => (tenant.clone(), format!("/t/{tenant}")),
        (None, _) => ("Windlass".into(), "/nodes".into()),
    };
    Row {
        kind: alert.subject.kind.word(),
        pill: Pill::alert(alert.subject.kind),
        about: node.map_or(about.clone(), |node| format!("{about}, node {node}")),
        href,
        tenant: tenant.unwrap_or_default(),
        job: job.unwrap_or_default(),
        node: node.unwrap_or(0),
        why: alert.message,
        opened_at: alert.opened_at,
        closed_at: alert.closed_at,
        silenced,
    }
}

fn quiet(hushed: Hushed) -> Quiet {
    let Hushed { which, silence } = hushed;
    Quiet {
        words: which.to_string(),
        kind: which.kind.map_or("", |kind| kind.word()),
        tenant: which.tenant.unwrap_or_default(),
        job: which.job.unwrap_or_default(),
        node: which.node.unwrap_or(0),
        until: silence.until,
        by: silence.by,
    }
}

fn sink(state: SinkState) -> SinkRow {
    let fails = state.fails();
    let words: Vec<&str> = state.when.iter().map(|kind| kind.word()).collect();
    let pill = state.last.as_ref().map(|last| Pill::sink(fails, fails && last.ended_at.is_some()));
    SinkRow {
        sink: state.sink,
        of: state.tenant.unwrap_or_else(|| "windlass.toml".into()),
        when: words.join(", "),
        pill,
        at: state.last.as_ref().map(|last| last.ended_at.unwrap_or(last.due_at)),
        error: state.last.and_then(|last| last.error),
    }
}

/// The subject of a button; what is empty is all of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Subject {
    tenant: String,
    job: String,
    /// 0: of any.
    node: i64,
    kind: String,
    r#for: String,
    /// The page is of one tenant.
    of: String,
}

impl Subject {
    fn which(&self) -> Result<Which> {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let kind = some(&self.kind).map(|kind| parse_kind(&kind)).transpose()?;
        let node = Some(self.node).filter(|node| *node != 0);
        Ok(Which { tenant: some(&self.tenant), job: some(&self.job), node, kind })
    }

    fn back(&self, done: &str) -> Response {
        let of = Some(self.of.as_str()).filter(|of| !of.is_empty());
        see_other(Address::new("/alerts").some("tenant", of).some("done", Some(done)))
    }
}

pub async fn silence(State(web): State<Web>, session: Session, Form(asked): Form<Subject>) -> Result<Response> {
    let span = humantime::parse_duration(&asked.r#for);
    let span = span.map_err(|wrong| Error::invalid("for", format!("{wrong}; write a duration such as \"8h\"")))?;
    web.app.silence(&asked.which()?, web.app.now().plus(span), &session.who).await?;
    Ok(asked.back("silenced"))
}

pub async fn speak(State(web): State<Web>, session: Session, Form(asked): Form<Subject>) -> Result<Response> {
    web.app.end_silence(&asked.which()?, &session.who).await?;
    Ok(asked.back("spoken"))
}
