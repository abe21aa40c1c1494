//! Raises what needs a person, once, and ends it when it is over; decides who is told. The courier carries it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::{Context, apart};
use crate::clock::Timestamp;
use crate::config::AlertRule;
use crate::domain::alert::{Alert, AlertKind, CALM, Notice, Silence, Subject, notice};
use crate::domain::health::{Health, words};
use crate::error::Result;
use crate::id::Id;
use crate::store::Tx;
use crate::store::alert::SinkKey;

const EVERY: Duration = Duration::from_secs(5);
/// Without a commit of this node, what was read is believed so long.
const BELIEVED: Duration = Duration::from_secs(30);
/// A schedule, or a measurement, that is so far behind is late; a measurement also two of its intervals.
const LATE: Duration = Duration::from_secs(60);
const UNMEASURED: Duration = Duration::from_secs(30);
/// A node's death is told for so long, unless it comes back: another may have its place.
const DEATH: Duration = Duration::from_secs(3600);
/// How often the words of an alert that stands are written anew.
const REWORDED: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct State {
    /// When this node began to look.
    began: Option<Timestamp>,
    looked: Option<Looked>,
    apart: apart::Seen,
    /// Since when what is open is not so any more.
    gone: HashMap<Id, Timestamp>,
    worded: HashMap<Id, Timestamp>,
}

/// A look that was done.
#[derive(Debug, Clone, Copy)]
struct Looked {
    at: Timestamp,
    /// On the clock that nobody sets.
    uptime: Duration,
    /// Of this node, before it.
    commits: u64,
}

pub(super) async fn tick(context: Arc<Context>, state: Arc<Mutex<State>>) -> Result<Duration> {
    let (now, uptime, mut state) = (context.clock.now(), context.clock.uptime(), state.lock().await);
    // After an outage, or a sleep, it begins anew: the other loops have to come round first.
    if state.looked.is_some_and(|looked| now.since(looked.at) > BELIEVED * 2) {
        (state.began, state.gone) = (None, HashMap::new());
    }
    let began = *state.began.get_or_insert(now);
    let commits = *context.store.signals().changes().borrow();
    if state.looked.is_some_and(|looked| looked.commits == commits && uptime.saturating_sub(looked.uptime) < BELIEVED) {
        return Ok(EVERY);
    }
    let mut tx = context.store.read().await?;
    let found = look(&context, &mut tx, &mut state.apart, began, now).await?;
    let open = tx.open_alerts().await?;
    drop(tx);
    settle(&context, &mut state, &open, found, now).await?;
    tell(&context, now).await?;
    // Its own commits say nothing new.
    state.looked = Some(Looked { at: now, uptime, commits: *context.store.signals().changes().borrow() });
    Ok(EVERY)
}

/// All that needs a person now.
async fn look(
    context: &Context,
    tx: &mut Tx,
    apart: &mut apart::Seen,
    began: Timestamp,
    now: Timestamp,
) -> Result<HashMap<Subject, String>> {
    let mut found = HashMap::new();
    let mut note = |tenant, job, node, kind, message| found.insert(Subject { tenant, job, node, kind }, message);
    for sick in tx.sick_jobs().await? {
        let standing = context.definitions.job(sick.job).is_some_and(|known| known.job.paused_at.is_none());
        if let Some(kind) = kind_of(sick.health).filter(|_| standing) {
            note(sick.tenant, sick.job, 0, kind, sick.why);
        }
    }
    for (tenant, job, n) in tx.dead_of_jobs().await? {
        let runs = if n == 1 { "dead run needs" } else { "dead runs need" };
        note(tenant, job, 0, AlertKind::Dead, format!("{n} {runs} a person"));
    }
    // What was due while nobody was there has a moment to be made up for.
    if now.since(began) >= LATE {
        for (tenant, job, due_at) in tx.late_schedules(now.minus(LATE)).await? {
            let message = format!("its schedule was due {} ago, and the scheduler has not come to it", words(now.since(due_at)));
            note(tenant, job, 0, AlertKind::Late, message);
        }
        for (tenant, job, next_at) in tx.late_probes(now.minus(UNMEASURED)).await? {
            let known = context.definitions.job(job).filter(|known| known.job.paused_at.is_none());
            let every = known.and_then(|known| Some(known.job.spec.backlog()?.every.0));
            if let Some(every) = every.filter(|every| now.since(next_at) > *every * 2) {
                let late = words(now.since(next_at));
                let message = format!("its backlog was to be measured {late} ago, every {}, and was not", words(every));
                note(tenant, job, 0, AlertKind::Late, message);
            }
        }
    }
    let nodes = tx.nodes().await?;
    for node in &nodes {
        if let Some(died_at) = node.died_at.filter(|died_at| now.since(*died_at) < DEATH) {
            let at = died_at.utc().format("%H:%M:%S UTC");
            let message = format!("node {} on {} has died: no heartbeat was seen for the lease before {at}", node.id, node.name);
            note(Id(0), Id(0), node.id, AlertKind::Node, message);
        }
    }
    found.extend(apart.look(context, tx, &nodes, now).await?);
    Ok(found)
}

