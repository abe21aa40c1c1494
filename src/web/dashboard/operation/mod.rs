//! `/operations/new`: what would be done with which dead runs, as a question; `/operations`: the answer.

use askama::Template;
use axum::extract::{Form, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono_tz::Tz;

use super::failure::asked::{Asked, Pairs, one};
use super::run::row::{RunRow, rows_of};
use super::see_other;
use super::shell::{Place, Shell};
use crate::app::operation::Preview;
use crate::clock::Timestamp;
use crate::domain::dead::{Action, OPERATION_LIMIT, Order, RATE};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::web::Web;
use crate::web::fragment;
use crate::web::session::Session;
use crate::web::show::number::{Commas, commas, plural};

pub mod show;

/// Above this the number has to be typed.
const TYPED: u64 = 1_000;
/// What may be chosen, runs a second.
const RATES: [u32; 3] = [10, RATE, 500];

#[derive(Template)]
#[template(path = "operation/new.html", blocks = ["question"])]
struct New {
    shell: Shell,
    action: Action,
    asked: Asked,
    preview: Preview,
    sample: Vec<RunRow>,
    reason: String,
    wrong: Option<String>,
}

fragment::fragments!(New: question => as_question);

impl New {
    fn verb(&self) -> &'static str {
        verb(self.action)
    }

    fn runs(&self) -> String {
        let plus = if self.preview.more { "+" } else { "" };
        format!("{}{plus} {} {}", commas(self.preview.total), dead_word(self.action), plural(self.preview.total, "run", "runs"))
    }

    fn note(&self) -> &'static str {
        match self.action {
            Action::Rerun => {
                "Nothing has happened yet. Each becomes a new run that names the old one; a job has as many unfinished runs as it may have."
            }
            Action::Discard => "Nothing has happened yet. Discarded runs can be brought back for 24 h.",
            Action::Undo => "Nothing has happened yet. They will need a person again.",
            Action::Backfill => "",
        }
    }

    fn must_type(&self) -> bool {
        self.preview.total > TYPED
    }

    fn oldest(&self) -> Option<&Timestamp> {
        self.preview.oldest.as_ref()
    }

    fn limit(&self) -> Commas {
        Commas(OPERATION_LIMIT)
    }
}

fn verb(action: Action) -> &'static str {
    match action {
        Action::Rerun => "Re-run",
        Action::Discard => "Discard",
        Action::Undo => "Bring back",
        Action::Backfill => "Backfill",
    }
}

fn dead_word(action: Action) -> &'static str {
    match action {
        Action::Rerun | Action::Discard => "dead",
        Action::Undo => "discarded",
        Action::Backfill => "missed",
    }
}

pub async fn new(State(web): State<Web>, session: Session, headers: HeaderMap, Query(pairs): Query<Pairs>) -> Result<Response> {
    let page = question(&web, &session, &pairs, None).await?;
    fragment::answer(&page, &headers)
}

pub async fn begin(State(web): State<Web>, session: Session, headers: HeaderMap, Form(pairs): Form<Pairs>) -> Result<Response> {
    let asked = Asked::new(&pairs);
    let seen = one(&pairs, "total").and_then(|total| total.parse::<u64>().ok());
    let typed = one(&pairs, "count").map(|count| count.replace(',', "").trim().parse::<u64>());
    if let Some(seen) = seen.filter(|seen| *seen > TYPED && typed != Some(Ok(*seen))) {
        let wrong = format!("{} is not {}. Nothing has happened.", one(&pairs, "count").unwrap_or("Nothing"), commas(seen));
        return again(&web, &session, &headers, &pairs, wrong).await;
    }
    let order = Order {
        which: asked.which(web.app.now()),
        rate: one(&pairs, "rate").and_then(|rate| rate.parse().ok()).unwrap_or(RATE),
        reason: one(&pairs, "reason").unwrap_or_default().to_owned(),
        backfill: None,
    };
    match web.app.operate(action(&pairs)?, order, seen, &session.who).await {
        Ok(operation) => Ok(see_other(format!("/operations/{}", operation.id))),
        // Runs died or were settled since the page was made: it is shown anew, with the number that is right now.
        Err(Error::Conflict(why)) => again(&web, &session, &headers, &pairs, why).await,
        Err(wrong) => Err(wrong),
    }
}

async fn again(web: &Web, session: &Session, headers: &HeaderMap, pairs: &Pairs, wrong: String) -> Result<Response> {
    let page = question(web, session, pairs, Some(wrong)).await?;
    Ok((StatusCode::UNPROCESSABLE_ENTITY, fragment::answer(&page, headers)?).into_response())
}

fn action(pairs: &Pairs) -> Result<Action> {
    let word = one(pairs, "action").unwrap_or_default();
    Action::with_dead(word).ok_or_else(|| Error::invalid("action", format!("{word:?} is not rerun, discard or undo")))
}

async fn question(web: &Web, session: &Session, pairs: &Pairs, wrong: Option<String>) -> Result<New> {
    let (action, asked) = (action(pairs)?, Asked::new(pairs));
    if pairs.iter().any(|(key, _)| key == "ticked") && asked.groups.is_empty() && asked.runs.is_empty() {
        return Err(Error::invalid("", "nothing is ticked: go back and tick what it is for"));
    }
    let preview = web.app.preview(action, &asked.which(web.app.now()), &session.who).await?;
    if preview.total == 0 {
        let none = format!("No {} run fits: they were run again or discarded, or are gone.", dead_word(action));
        return Err(Error::NotFound(none));
    }
    let mut tx = web.app.store.read().await?;
    let mut sample = Vec::new();
    for (tenant, job, run) in preview.sample.clone() {
        sample.extend(rows_of(&mut tx, vec![run], &tenant, |_| job.clone()).await?);
    }
    let board = web.glance(None).await?;
    let shell = web.shell_with(session, &board, Tz::UTC, None);
    Ok(New {
        shell: shell.at(Place::Failures, &[("Failures", "/failures".into())], verb(action)),
        action,
        asked,
        preview,
        sample,
        reason: one(pairs, "reason").unwrap_or_default().to_owned(),
        wrong,
    })
}

pub async fn cancel(State(web): State<Web>, session: Session, Path(id): Path<String>) -> Result<Response> {
    let id: Id = id.parse()?;
    web.app.cancel_operation(id, &session.who).await?;
    Ok(see_other(format!("/operations/{id}")))
}

pub async fn undo(State(web): State<Web>, session: Session, Path(id): Path<String>) -> Result<Response> {
    let undo = web.app.undo_operation(id.parse()?, &session.who).await?;
    Ok(see_other(format!("/operations/{}", undo.id)))
}
