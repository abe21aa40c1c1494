//! `/t/{tenant}/runs/{run}`: one run, live while it runs.

use std::time::Duration;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::artifacts::{self, ArtifactRow};
use super::attempts::{self, AttemptRow, Taken};
use super::items::ItemsPart;
use super::log::{After, LINES, LineRow};
use super::row::RunRow;
use super::why::{Wait, waits};
use crate::clock::Timestamp;
use crate::domain::health::words as in_words;
use crate::domain::run::{Run, State as RunState};
use crate::domain::tenant::Tenant;
use crate::error::Result;
use crate::id::Id;
use crate::store::Tx;
use crate::store::dead::Settled;
use crate::store::job::Revision;
use crate::store::record::OUTSIDE_NODE;
use crate::web::Web;
use crate::web::dashboard::shell::{Link, Place, Shell};
use crate::web::dashboard::tenant::need;
use crate::web::fragment::{self, FRAGMENT};
use crate::web::session::Session;
use crate::web::show::json::Json;
use crate::web::show::moment::span;
use crate::web::show::number::Commas;
use crate::web::show::words;

/// Stands in a message that is not the whole of what was said.
const CUT: &str = "… truncated, full log";

#[derive(Template)]
#[template(path = "run/show.html", blocks = ["top", "progress", "why", "attempts", "items", "artifacts", "lines", "facts", "output"])]
pub struct RunPage {
    pub shell: Shell,
    pub here: String,
    pub tenant: String,
    pub job: String,
    pub row: RunRow,
    pub verdict: Option<Verdict>,
    pub waits: Vec<Wait>,
    /// Discarded, and may be brought back.
    pub can_be_undone: bool,
    pub spent: String,
    pub attempts: Vec<AttemptRow>,
    pub items: ItemsPart,
    pub artifacts: Vec<ArtifactRow>,
    pub lines: Vec<LineRow>,
    /// Lines before the first that is shown.
    pub log_cut: usize,
    pub dropped: u64,
    pub waited: Option<String>,
    pub times: Vec<(&'static str, Timestamp)>,
    pub facts: Vec<(&'static str, String)>,
    pub parent: Option<Id>,
    pub again: Option<Id>,
    pub cause: Option<String>,
    pub digest: String,
    pub input: Option<String>,
    pub output: Option<String>,
    pub details: Option<String>,
}

fragment::fragments!(
    RunPage: top => as_top, progress => as_progress, why => as_why, attempts => as_attempts, items => as_items, artifacts => as_artifacts, lines => as_lines, facts => as_facts, output => as_output
);

impl RunPage {
    fn short_digest(&self) -> String {
        words::short_digest(&self.digest)
    }
}

/// What became of it, in a sentence or two.
pub struct Verdict {
    pub class: &'static str,
    pub head: String,
    pub rest: String,
    pub link: Option<Link>,
}

pub async fn show(
    State(web): State<Web>,
    session: Session,
    headers: HeaderMap,
    Path((tenant, id)): Path<(String, String)>,
    Query(asked): Query<After>,
) -> Result<Response> {
    let id: Id = id.parse()?;
    let mut tx = web.app.store.read().await?;
    let owner = need(&mut tx, &session, &tenant).await?;
    let run = tx.need_run(owner.id, id).await?;
    let (attempt, line) = asked.place();
    let (lines, dropped) = tx.log_of(owner.id, id, attempt, line).await?;
    if lines.is_empty() && headers.get(&FRAGMENT).is_some_and(|name| name == "lines") {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let board = web.glance(asked.done.as_deref()).await?;
    let revision = tx.revision(run.revision).await?;
    let job = revision.as_ref().map_or_else(|| run.job.to_string(), |revision| revision.spec.name.clone());
    let digest = digest_of(&mut tx, &run, revision.as_ref()).await?;
    let plugin = tx.plugin_by_digest(owner.id, &digest).await?.map(|plugin| format!("{} {}", plugin.name, plugin.version));
    let way = [
        ("Overview", "/".to_owned()),
        (tenant.as_str(), format!("/t/{tenant}")),
        (job.as_str(), format!("/t/{tenant}/jobs/{job}")),
    ];
    let shell = web.shell_with(&session, &board, owner.zone, asked.done.as_deref()).at(Place::Runs, &way, id.short());
    let payload = tx.payload(owner.id, id).await?;
    let progress = tx.progress_of(owner.id, &[id]).await?.pop().map(|(_, progress)| progress);
    let waits = waits_of(&web, &mut tx, &run, &owner, &job).await?;
    let settled = tx.settled(owner.id, id).await?;
    let again = settled.as_ref().and_then(|settled| settled.rerun);
    let most = revision.as_ref().map_or(0, |revision| revision.spec.retry.attempts);
    let output = payload.output.as_ref().map(|output| output.len() as u64);
    let taken = Taken::read(&mut tx, &run, &owner, revision.as_ref(), &lines, output).await?;
    let attempts = attempts::read(&mut tx, &session, &run, &taken, shell.lens.now).await?;
    let log_cut = lines.len().saturating_sub(LINES);
    let mut facts = facts(&run, most, plugin);
    facts.extend(end(&mut tx, &run, attempts.first()).await?);
    if let Some(revision) = &revision {
        facts.push(("Limit", limits(&revision.spec)));
    }
    let kept = owner.retention.over(&web.app.settings.retention).dead.0;
    let can_be_undone = settled.as_ref().is_some_and(|settled| settled.can_be_undone(shell.lens.now));
    let items = ItemsPart::read(&mut tx, &run, &asked, revision.as_ref(), settled.is_some(), &tenant, shell.lens.now).await?;
    let page = RunPage {
        can_be_undone,
        artifacts: artifacts::rows(tx.artifacts_of(owner.id, id).await?, &tenant, id),
        here: format!("/t/{tenant}/runs/{id}"),
        verdict: verdict(&run, &tenant, settled.as_ref()),
        waits,
        spent: attempts::spent(&run, most),
        items,
        attempts,
        lines: lines.into_iter().skip(log_cut).map(LineRow::from).collect(),
        log_cut,
        dropped,
        waited: run.first_started_at.map(|at| span(at.since(run.created_at))),
        times: times(&run, settled.as_ref(), kept),
        facts,
        parent: payload.parent,
        again,
        cause: cause_link(&mut tx, &run, &tenant).await?,
        digest,
        input: payload.input.clone(),
        output: payload.output.clone(),
        details: payload.details.clone(),
        row: RunRow { settled: settled.is_some(), run, tenant: tenant.clone(), job: job.clone(), progress, payload },
        shell,
        tenant,
        job,
    };
    fragment::answer(&page, &headers)
}

/// Nothing for a run that does not wait.
async fn waits_of(web: &Web, tx: &mut Tx, run: &Run, owner: &Tenant, job: &str) -> Result<Vec<Wait>> {
    if !matches!(run.state, RunState::Waiting { .. }) {
        return Ok(Vec::new());
    }
    let job = tx.job(owner.id, job).await?;
    let scene = web.app.scene(tx, owner).await?;
    let needs = web.app.needs(&scene, job.as_ref());
    Ok(waits(run, job.as_ref(), &needs, web.app.now()))
}

/// What it used, which need not be its revision's while there are two versions.
async fn digest_of(tx: &mut Tx, run: &Run, revision: Option<&Revision>) -> Result<String> {
    let used = tx.used_digest(run.tenant, run.id).await?;
    Ok(used.or_else(|| revision.map(|revision| revision.digest.clone())).unwrap_or_default())
}

fn facts(run: &Run, most: u32, plugin: Option<String>) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if run.attempt > 0 {
        facts.push(("Attempt", format!("{}; {} of {most} failed", run.attempt, run.failed)));
    }
    if let Some(counts) = &run.counts {
        let said = words::counts(counts);
        if !said.is_empty() {
            facts.push(("Pieces", said));
        }
    }
    if let RunState::Running { node: OUTSIDE_NODE, .. } = &run.state {
        facts.push(("Node", "none: its items are handed out one by one".into()));
    } else if let RunState::Running { node, .. } = &run.state {
        facts.push(("Node", format!("{node}, lease {}", run.fence)));
    }
    if let Some(plugin) = plugin {
        facts.push(("Plugin", plugin));
    }
    facts
}

/// How a run that is over came to its end, and where.
async fn end(tx: &mut Tx, run: &Run, last: Option<&AttemptRow>) -> Result<Vec<(&'static str, String)>> {
    let Some(last) = last.filter(|_| run.state.is_final()) else { return Ok(Vec::new()) };
    let name = tx.nodes().await?.into_iter().find(|node| node.id == last.node).map(|node| format!("{}, {}", node.id, node.name));
    let node = if last.node == OUTSIDE_NODE { "none: its items were handed out".into() } else { last.node.to_string() };
    Ok(vec![("Ended as", last.pill.word().to_owned()), ("Took", last.took.clone()), ("Node", name.unwrap_or(node))])
}

fn limits(spec: &crate::domain::job::JobSpec) -> String {
    let total = spec.total_limit.map(|limit| format!(", {} in all", in_words(limit.0))).unwrap_or_default();
    let stall = spec.stall_limit.map(|limit| format!(", stall {}", in_words(limit.0))).unwrap_or_default();
    format!("{} an attempt{total}{stall}", in_words(spec.time_limit.0))
}

/// `kept`: of dead runs.
fn times(run: &Run, settled: Option<&Settled>, kept: Duration) -> Vec<(&'static str, Timestamp)> {
    match &run.state {
        RunState::Waiting { due_at, .. } => vec![("Due", *due_at)],
        RunState::Running { started_at, .. } => vec![("Began", *started_at)],
        RunState::Succeeded { started_at, ended_at } => vec![("Began", *started_at), ("Ended", *ended_at)],
        RunState::Dead { started_at, ended_at, .. } => {
            let settled = settled.into_iter().filter(|settled| settled.rerun.is_none());
            let discarded = settled.flat_map(|s| [("Discarded", Some(s.at)), ("To be undone until", s.undo_until)]);
            let known = [("Began", *started_at), ("Died", Some(*ended_at)), ("Deleted", Some(ended_at.plus(kept)))]
                .into_iter()
                .chain(discarded);
            known.filter_map(|(label, at)| Some((label, at?))).collect()
        }
        RunState::Cancelled { ended_at, .. } => vec![("Cancelled", *ended_at)],
    }
}

fn verdict(run: &Run, tenant: &str, settled: Option<&Settled>) -> Option<Verdict> {
    let plain = |class, head: String, rest: String| Some(Verdict { class, head, rest, link: None });
    match &run.state {
        RunState::Dead { reason, .. } => {
            let why = words::reason(*reason, run.failed, run.lost);
            let mut head = words::first_line(run.message.as_deref().unwrap_or("It failed.")).to_owned();
            if !head.ends_with(['.', '!', '?']) {
                head.push('.');
            }
            match settled {
                Some(Settled { rerun: Some(again), .. }) => Some(Verdict {
                    class: "",
                    head,
                    rest: format!("Dead: {why}. It was run again."),
                    link: Some(Link { href: format!("/t/{tenant}/runs/{again}"), label: "Open the new run" }),
                }),
                Some(Settled { by, .. }) => plain("", head, format!("Dead: {why}. Discarded by {by}.")),
                None => plain("bad", head, format!("Dead: {why}.")),
            }
        }
        RunState::Waiting { why: Some(why), .. } if run.failed > 0 || run.lost > 0 => {
            plain("warn", "Retrying.".into(), why.clone())
        }
        RunState::Waiting { why: Some(why), .. } => plain("", "Waiting.".into(), why.clone()),
        RunState::Running { stopping: true, .. } => {
            plain("", "Stopping.".into(), "It was asked to stop and is given its grace.".into())
        }
        RunState::Succeeded { .. } if run.counts.is_some_and(|counts| counts.failed > 0) => plain(
            "",
            format!("{}.", words::state(run)),
            "That is within the job's threshold; the log names those that failed.".into(),
        ),
        RunState::Cancelled { .. } => plain("", "Cancelled.".into(), run.message.clone().unwrap_or_default()),
        _ => None,
    }
}

/// The page of the cause, when others died of it too.
async fn cause_link(tx: &mut Tx, run: &Run, tenant: &str) -> Result<Option<String>> {
    let (RunState::Dead { .. }, Some(print)) = (&run.state, run.print) else { return Ok(None) };
    Ok(tx.died_of_it_too(run).await?.then(|| format!("/t/{tenant}/failures/{print}")))
}
