//! Runs for instants that have passed, because a schedule was missed, or came later than what it is for.

use super::{App, Who};
use crate::clock::Timestamp;
use crate::domain::backfill::{INSTANTS, Window, had_a_run};
use crate::domain::dead::{Action, Operation, Order, RATE_LIMIT, Which};
use crate::domain::job::Job;
use crate::domain::member::Role;
use crate::domain::schedule::Schedule;
use crate::error::{Error, Result};
use crate::store::Tx;

/// Instants at both ends that a preview shows.
const SAMPLE: usize = 3;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// At or after.
    pub from: Timestamp,
    /// Before.
    pub to: Timestamp,
    /// Which of the job's triggers, counted from 0; it may be left out when only one is a schedule.
    pub schedule: Option<usize>,
    /// Also instants that had a run.
    pub again: bool,
}

/// What a backfill would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// The cron line.
    pub line: String,
    pub zone: chrono_tz::Tz,
    /// Runs it would make.
    pub total: u64,
    /// Instants in the window that had a run already.
    pub had: u64,
    /// What came of earlier times of the window is not known any more.
    pub known_since: Option<Timestamp>,
    /// The first and the last of those that would have a run.
    pub first: Vec<Timestamp>,
    pub last: Vec<Timestamp>,
}

impl App {
    /// What a backfill would do, without doing it.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a window that cannot be.
    pub async fn preview_backfill(&self, tenant: &str, job: &str, asked: &Asked, who: &Who) -> Result<Preview> {
        let mut tx = self.store.read().await?;
        let (_, _, preview, _) = self.backfill_of(&mut tx, tenant, job, asked, who).await?;
        Ok(preview)
    }

    /// Begins it. `expected`: refuses when that is not how many runs it would make now.
    ///
    /// # Errors
    /// As [`Self::preview_backfill`]; `Conflict` when there is nothing to make up for, or the number has changed.
    #[expect(clippy::too_many_arguments, reason = "what a person says of it")]
    pub async fn backfill(
        &self,
        tenant: &str,
        job: &str,
        asked: &Asked,
        rate: u32,
        reason: String,
        expected: Option<u64>,
        who: &Who,
    ) -> Result<Operation> {
        if !(1..=RATE_LIMIT).contains(&rate) {
            return Err(Error::invalid("rate", format!("{rate} is not from 1 to {RATE_LIMIT} runs a second")));
        }
        let mut tx = self.store.begin().await?;
        let (job, window, preview, instants) = self.backfill_of(&mut tx, tenant, job, asked, who).await?;
        if let Some(expected) = expected.filter(|expected| *expected != preview.total) {
            return Err(Error::Conflict(format!("these are {} runs now, and not {expected}: look at them again", preview.total)));
        }
        let id = tx.new_id();
        let pieces: Vec<_> = instants.iter().map(|at| (job.tenant, crate::id::Id(at.0))).collect();
        let total = tx.choose_these(id, &pieces).await?;
        let which = Which {
            tenant: Some(tenant.to_owned()),
            job: Some(job.spec.name.clone()),
            since: Some(window.from),
            until: Some(window.to),
            ..Which::default()
        };
        let order = Order { which, rate, reason, backfill: Some(window) };
        self.put(tx, id, job.tenant, Action::Backfill, order, total, who).await
    }

