//! Alerts: what needs a person, who wants to hear nothing of it, and whether sinks take them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::extract::{Asked, Body, Caller};
use super::read;
use super::shape::{AlertJson, Count, List, NewSilenceJson, SilenceJson, SinkJson};
use crate::app::alert::{Hushed, Shown, SinkState, Standing, Which};
use crate::app::{App, Who};
use crate::domain::alert::AlertKind;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::run::COUNT_CAP;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Of {
    tenant: Option<String>,
}

impl Of {
    /// One that may not be seen is not there, in the same words.
    async fn checked(self, app: &App, who: &Who) -> Result<Option<String>> {
        if let Some(tenant) = &self.tenant {
            read::within(app, who, tenant).await?;
        }
        Ok(self.tenant)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    tenant: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

/// Open ones, then ended ones: `next` says in which of the two it goes on.
pub async fn list(State(app): State<App>, Caller(who): Caller, Asked(page): Asked<Page>) -> Result<Json<List<AlertJson>>> {
    let limit = super::limit(page.limit)?;
    let (standing, before) = page.after.as_deref().map_or(Ok((Standing::Open, None)), cursor)?;
    let tenant = Of { tenant: page.tenant }.checked(&app, &who).await?;
    let of = tenant.as_deref();
    let mut found = app.alerts(of, standing, before, limit + 1, &who).await?;
    if standing == Standing::Open && found.len() <= limit as usize {
        let room = limit + 1 - u32::try_from(found.len()).unwrap_or(limit);
        found.extend(app.alerts(of, Standing::Ended, None, room, &who).await?);
    }
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let place = |shown: &Shown| {
        let word = if shown.alert.closed_at.is_some() { ENDED } else { OPEN };
        format!("{word}.{}", shown.alert.id)
    };
    let next = found.last().filter(|_| more).map(place);
    let count = Count::up_to(app.count_alerts(of, &who).await?, COUNT_CAP);
    Ok(Json(List { items: found.into_iter().map(shape).collect(), next, count }))
}

const OPEN: &str = "open";
const ENDED: &str = "ended";

fn cursor(after: &str) -> Result<(Standing, Option<Id>)> {
    let parts = after.split_once('.').and_then(|(word, id)| Some((word, id.parse::<Id>().ok()?)));
    match parts {
        Some((OPEN, id)) => Ok((Standing::Open, Some(id))),
        Some((ENDED, id)) => Ok((Standing::Ended, Some(id))),
        _ => Err(Error::invalid("after", format!("{after:?} is not where a page ended; write the next of the page before"))),
    }
}

pub async fn silences(State(app): State<App>, Caller(who): Caller, Asked(of): Asked<Of>) -> Result<Json<List<SilenceJson>>> {
    let tenant = of.checked(&app, &who).await?;
    Ok(Json(List::whole(app.silences(tenant.as_deref(), &who).await?.into_iter().map(hushed).collect())))
}

pub async fn sinks(State(app): State<App>, Caller(who): Caller, Asked(of): Asked<Of>) -> Result<Json<List<SinkJson>>> {
    let tenant = of.checked(&app, &who).await?;
    Ok(Json(List::whole(app.sinks(tenant.as_deref(), &who).await?.into_iter().map(sink).collect())))
}

/// 201 with the silence, or 204 when it has ended.
pub async fn silence(State(app): State<App>, Caller(who): Caller, Body(asked): Body<NewSilenceJson>) -> Result<Response> {
    if let Some(tenant) = &asked.tenant {
        read::within(&app, &who, tenant).await?;
    }
    let kind = asked.kind.as_deref().map(kind).transpose()?;
    let which = Which { tenant: asked.tenant, job: asked.job, node: asked.node, kind };
    let Some(until) = asked.until else {
        app.end_silence(&which, &who).await?;
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    app.silence(&which, until, &who).await?;
    let made = app.silences(which.tenant.as_deref(), &who).await?.into_iter().find(|hushed| hushed.which == which);
    let made = made.map(hushed).ok_or_else(|| Error::not_found(format!("a silence of {which}")))?;
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

/// # Errors
/// `Invalid`, with the kinds there are.
pub fn kind(word: &str) -> Result<AlertKind> {
    AlertKind::parse(word).ok_or_else(|| {
        let all = AlertKind::ALL.map(AlertKind::word);
        Error::invalid("kind", format!("{word:?} is no kind of alert; there are {}", all.join(", ")))
    })
}

fn shape(shown: Shown) -> AlertJson {
    let Shown { alert, tenant, job, silenced } = shown;
    let (silenced_until, silenced_by) = silenced.unzip();
    AlertJson {
        id: alert.id,
        kind: alert.subject.kind.word().to_owned(),
        tenant,
        job,
        node: Some(alert.subject.node).filter(|node| *node != 0),
        message: alert.message,
        opened_at: alert.opened_at,
        closed_at: alert.closed_at,
        silenced_until,
        silenced_by,
    }
}

fn hushed(hushed: Hushed) -> SilenceJson {
    let Hushed { which, silence } = hushed;
    SilenceJson {
        tenant: which.tenant,
        job: which.job,
        node: which.node,
        kind: which.kind.map(|kind| kind.word().to_owned()),
        until: silence.until,
        by: silence.by,
        made_at: silence.made_at,
    }
}

fn sink(state: SinkState) -> SinkJson {
    let fails = state.fails();
    SinkJson {
        tenant: state.tenant,
        sink: state.sink,
        when: state.when.iter().map(|kind| kind.word().to_owned()).collect(),
        ok: state.last.as_ref().map(|_| !fails),
        last_at: state.last.as_ref().map(|last| last.ended_at.unwrap_or(last.due_at)),
        tries: state.last.as_ref().map(|last| last.tries),
        error: state.last.and_then(|last| last.error),
    }
}
