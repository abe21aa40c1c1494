//! `/t/{tenant}/failures/{cause}`: what re-running a cause would do, and the button that does it.

use askama::Template;
use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::reason;
use crate::app::failure::RERUN_LIMIT;
use crate::error::{Error, Result};
use crate::store::run::COUNT_CAP;
use crate::web::Web;
use crate::web::dashboard::run::row::{RunRow, rows_of};
use crate::web::dashboard::see_other;
use crate::web::dashboard::shell::{Place, Shell};
use crate::web::dashboard::tenant::need;
use crate::web::fragment;
use crate::web::session::Session;
use crate::web::show::number::{Capped, Plural, commas, plural};

/// Runs shown of those that would be run again.
const SAMPLE: usize = 10;

#[derive(Template)]
#[template(path = "failure/confirm.html")]
struct Confirm {
    shell: Shell,
    action: String,
    tenant: String,
    job: String,
    count: Capped,
    reason: String,
    message: String,
    note: Option<String>,
    wrong: Option<String>,
    sample: Vec<RunRow>,
}

fragment::fragments!(Confirm);

impl Confirm {
    fn question(&self) -> String {
        format!("Re-run {} dead {}?", self.count, plural(self.count.n, "run", "runs"))
    }

    fn sample_words(&self) -> String {
        if self.sample.len() as u64 == self.count.n { "All of them".into() } else { format!("{} of them", self.sample.len()) }
    }
}

pub async fn show(
    State(web): State<Web>,
    session: Session,
    headers: HeaderMap,
    Path((tenant, cause)): Path<(String, String)>,
) -> Result<Response> {
    let page = preview(&web, &session, &tenant, &cause, None).await?;
    fragment::answer(&page, &headers)
}

#[derive(Debug, Default, Deserialize)]
pub struct Typed {
    count: Option<String>,
}

pub async fn rerun(
    State(web): State<Web>,
    session: Session,
    headers: HeaderMap,
    Path((tenant, cause)): Path<(String, String)>,
    Form(typed): Form<Typed>,
) -> Result<Response> {
    let page = preview(&web, &session, &tenant, &cause, None).await?;
    let count = page.count.n;
    let said = typed.count.as_deref().map(|count| count.replace(',', "").trim().parse::<u64>());
    if count > 1_000 && said != Some(Ok(count)) {
        let wrong = format!("{} is not {}. Nothing has happened.", typed.count.as_deref().unwrap_or("Nothing"), commas(count));
        let page = preview(&web, &session, &tenant, &cause, Some(wrong)).await?;
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, fragment::answer(&page, &headers)?).into_response());
    }
    let done = web.app.rerun_cause(&tenant, number(&cause)?, &session.who).await?;
    Ok(see_other(format!("/failures?done=causes.{}.{}", done.started, done.merged)))
}

fn number(cause: &str) -> Result<i64> {
    cause.parse().map_err(|_| Error::not_found(format!("cause {cause}")))
}

async fn preview(web: &Web, session: &Session, tenant: &str, cause: &str, wrong: Option<String>) -> Result<Confirm> {
    let mut tx = web.app.store.read().await?;
    let owner = need(&mut tx, session, tenant).await?;
    let mut dead = tx.failures_of(owner.id, number(cause)?, u32::try_from(COUNT_CAP).unwrap_or(u32::MAX)).await?;
    let Some(last) = dead.first().cloned() else {
        return Err(Error::NotFound("No dead run of this cause is left: they were run again, or are gone.".into()));
    };
    let count = Capped::at(dead.len() as u64, COUNT_CAP);
    dead.truncate(SAMPLE);
    let names = tx.job_names().await?;
    let name = |id| names.iter().find(|(job, _, _)| *job == id).map_or_else(String::new, |(_, _, name)| name.clone());
    let one_press = u64::from(RERUN_LIMIT);
    let board = web.glance(None).await?;
    let shell = web.shell_with(session, &board, owner.zone, None);
    Ok(Confirm {
        shell: shell.at(Place::Failures, &[("Failures", "/failures".into())], "Re-run"),
        action: format!("/t/{tenant}/failures/{cause}/rerun"),
        tenant: tenant.to_owned(),
        job: name(last.job),
        count,
        reason: reason(&last),
        message: last.message.clone().unwrap_or_else(|| "no message".into()),
        note: (count.n > one_press).then(|| format!("One press runs {} of them; the rest stay in the list.", commas(one_press))),
        wrong,
        sample: rows_of(&mut tx, dead, tenant, name).await?,
    })
}
