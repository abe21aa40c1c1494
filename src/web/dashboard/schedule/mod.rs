//! `/schedule`: what fires next, and what came of what was due.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use chrono_tz::Tz;
use serde::Deserialize;

use super::shell::{Place, Shell};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::Id;
use crate::store::ledger::{self, Coming, Line, RESULTS};
use crate::web::Web;
use crate::web::address::Address;
use crate::web::fragment;
use crate::web::session::Session;
use crate::web::show::moment::Lens;
use crate::web::show::pill::Pill;
use crate::web::show::words;

mod strip;
use strip::{Strip, Window};

/// Schedules, and lines of the ledger, of one page.
const ROWS: u32 = 40;
/// So many jobs that a search finds are sought one by one in the ledger; for more it is read through.
const FEW: usize = 64;
/// The page of what has passed looks back so far.
const PAST: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

#[derive(Template)]
#[template(path = "schedule/index.html", blocks = ["timeline"])]
struct SchedulePage {
    shell: Shell,
    here: String,
    asked: Asked,
    tabs: Vec<Tab>,
    zones: Vec<&'static str>,
    /// Of what comes; none on the page of what has passed.
    window: Option<Window>,
    coming: Vec<ComingRow>,
    past: Vec<PastRow>,
    /// There are more than the page shows.
    more: bool,
    next: Option<String>,
}

fragment::fragments!(SchedulePage: timeline => as_timeline);

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// `2h`, `24h`, `7d` or `past`.
    window: String,
    q: String,
    zone: String,
    result: String,
    after: String,
}

struct Tab {
    label: &'static str,
    href: Address,
    here: bool,
}

struct ComingRow {
    tenant: String,
    job: String,
    words: String,
    strip: Strip,
    next: String,
    note: String,
    paused: bool,
}

struct PastRow {
    tenant: String,
    job: String,
    due_at: Timestamp,
    pill: Pill,
    run: Option<Id>,
    note: Option<String>,
}

impl SchedulePage {
    fn is_zone(&self, zone: &&str) -> bool {
        self.shell.lens.zone.name() == *zone
    }

    fn is_result(&self, result: &&str) -> bool {
        self.asked.result == *result
    }
}

impl Asked {
    fn address(&self, window: &str) -> Address {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Address::new("/schedule")
            .some("window", some(window).filter(|window| window != "24h").as_deref())
            .some("q", some(&self.q).as_deref())
            .some("zone", some(&self.zone).as_deref())
    }
}

pub async fn index(State(web): State<Web>, session: Session, headers: HeaderMap, Query(asked): Query<Asked>) -> Result<Response> {
    let board = web.glance(None).await?;
    let own = session.who.tenant;
    let mut zones: Vec<&str> = board.seen_by(own).map(|line| line.tenant.zone.name()).chain(["UTC"]).collect();
    zones.sort_unstable();
    zones.dedup();
    let of_tenant = own.and_then(|_| board.seen_by(own).next()).map_or(Tz::UTC, |line| line.tenant.zone);
    let shell =
        web.shell_with(&session, &board, asked.zone.parse().unwrap_or(of_tenant), None).at(Place::Schedule, &[], "Schedule");
    let (lens, past) = (shell.lens, asked.window == "past");
    let window = (!past).then(|| Window::new(&asked.window, lens));
    let mut tx = web.app.store.read().await?;
    let mut page = SchedulePage {
        here: asked.address(&asked.window).to_string(),
        tabs: tabs(&asked),
        zones,
        coming: Vec::new(),
        past: Vec::new(),
        more: false,
        next: None,
        window,
        shell,
        asked,
    };
    if let Some(window) = &page.window {
        let mut found = tx.coming(own, &page.asked.q, ROWS + 1).await?;
        page.more = found.len() > ROWS as usize;
        found.truncate(ROWS as usize);
        page.coming = found.into_iter().map(|coming| row(coming, window, lens)).collect();
    } else {
        let jobs = board.seen_by(own).flat_map(|line| &line.jobs);
        let names: Names<'_> =
            jobs.map(|line| (line.job.id, (line.job.tenant_name.as_str(), line.job.spec.name.as_str()))).collect();
        let words = page.asked.q.to_lowercase();
        let named: Vec<Id> = named(&names, &words).take(FEW + 1).collect();
        let nobody = named.is_empty() && !words.is_empty();
        let query = ledger::Query {
            tenant: own,
            named: if named.len() > FEW { Vec::new() } else { named },
            words,
            result: RESULTS.contains(&page.asked.result.as_str()).then(|| page.asked.result.clone()),
            since: lens.now.minus(PAST),
            before: page.asked.after.parse().ok(),
            limit: ROWS + 1,
            job: None,
        };
        let mut lines = if nobody { Vec::new() } else { tx.ledger(&query).await? };
        page.more = lines.len() > ROWS as usize;
        lines.truncate(ROWS as usize);
        let result = Some(page.asked.result.as_str()).filter(|result| !result.is_empty());
        let after = lines.last().filter(|_| page.more).map(|line| line.place().to_string());
        page.next = after.map(|after| page.asked.address("past").some("result", result).some("after", Some(&after)).to_string());
        page.past = lines.into_iter().filter_map(|line| past_row(line, &names)).collect();
    }
    fragment::answer(&page, &headers)
}

fn tabs(asked: &Asked) -> Vec<Tab> {
    let window = Window::word(&asked.window);
    let all = [("Next 2 h", "2h"), ("Next 24 h", "24h"), ("7 days", "7d"), ("Last 24 h", "past")];
    let here = |word| if asked.window == "past" { word == "past" } else { word == window };
    all.into_iter().map(|(label, word)| Tab { label, href: asked.address(word), here: here(word) }).collect()
}

fn row(coming: Coming, window: &Window, lens: Lens) -> ComingRow {
    let Coming { tenant, zone, job, paused, trigger, next_due_at } = coming;
    let schedule = trigger.spec.schedule().map(|spec| spec.of(trigger.job, zone));
    let said = words::trigger_short(&trigger.spec, trigger.job, zone);
    let at = schedule.as_ref().and_then(|schedule| schedule.as_ref().ok()).map_or(Tz::UTC, |schedule| schedule.zone());
    let strip = match schedule {
        Some(Ok(schedule)) => Strip::new(&schedule, next_due_at, window, paused, format!("{tenant} / {job}: {said}")),
        _ => Strip::default(),
    };
    ComingRow {
        words: if at == lens.zone { said } else { format!("{said}, {at}") },
        next: lens.day_and_minute(&next_due_at),
        note: if paused { "suppressed: the job is paused".into() } else { strip.times() },
        tenant,
        job,
        strip,
        paused,
    }
}

/// Tenant and name by job.
type Names<'a> = HashMap<Id, (&'a str, &'a str)>;

/// Jobs whose name, or whose tenant's, has these words; without words none is named.
fn named<'a>(names: &'a Names<'_>, words: &'a str) -> impl Iterator<Item = Id> + 'a {
    let fits = move |(tenant, job): &(&str, &str)| !words.is_empty() && format!("{tenant} / {job}").contains(words);
    names.iter().filter(move |(_, name)| fits(name)).map(|(id, _)| *id)
}

/// Of a job that was removed meanwhile there is nothing to show.
fn past_row(line: Line, names: &Names<'_>) -> Option<PastRow> {
    let (tenant, job) = names.get(&line.job)?;
    Some(PastRow {
        tenant: (*tenant).to_owned(),
        job: (*job).to_owned(),
        due_at: line.due_at,
        pill: Pill::occurrence(&line.result),
        run: line.run,
        note: line.note,
    })
}