fn kind_of(health: Health) -> Option<AlertKind> {
    match health {
        Health::Failing => Some(AlertKind::Failing),
        Health::Silent => Some(AlertKind::Silent),
        Health::Stuck => Some(AlertKind::Stuck),
        Health::Lagging => Some(AlertKind::Lagging),
        Health::Ok | Health::Paused => None,
    }
}

/// Opens what is new and closes what has been over for a while; who was told of it is told that.
async fn settle(
    context: &Context,
    state: &mut State,
    open: &[Alert],
    mut found: HashMap<Subject, String>,
    now: Timestamp,
) -> Result<()> {
    let (mut over, mut reworded) = (Vec::new(), Vec::new());
    for alert in open {
        match found.remove(&alert.subject) {
            Some(message) => {
                state.gone.remove(&alert.id);
                let worded = state.worded.get(&alert.id).copied().unwrap_or(alert.opened_at);
                if message != alert.message && now.since(worded) >= REWORDED {
                    state.worded.insert(alert.id, now);
                    reworded.push((alert.id, message));
                }
            }
            None if now.since(*state.gone.entry(alert.id).or_insert(now)) >= CALM => over.push(alert.id),
            None => {}
        }
    }
    if found.is_empty() && over.is_empty() && reworded.is_empty() {
        return Ok(());
    }
    let mut raised: Vec<(Subject, String)> = found.into_iter().collect();
    raised.sort_by_key(|(subject, _)| *subject);
    let mut tx = context.store.begin().await?;
    tx.raise_alerts(&raised, now).await?;
    for (id, message) in &reworded {
        tx.say_alert(*id, message).await?;
    }
    let mut told = tx.told_of(&over).await?;
    tx.untell_repeats(&over).await?;
    let mut messages = Vec::new();
    for id in &over {
        if tx.close_alert(*id, now).await? {
            let sinks = told.remove(id).unwrap_or_default();
            messages.extend(sinks.into_keys().map(|sink| (*id, sink, Notice::Recovered)));
        }
    }
    tx.tell(&messages, now).await?;
    tx.commit().await?;
    for id in over {
        state.gone.remove(&id);
        state.worded.remove(&id);
    }
    for (subject, message) in raised {
        super::tell::alert(context, &subject, &message);
    }
    Ok(())
}

/// Writes down who is to be told of what stands.
async fn tell(context: &Context, now: Timestamp) -> Result<()> {
    let mut tx = context.store.read().await?;
    let (open, silences) = (tx.open_alerts().await?, tx.silences(now).await?);
    let told = tx.told_of(&open.iter().map(|alert| alert.id).collect::<Vec<_>>()).await?;
    drop(tx);
    let mut messages = Vec::new();
    for alert in open.iter().filter(|alert| !silenced(alert, &silences, now)) {
        let told = told.get(&alert.id);
        for (owner, rule) in rules(context, alert.subject.tenant) {
            let sink: SinkKey = (owner, rule.name());
            let last = told.and_then(|told| told.get(&sink));
            // What its sink has not taken yet says it with the words of today: a second one would say nothing more.
            if last.is_some_and(|last| last.is_unsent) {
                continue;
            }
            if let Some(notice) = notice(alert, &rule, last.map(|last| last.at), now)
                && !messages.iter().any(|(of, to, _)| *of == alert.id && *to == sink)
            {
                messages.push((alert.id, sink, notice));
            }
        }
    }
    if messages.is_empty() {
        return Ok(());
    }
    let mut tx = context.store.begin().await?;
    tx.tell(&messages, now).await?;
    tx.commit().await
}

fn silenced(alert: &Alert, silences: &[Silence], now: Timestamp) -> bool {
    silences.iter().any(|silence| silence.covers(&alert.subject, now))
}

/// The tenant's own, and the server's.
pub(super) fn rules(context: &Context, tenant: Id) -> Vec<(Id, AlertRule)> {
    let own = context.definitions.tenant(tenant).map(|tenant| tenant.alerts.clone()).unwrap_or_default();
    let server = context.settings.alerts.iter().cloned().map(|rule| (Id(0), rule));
    own.into_iter().map(|rule| (tenant, rule)).chain(server).collect()
}
