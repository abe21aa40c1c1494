//! Measures backlogs and makes the runs they want.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::definitions::Known;
use super::memory::Promised;
use super::{Context, guest, random};
use crate::clock::Timestamp;
use crate::domain::attempt::Counts;
use crate::domain::backlog::{Measurement, Probe};
use crate::domain::job::Job;
use crate::domain::log::Level;
use crate::domain::probe::{ProbeKind, Source};
use crate::domain::retry::Decision;
use crate::domain::run::{Final, NewRun, Run, StateFilter};
use crate::domain::trigger::{BacklogSpec, Cause, Trigger, TriggerSpec};
use crate::egress::scrub::SHORTEST;
use crate::error::Result;
use crate::id::Id;
use crate::plugin::{Journal, Work};
use crate::probe::{self, Asker, TIME_LIMIT};
use crate::store::backlog::Sample;
use crate::store::run::RunQuery;

/// Measurements at a time. They wait for their targets and work little: a farm of hung ones must not hold up the others
/// (scenario W3), nor open a thousand sockets.
const AT_A_TIME: usize = 256;
/// Of one tenant, whose targets may all hang.
const OF_A_TENANT: usize = 64;
/// With more than so many under way, looks for due ones are not made at every end of one.
const FEW: usize = 32;
const BREATH: Duration = Duration::from_millis(100);
/// Between two tries to get memory for a guest that measures.
const AGAIN: Duration = Duration::from_millis(20);
/// How long a probe rests that could not be recorded.
const AFTER_FAILURE: Duration = Duration::from_secs(30);
/// The database is asked at least so often, should a signal be lost.
const POLL: Duration = Duration::from_secs(30);

/// What a probe came to; the error is for a person.
type Found = std::result::Result<Measurement, String>;

/// Triggers whose measurement is under way, each with its tenant.
#[derive(Default)]
struct UnderWay(HashMap<Id, Id>);

impl UnderWay {
    /// Whether it has a place now; not a second one.
    fn enter(&mut self, trigger: &Trigger) -> bool {
        let of_tenant = || self.0.values().filter(|tenant| **tenant == trigger.tenant).count();
        let may = self.0.len() < AT_A_TIME && !self.0.contains_key(&trigger.id) && of_tenant() < OF_A_TENANT;
        may && self.0.insert(trigger.id, trigger.tenant).is_none()
    }
}

pub(super) async fn run(context: Arc<Context>, stop: CancellationToken) {
    let mut definitions = context.store.signals().definitions();
    let busy: Arc<Mutex<UnderWay>> = Arc::default();
    context.duties.came_round("prober", context.clock.uptime(), Duration::ZERO);
    loop {
        let rest = match start_due(&context, &busy).await {
            Ok(rest) => {
                context.duties.came_round("prober", context.clock.uptime(), rest);
                rest
            }
            Err(wrong) => {
                tracing::error!(duty = "prober", error = %wrong, "a duty failed; it tries again");
                Duration::from_secs(1)
            }
        };
        tokio::select! {
            () = stop.cancelled() => return context.duties.ended("prober"),
            _ = definitions.changed() => {}
            () = context.definitions.probe_soon.notified() => {}
            () = context.clock.sleep(rest) => {}
        }
        let under_way = busy.lock().unwrap_or_else(PoisonError::into_inner).0.len();
        if under_way > FEW {
            tokio::time::sleep(BREATH).await;
        }
    }
}

/// Starts the probes that are due and not under way; answers when to look again.
async fn start_due(context: &Arc<Context>, busy: &Arc<Mutex<UnderWay>>) -> Result<Duration> {
    if !context.pulse.leads() {
        return Ok(super::FOLLOWING);
    }
    let mut tx = context.store.read().await?;
    let now = context.clock.now();
    // Twice: so many may be under way, and stand first.
    let due = tx.due_probes(now, 2 * AT_A_TIME as u32).await?;
    // What is under way is due until it is recorded, and says so when it is; only what comes after counts here.
    let next = tx.next_probe(now).await?;
    drop(tx);
    for (trigger, failed) in due {
        if !busy.lock().unwrap_or_else(PoisonError::into_inner).enter(&trigger) {
            continue;
        }
        let (context, busy) = (context.clone(), busy.clone());
        tokio::spawn(async move {
            let id = trigger.id;
            if let Err(wrong) = probed(&context, trigger, failed).await {
                tracing::error!(trigger.id = %id, error = %wrong, "a probe could not be recorded; it rests");
                // It is due still: without a rest its target would be asked again at once, and again.
                context.clock.sleep(AFTER_FAILURE).await;
            }
            busy.lock().unwrap_or_else(PoisonError::into_inner).0.remove(&id);
            context.definitions.probe_soon.notify_one();
        });
    }
    Ok(next.map_or(POLL, |next| next.since(context.clock.now())).min(POLL))
}