    async fn backfill_of(
        &self,
        tx: &mut Tx,
        tenant: &str,
        job: &str,
        asked: &Asked,
        who: &Who,
    ) -> Result<(Job, Window, Preview, Vec<Timestamp>)> {
        let tenant = tx.need_tenant(tenant).await?;
        who.may(Role::Operator, tenant.id, "starting runs")?;
        let job = tx.need_job(tenant.id, job).await?;
        let now = self.now();
        if asked.from >= asked.to {
            let message = format!("{} is not after from, {}", asked.to.rfc3339(), asked.from.rfc3339());
            return Err(Error::invalid("to", message));
        }
        if asked.to > now {
            let message =
                format!("{} is yet to come: the schedule itself will see to that; write at most now", asked.to.rfc3339());
            return Err(Error::invalid("to", message));
        }
        let position = position(&job, asked.schedule)?;
        let known_since = self.known_since(asked, &job)?;
        let triggers = tx.triggers_of(job.id).await?;
        let trigger = triggers.into_iter().find(|trigger| trigger.position as usize == position);
        let trigger = trigger.ok_or_else(|| Error::Conflict("the job was changed at this moment; try again".into()))?;
        let spec =
            trigger.spec.schedule().ok_or_else(|| Error::Internal(anyhow::anyhow!("trigger {position} is no schedule")))?;
        let schedule = spec.of(job.id, tenant.zone).map_err(|wrong| Error::invalid("schedule", wrong))?;
        let all = instants(&schedule, asked)?;
        let came = tx.results_between(trigger.id, asked.from, asked.to).await?;
        let had = |at: &Timestamp| came.get(at).is_some_and(|result| had_a_run(result));
        let (before, mut instants): (Vec<_>, Vec<_>) = all.into_iter().partition(had);
        let had = before.len() as u64;
        if asked.again {
            instants.extend(before);
            instants.sort_unstable();
        }
        let (line, zone) = (spec.schedule.clone(), schedule.zone());
        let preview = Preview {
            line,
            zone,
            total: instants.len() as u64,
            had,
            known_since,
            first: instants.iter().take(SAMPLE).copied().collect(),
            last: instants.iter().skip(SAMPLE).rev().take(SAMPLE).rev().copied().collect(),
        };
        let Asked { from, to, again, .. } = *asked;
        Ok((job, Window { trigger: trigger.id, from, to, again }, preview, instants))
    }
}

impl App {
    /// Since when the ledger is known, where the window begins before it.
    ///
    /// # Errors
    /// `Invalid` when times that had their run would have another unasked.
    fn known_since(&self, asked: &Asked, job: &Job) -> Result<Option<Timestamp>> {
        let kept = self.settings.retention.succeeded;
        let since = self.now().minus(kept.0);
        // Before a job was there it had no runs.
        if asked.from >= since || job.created_at >= since {
            return Ok(None);
        }
        if asked.again {
            return Ok(Some(since));
        }
        let message = format!(
            "{} is before {}, and what came of earlier times is not known any more (retention.succeeded = {kept}): some may have had their \
             run; write a later one, or ask for those that had a run too (again)",
            asked.from.rfc3339(),
            since.rfc3339()
        );
        Err(Error::invalid("from", message))
    }
}

/// Which of the job's triggers is meant.
fn position(job: &Job, asked: Option<usize>) -> Result<usize> {
    let schedules: Vec<(usize, &str)> =
        job.spec.triggers.iter().enumerate().filter_map(|(n, spec)| Some((n, spec.schedule()?.schedule.as_str()))).collect();
    let listed = || schedules.iter().map(|(n, line)| format!("{n} ({line:?})")).collect::<Vec<_>>().join(", ");
    match (asked, schedules.as_slice()) {
        (_, []) => Err(Error::invalid("schedule", format!("the job {} has no schedule", job.spec.name))),
        (Some(n), all) if all.iter().any(|(at, _)| *at == n) => Ok(n),
        (Some(n), _) => Err(Error::invalid("schedule", format!("{n} is no schedule of this job; there is {}", listed()))),
        (None, [(n, _)]) => Ok(*n),
        (None, _) => Err(Error::invalid("schedule", format!("the job has more than one; say which: {}", listed()))),
    }
}

fn instants(schedule: &Schedule, asked: &Asked) -> Result<Vec<Timestamp>> {
    let before = Timestamp(asked.from.0.saturating_sub(1));
    let next = std::iter::successors(schedule.after(before), |at| schedule.after(*at));
    let instants: Vec<Timestamp> = next.take_while(|at| *at < asked.to).take(INSTANTS + 1).collect();
    if instants.len() > INSTANTS {
        let message = format!("more than {INSTANTS} times lie between from and to; make it in parts");
        return Err(Error::invalid("from", message));
    }
    Ok(instants)
}
