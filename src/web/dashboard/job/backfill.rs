//! `/t/{tenant}/jobs/{job}/backfill`: which times that have passed shall have a run, as a question; then the operation.

use askama::Template;
use axum::extract::{Form, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, NaiveDateTime, TimeZone};
use chrono_tz::Tz;
use serde::Deserialize;

use crate::app::backfill::{Asked, Preview};
use crate::clock::Timestamp;
use crate::domain::dead::RATE;
use crate::domain::job::Job;
use crate::domain::tenant::Tenant;
use crate::error::{Error, Result};
use crate::web::Web;
use crate::web::dashboard::see_other;
use crate::web::dashboard::shell::{Place, Shell};
use crate::web::dashboard::tenant::need;
use crate::web::fragment;
use crate::web::session::Session;
use crate::web::show::number::{Commas, commas, plural};

/// Runs a second that may be chosen.
const RATES: [u32; 3] = [1, 10, RATE];

#[derive(Template)]
#[template(path = "job/backfill.html", blocks = ["question"])]
struct Backfill {
    shell: Shell,
    path: String,
    tenant: String,
    job: String,
    zone: Tz,
    /// Position and line of each.
    schedules: Vec<(usize, String)>,
    fields: Fields,
    preview: Option<Preview>,
    wrong: Option<String>,
}

fragment::fragments!(Backfill: question => as_question);

/// The form, as somebody filled it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    from: String,
    to: String,
    schedule: String,
    again: String,
    rate: String,
    reason: String,
    total: String,
}

impl Fields {
    /// Nothing was asked yet.
    fn is_empty(&self) -> bool {
        self.from.is_empty() && self.to.is_empty()
    }

    fn again(&self) -> bool {
        !self.again.is_empty()
    }

    fn asked(&self, zone: Tz) -> Result<Asked> {
        let schedule = Some(self.schedule.as_str()).filter(|text| !text.is_empty()).map(str::parse).transpose();
        Ok(Asked {
            from: time("from", &self.from, zone)?,
            to: time("to", &self.to, zone)?,
            schedule: schedule.map_err(|_| Error::invalid("schedule", "choose one of the job's schedules"))?,
            again: self.again(),
        })
    }
}

impl Backfill {
    fn runs(&self) -> String {
        let total = self.preview.as_ref().map_or(0, |preview| preview.total);
        format!("{} {}", commas(total), plural(total, "run", "runs"))
    }

    fn total(&self) -> Commas {
        Commas(self.preview.as_ref().map_or(0, |preview| preview.total))
    }

    fn is_chosen(&self, position: &usize) -> bool {
        self.fields.schedule == position.to_string()
    }
}

/// As a browser's field for date and time writes it, in the tenant's zone; or RFC 3339.
fn time(field: &str, text: &str, zone: Tz) -> Result<Timestamp> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(Timestamp(at.timestamp_millis()));
    }
    let wall = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"].iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    let at = wall.and_then(|wall| zone.from_local_datetime(&wall).earliest());
    let wrong = || Error::invalid(field, format!("{text:?} is no time in {zone}; write it as in 2026-11-22T10:00"));
    at.map(|at| Timestamp(at.timestamp_millis())).ok_or_else(wrong)
}

pub async fn ask(
    State(web): State<Web>,
    session: Session,
    headers: HeaderMap,
    Path((tenant, job)): Path<(String, String)>,
    Query(fields): Query<Fields>,
) -> Result<Response> {
    let (owner, job) = read(&web, &session, &tenant, &job).await?;
    let page = question(&web, &session, &owner, &job, fields, None).await?;
    fragment::answer(&page, &headers)
}

pub async fn begin(
    State(web): State<Web>,
    session: Session,
    headers: HeaderMap,
    Path((tenant, job)): Path<(String, String)>,
    Form(fields): Form<Fields>,
) -> Result<Response> {
    let (owner, job) = read(&web, &session, &tenant, &job).await?;
    let (rate, seen) = (fields.rate.parse().unwrap_or(RATES[0]), fields.total.parse().ok());
    let begun = match fields.asked(owner.zone) {
        Ok(asked) => web.app.backfill(&tenant, &job.spec.name, &asked, rate, fields.reason.clone(), seen, &session.who).await,
        Err(wrong) => Err(wrong),
    };
    let wrong = match begun {
        Ok(operation) => return Ok(see_other(format!("/operations/{}", operation.id))),
        // Some had their runs meanwhile: it is shown anew, with the number that is right now.
        Err(Error::Conflict(why)) => why,
        Err(wrong @ Error::Invalid(_)) => wrong.to_string(),
        Err(wrong) => return Err(wrong),
    };
    let page = question(&web, &session, &owner, &job, fields, Some(wrong)).await?;
    Ok((StatusCode::UNPROCESSABLE_ENTITY, fragment::answer(&page, &headers)?).into_response())
}

async fn read(web: &Web, session: &Session, tenant: &str, job: &str) -> Result<(Tenant, Job)> {
    let mut tx = web.app.store.read().await?;
    let owner = need(&mut tx, session, tenant).await?;
    let job = tx.need_job(owner.id, job).await?;
    Ok((owner, job))
}

async fn question(
    web: &Web,
    session: &Session,
    owner: &Tenant,
    job: &Job,
    fields: Fields,
    wrong: Option<String>,
) -> Result<Backfill> {
    let (tenant, name) = (owner.name.clone(), job.spec.name.clone());
    let asked = if fields.is_empty() { None } else { Some(fields.asked(owner.zone)) };
    let (preview, wrong) = match asked {
        None => (None, wrong),
        Some(Err(unreadable)) => (None, wrong.or(Some(unreadable.to_string()))),
        Some(Ok(asked)) => match web.app.preview_backfill(&tenant, &name, &asked, &session.who).await {
            Ok(preview) => (Some(preview), wrong),
            Err(impossible @ Error::Invalid(_)) => (None, wrong.or(Some(impossible.to_string()))),
            Err(wrong) => return Err(wrong),
        },
    };
    let board = web.glance(None).await?;
    let path = format!("/t/{tenant}/jobs/{name}");
    let way = [("Overview", "/".to_owned()), (tenant.as_str(), format!("/t/{tenant}")), (name.as_str(), path.clone())];
    let shell = web.shell_with(session, &board, owner.zone, None).at(Place::Overview, &way, "Backfill");
    let schedules = job.spec.triggers.iter().enumerate();
    Ok(Backfill {
        schedules: schedules.filter_map(|(n, spec)| Some((n, spec.schedule()?.schedule.clone()))).collect(),
        shell,
        path: format!("{path}/backfill"),
        zone: owner.zone,
        tenant,
        job: name,
        fields,
        preview,
        wrong,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_in_the_tenants_zone() {
        let berlin = |text| time("from", text, Tz::Europe__Berlin).map(Timestamp::rfc3339);
        assert_eq!(berlin("2026-11-22T10:00").unwrap(), "2026-11-22T09:00:00.000Z");
        assert_eq!(berlin("2026-11-22T10:00:00Z").unwrap(), "2026-11-22T10:00:00.000Z");
        assert!(berlin("yesterday").unwrap_err().to_string().contains("Europe/Berlin"));
    }
}