/// Measures once, records it, and enqueues what it wants. `failed`: it did the last time.
async fn probed(context: &Arc<Context>, trigger: Trigger, failed: bool) -> Result<()> {
    let TriggerSpec::Backlog { backlog: spec } = &trigger.spec else { return Ok(()) };
    let Some(known) = context.definitions.job(trigger.job) else {
        // Added a moment ago: known at the next look.
        context.clock.sleep(Duration::from_millis(200)).await;
        return Ok(());
    };
    let paused = known.job.paused_at.is_some();
    let asked = Instant::now();
    let loaded = spec.probe != ProbeKind::Plugin || context.executor.has(&known.job.digest);
    let found = match (paused, loaded) {
        (true, _) => None,
        (false, true) => Some(measure(context, &known, spec, (&trigger, failed)).await),
        // Said as any other failure: a node that cannot load it would else measure nothing for all, in silence.
        (false, false) => Some(Err("its plugin is not loaded on the node that measures; that node's log says why".into())),
    };
    let (now, took) = (context.clock.now(), asked.elapsed());
    let mut tx = context.store.begin().await?;
    // Read again: a run may have ended meanwhile, or the trigger be gone.
    let Some(mut probe) = tx.probe(trigger.id).await? else { return Ok(()) };
    let mut sample = Sample { at: now, size: None, age_ms: None, error: None };
    let (mut wanted, cool_until) = (0, probe.cool_until);
    match found {
        None => probe.next_at = now.plus(spec.every.0),
        Some(Ok(found)) => {
            wanted = probe.measured(found, spec, now, random());
            (sample.size, sample.age_ms) = (Some(found.size), found.age_ms);
        }
        Some(Err(error)) => {
            sample.error = Some(error.clone());
            probe.unanswered(error, spec, now, random());
        }
    }
    let runs = vec![new_runs(&known.job, wanted, probe.size, spec, now)];
    let made = tx.enqueue(&runs, now).await?.into_iter().flatten().find_map(std::result::Result::err);
    if let Some(refused) = made {
        // Nothing started, or not all: what there is no room for is wanted again at the next look.
        (probe.cool_until, probe.error, probe.error_at) = (cool_until, Some(refused.to_string()), Some(now));
        sample.error.clone_from(&probe.error);
    }
    tx.put_probe(&probe).await?;
    if sample.size.is_some() || sample.error.is_some() {
        tx.put_sample(trigger.tenant, trigger.job, &sample).await?;
        tx.measured(took);
    }
    tx.commit().await
}

/// As many as the backlog wants; those that may not live beside the others are merged with them.
fn new_runs(job: &Job, wanted: u32, size: Option<u64>, spec: &BacklogSpec, now: Timestamp) -> Vec<NewRun> {
    let run = NewRun {
        tenant: job.tenant,
        job: job.id,
        revision: job.revision,
        cause: Cause::Backlog,
        input: None,
        due_at: None,
        start_by: job.spec.start_deadline.map(|deadline| now.plus(deadline.0)),
        parent: None,
        requested_by: size.map(|size| format!("backlog {size}")),
        // However many the job may have: no more for its backlog than this.
        max_live: spec.max_parallel.max(1),
        idempotency: None,
    };
    vec![run; wanted as usize]
}

async fn measure(context: &Arc<Context>, known: &Known, spec: &BacklogSpec, (trigger, failed): (&Trigger, bool)) -> Found {
    let word = spec.probe.word();
    // Apply has checked this; the ceiling may have been lowered since.
    if !known.ceiling.probes.iter().any(|probe| probe == word) {
        return Err(format!(
            "probes of the kind {word:?} are not within the tenant's ceiling; a server admin may add it: [ceiling] probes = [{word:?}]"
        ));
    }
    let wrong = |wrong: Vec<(&str, String)>| {
        wrong.into_iter().map(|(key, message)| format!("{key}: {message}")).collect::<Vec<_>>().join("; ")
    };
    match Source::of(spec).map_err(wrong)? {
        Source::Plugin => by_plugin(context, known, trigger, failed).await,
        Source::Queue { job } => in_queue(context, known, &job).await.map_err(|wrong| wrong.to_string())?,
        Source::Sqlite { file, query } => {
            if let Some(why) = known.ceiling.bars_file(&file) {
                return Err(why);
            }
            let file = Path::new(&file);
            if context.settings.probes.sqlite.iter().any(|allowed| allowed == file) {
                probe::measure_file(file, &query).await
            } else {
                Err(format!("{} is no file that probes may query any more; windlass.toml may add it", file.display()))
            }
        }
        Source::Away(away) => {
            let secret = secret(context, known, away.secret.as_deref()).await?;
            let asker = Asker { tenant: known.job.tenant_name.as_str().into(), ceiling: &known.ceiling, secret };
            probe::measure(&context.egress, &asker, &away).await
        }
    }
}

/// Runs of another job of the tenant that wait, due now or later.
async fn in_queue(context: &Context, known: &Known, job: &str) -> Result<Found> {
    let mut tx = context.store.read().await?;
    let Some(job) = tx.job(known.job.tenant, job).await? else { return Ok(Err(format!("there is no job {job:?} any more"))) };
    let query = RunQuery { job: Some(job.id), state: Some(StateFilter::Waiting), ..RunQuery::default() };
    Ok(Ok(Measurement { size: tx.count_runs(known.job.tenant, &query).await?, age_ms: None }))
}

