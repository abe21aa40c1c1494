//! `/t/{tenant}/jobs/{job}`: how it does, what starts it, what it may.

use axum::extract::{Form, Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use super::run::row::rows_of;
use super::see_other;
use super::shell::Place;
use super::tenant::{Asked, need};
use crate::app::enqueue::Request;
use crate::domain::run::Enqueued;
use crate::domain::trigger::Cause;
use crate::error::{Error, Result};
use crate::store::Tx;
use crate::store::run::RunQuery;
use crate::web::Web;
use crate::web::address::Address;
use crate::web::board::JobLine;
use crate::web::dashboard::overview::view::EmptyIn;
use crate::web::fragment;
use crate::web::session::Session;
use crate::web::show::chart::{CHART_STEPS, LevelChart, Window};
use crate::web::show::moment::{Lens, span};
use crate::web::show::pill::Pill;
use crate::web::show::words;

pub mod backfill;
mod limits;
mod policy;
pub use limits::lines as limit_lines;
pub use policy::{Sources, ceiling_lines, grant as grant_lines, lines as policy_lines, trigger_lines};
pub mod rollout;
mod state;
mod view;

use rollout::RolloutPart;
use state::{StatePage, StatePart};
use view::{Backlog, JobPage, Occurrence};

/// Runs, times and occurrences that the page lists.
const RUNS: u32 = 10;
const NEXT: usize = 10;
const OCCURRENCES: u32 = 14;

pub async fn show(
    State(web): State<Web>,
    session: Session,
    headers: HeaderMap,
    Path((tenant, name)): Path<(String, String)>,
    Query(asked): Query<Asked>,
    Query(of_state): Query<StatePage>,
) -> Result<Response> {
    let mut tx = web.app.store.read().await?;
    let owner = need(&mut tx, &session, &tenant).await?;
    let job = tx.need_job(owner.id, &name).await?;
    let board = web.glance(asked.done.as_deref()).await?;
    let line = board.tenants.iter().flat_map(|line| &line.jobs).find(|line| line.job.id == job.id);
    let line = line.ok_or_else(|| Error::not_found(format!("job {name}")))?;
    let way = [("Overview", "/".to_owned()), (tenant.as_str(), format!("/t/{tenant}"))];
    let shell = web.shell_with(&session, &board, owner.zone, asked.done.as_deref()).at(Place::Overview, &way, &*name);
    let runs = tx.runs(owner.id, &RunQuery { job: Some(job.id), limit: RUNS, ..RunQuery::default() }).await?;
    let rollout = RolloutPart::read(&mut tx, owner.id, job.id).await?;
    let digest = rollout.as_ref().map_or(&job.digest, |rollout| &rollout.current);
    let plugin = tx.plugin_by_digest(job.tenant, digest).await?;
    let occurrences = tx.occurrences_of(job.id, OCCURRENCES).await?;
    let path = format!("/t/{tenant}/jobs/{name}");
    let grant = tx.grant_of(job.id).await?;
    let state = StatePart::read(&mut tx, job.id, of_state.key.as_deref(), &path).await?;
    let said = tx.said_of_job(owner.id, job.id).await?;
    let sources = Sources { spec: &job.spec, tenant: &owner, settings: &web.app.settings, said, job: job.id };
    let page = JobPage {
        here: path.clone(),
        path,
        health: line.health,
        why: line.why.clone(),
        last_success: tx.last_ends(&[job.id]).await?.remove(&job.id).and_then(|ends| ends.last_success_at),
        paused: job.paused_at.is_some(),
        paused_until: job.paused_until,
        plugin_name: job.spec.plugin.name.clone(),
        plugin: plugin.map_or_else(|| job.spec.plugin.to_string(), |plugin| format!("{} {}", plugin.name, plugin.version)),
        backlog: backlog(&mut tx, line, shell.lens).await?,
        rows: rows_of(&mut tx, runs, &tenant, |_| name.clone()).await?,
        config: serde_json::Value::Object(job.spec.config.clone()).to_string(),
        triggers: job.spec.triggers.iter().map(|spec| words::trigger(spec, job.id, owner.zone)).collect(),
        next: next_times(line, shell.lens),
        occurrences: occurrences
            .into_iter()
            .map(|(due_at, result, run, note)| Occurrence { due_at, pill: Pill::occurrence(&result), run, note })
            .collect(),
        patterns: tx.item_patterns(owner.id, job.id).await?,
        rollout,
        state,
        policy: policy_lines(&sources),
        trigger_lines: trigger_lines(&sources),
        ceiling_lines: ceiling_lines(&sources),
        limits: limit_lines(&grant, &owner.ceiling),
        grant: policy::grant(&grant),
        shell,
        tenant,
        job: name,
    };
    fragment::answer(&page, &headers)
}

async fn backlog(tx: &mut Tx, line: &JobLine, lens: Lens) -> Result<Option<Backlog>> {
    let Some(probe) = line.probes.first() else { return Ok(None) };
    let limit = line.job.spec.backlog().and_then(|backlog| backlog.lag_limit);
    let window = Window::since(Some(line.job.created_at), lens.now);
    let asked: Vec<_> = window.instants(CHART_STEPS).into_iter().map(|at| (line.job.id, at)).collect();
    let levels = tx.levels(&asked).await?;
    let lag = line.lag.filter(|_| line.backlog.is_some_and(|n| n > 0));
    Ok(Some(Backlog {
        size: line.backlog,
        age: lag.filter(|lag| !lag.is_zero()).map(span),
        late: lag.zip(limit).is_some_and(|(lag, limit)| lag > limit.0),
        rate_in: line.rate_in,
        rate_out: line.rate_out,
        empty_in: EmptyIn::judge(line.backlog, line.rate_in, line.rate_out, line.health),
        sampled_at: probe.sampled_at,
        error: probe.error.clone(),
        chart: LevelChart { levels, window, lens },
    }))
}

/// The next times of all its schedules together; none while it is paused.
fn next_times(line: &JobLine, lens: Lens) -> Vec<crate::clock::Timestamp> {
    if line.job.paused_at.is_some() {
        return Vec::new();
    }
    let schedules = line.job.spec.triggers.iter().filter_map(|spec| spec.schedule()?.of(line.job.id, lens.zone).ok());
    let mut times: Vec<_> = schedules.flat_map(|schedule| schedule.next(lens.now, NEXT)).collect();
    times.sort_unstable();
    times.truncate(NEXT);
    times
}

pub async fn run_now(State(web): State<Web>, session: Session, Path((tenant, job)): Path<(String, String)>) -> Result<Response> {
    let (word, run) = match web.app.run_now(&tenant, &job, Request::default(), Cause::Manual, &session.who).await? {
        Enqueued::New(run) => ("started", run),
        Enqueued::Merged(run) | Enqueued::Repeated(run) => ("merged", run),
    };
    Ok(see_other(Address::new(format!("/t/{tenant}/jobs/{job}")).some("done", Some(&format!("{word}.{tenant}.{run}")))))
}

/// Empty: until somebody resumes it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pause {
    r#for: String,
}

pub async fn pause(
    State(web): State<Web>,
    session: Session,
    Path((tenant, job)): Path<(String, String)>,
    Form(asked): Form<Pause>,
) -> Result<Response> {
    let span = Some(asked.r#for).filter(|text| !text.is_empty()).map(|text| humantime::parse_duration(&text)).transpose();
    let span = span.map_err(|wrong| Error::invalid("for", format!("{wrong}; write a duration such as \"8h\"")))?;
    web.app.pause(&tenant, &job, span.map(|span| web.app.now().plus(span)), &session.who).await?;
    Ok(see_other(format!("/t/{tenant}/jobs/{job}?done=paused")))
}

pub async fn resume(State(web): State<Web>, session: Session, Path((tenant, job)): Path<(String, String)>) -> Result<Response> {
    web.app.resume(&tenant, &job, &session.who).await?;
    Ok(see_other(format!("/t/{tenant}/jobs/{job}?done=resumed")))
}