/// The value of a secret that a probe names.
async fn secret(context: &Context, known: &Known, name: Option<&str>) -> std::result::Result<Option<String>, String> {
    let Some(name) = name else { return Ok(None) };
    let value = guest::secret(context, known.job.tenant, name).await.map_err(|wrong| wrong.to_string())?;
    let missing = || format!("the tenant has no secret {name:?}; set it: windlass secret set {}/{name}", known.job.tenant_name);
    let value = String::from_utf8(value.ok_or_else(missing)?);
    let value = value.map_err(|_| format!("the secret {name:?} is no text, which a password or a header must be"))?;
    if value.trim().len() < SHORTEST {
        let why = "it could not be found in what comes back, so it does not go out";
        return Err(format!("the secret {name:?} has fewer than {SHORTEST} bytes: {why}"));
    }
    Ok(Some(value))
}

/// Memory for a guest that measures; those that failed the last time have half of all, together.
async fn memory(context: &Context, known: &Known, failed: bool) -> std::result::Result<Promised, String> {
    let (memory, mib) = (&context.memory, known.memory().in_mib());
    memory.holds(mib).map_err(|wrong| wrong.to_string())?;
    let free = async {
        loop {
            let promised = if failed { memory.try_aside(mib, true) } else { memory.take_aside(mib).await };
            if let Some(promised) = promised {
                return promised;
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    // Not for ever: others wait for this measurement's place.
    let promised = tokio::time::timeout(TIME_LIMIT, free).await;
    promised.map_err(|_| "no memory is free for its guest: the node's memory_budget is taken".to_owned())
}

async fn by_plugin(context: &Arc<Context>, known: &Known, trigger: &Trigger, failed: bool) -> Found {
    let secrets = guest::secrets(context, known).await.map_err(|wrong| wrong.to_string())?;
    let _promised = memory(context, known, failed).await?;
    let config = serde_json::to_string(&known.job.spec.config).map_err(|wrong| wrong.to_string())?;
    let journal = Arc::new(Journal::default());
    let (state, calls) = mpsc::channel(16);
    let work = Work {
        tenant: known.job.tenant_name.clone(),
        job: known.job.spec.name.clone(),
        run: trigger.id,
        attempt: 1,
        trigger: Cause::Backlog.word(),
        config,
        input: "{}".into(),
        digest: known.job.digest.clone(),
        time_limit: TIME_LIMIT,
        grace: Duration::from_secs(1),
        stall_limit: None,
        grant: known.grant.clone(),
        ceiling: known.ceiling.clone(),
        secrets: Arc::new(secrets),
        journal: journal.clone(),
        stop: Arc::default(),
        state,
        items: None,
        artifacts: None,
        tape: Arc::default(),
    };
    let found = context.executor.measure(work);
    let found = tokio::select! {
        found = found => found,
        never = guest::serve_state(context, known, &journal, calls) => match never {},
    };
    // A probe has no page of its own: what it complains of goes to the server's log.
    for line in journal.take().lines.into_iter().filter(|line| line.level >= Level::Warn) {
        tracing::warn!(tenant.name = %known.job.tenant_name, job.name = %known.job.spec.name, "probe: {}", line.message);
    }
    found
}

/// Tells the job's probes that a run has ended: whether it moved anything, and whether anything is left.
pub(super) async fn run_ended(context: &Arc<Context>, run: &Run, counts: Option<Counts>, decision: &Decision) {
    let spec = context.definitions.job(run.job).and_then(|known| known.job.spec.backlog().cloned());
    let (died, is_well) = (matches!(decision, Decision::End(Final::Dead(_))), *decision == Decision::End(Final::Succeeded));
    let Some(spec) = spec.filter(|spec| counts.is_some() || died || is_well || spec.cool_down.is_some()) else { return };
    let now = context.clock.now();
    let after = |mut probe: Probe| {
        probe.cools(&spec, now);
        if counts.is_some() || is_well {
            probe.run_ended(counts, now);
        }
        if died {
            probe.run_died(&spec, now);
        } else {
            probe.dead = 0;
        }
        probe
    };
    let told = async {
        // Most ends without counts change nothing, and a loan is a commit of its own.
        let before = context.store.read().await?.probes_of(run.job).await?;
        if before.iter().all(|probe| after(probe.clone()) == *probe) {
            return Ok(());
        }
        let mut tx = context.store.begin().await?;
        for probe in tx.probes_of(run.job).await? {
            tx.put_probe(&after(probe)).await?;
        }
        tx.commit().await
    };
    match told.await {
        Ok(()) => context.definitions.probe_soon.notify_one(),
        Err(wrong) => tracing::error!(job.id = %run.job, error = %wrong, "the end of a run could not be told to its probe"),
    }
}
