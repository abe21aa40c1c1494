//! All tenants and jobs at one glance, read at most once a second however many pages are open.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::show::chart::Window;
use super::show::number::Capped;
use crate::app::App;
use crate::clock::Timestamp;
use crate::domain::backlog::Probe;
use crate::domain::health::{Health, lag};
use crate::domain::job::Job;
use crate::domain::tenant::Tenant;
use crate::error::Result;
use crate::id::Id;
use crate::store::run::COUNT_CAP;

/// Rates are taken over so long.
const RATE_SPAN: Duration = Duration::from_secs(300);
/// How old the glance may be.
const AGE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Board {
    pub at: Timestamp,
    /// By name.
    pub tenants: Vec<TenantLine>,
    pub window: Window,
    pub runs_per_minute: u64,
}

#[derive(Debug)]
pub struct TenantLine {
    pub tenant: Tenant,
    /// By name.
    pub jobs: Vec<JobLine>,
    pub dead: Capped,
}

#[derive(Debug)]
pub struct JobLine {
    pub job: Arc<Job>,
    pub health: Health,
    pub why: String,
    pub since: Option<Timestamp>,
    pub probes: Vec<Probe>,
    pub backlog: Option<u64>,
    pub lag: Option<Duration>,
    /// A minute.
    pub rate_in: Option<f64>,
    pub rate_out: Option<f64>,
    pub running: u64,
    pub retrying: u64,
}

#[derive(Debug, Default)]
pub struct Cache(Mutex<Option<Arc<Board>>>);

impl Cache {
    /// `fresh`: as of now, because the asker has just changed something.
    pub async fn get(&self, app: &App, fresh: bool) -> Result<Arc<Board>> {
        let mut kept = self.0.lock().await;
        let now = app.now();
        if let Some(board) = kept.as_ref().filter(|board| !fresh && now.since(board.at) < AGE && now >= board.at) {
            return Ok(board.clone());
        }
        let board = Arc::new(Board::read(app, now).await?);
        *kept = Some(board.clone());
        Ok(board)
    }

    /// The last known number of dead runs, for pages that cannot wait (errors).
    pub fn last_dead(&self, own: Option<Id>) -> Capped {
        self.0.try_lock().ok().and_then(|kept| kept.as_ref().map(|board| board.dead(own))).unwrap_or_default()
    }
}

impl Board {
    async fn read(app: &App, now: Timestamp) -> Result<Self> {
        let mut tx = app.store.read().await?;
        let (tenants, jobs, mut healths) = (tx.tenants().await?, tx.known_jobs().await?, tx.healths().await?);
        let (dead, retrying) = (tx.dead_by_tenant().await?, tx.retrying_by_job().await?);
        let tallies = tx.tally_since(now.minus(RATE_SPAN)).await?;
        let running: HashMap<Id, u64> = tx.running().await?.into_iter().map(|(_, job, n)| (job, n)).collect();
        let mut probes: HashMap<Id, Vec<Probe>> = HashMap::new();
        for probe in tx.probes().await? {
            probes.entry(probe.job).or_default().push(probe);
        }
        let before = |job: &Job| now.minus(RATE_SPAN).max(job.created_at);
        let asked: Vec<(Id, Timestamp)> = jobs.iter().map(|job| (job.id, before(job))).collect();
        let levels = tx.levels(&asked).await?;

        let ended: u64 = tallies.values().map(|tally| tally.succeeded + tally.dead + tally.cancelled).sum();
        let oldest = jobs.iter().map(|job| job.created_at).min();
        let mut by_tenant: HashMap<Id, Vec<JobLine>> = HashMap::new();
        for (job, level) in jobs.iter().cloned().zip(levels) {
            let (tenant, span) = (job.tenant, now.since(before(&job)));
            let health = healths.remove(&job.id);
            let mut line = JobLine::new(job, health, &mut probes, now);
            let tally = tallies.get(&(tenant, line.job.id)).copied().unwrap_or_default();
            line.running = running.get(&line.job.id).copied().unwrap_or(0);
            line.retrying = retrying.get(&line.job.id).copied().unwrap_or(0);
            line.rate(level, tally.done, span);
            by_tenant.entry(tenant).or_default().push(line);
        }
        let tenants = tenants.into_iter().map(|tenant| TenantLine {
            jobs: by_tenant.remove(&tenant.id).unwrap_or_default(),
            dead: Capped::at(dead.get(&tenant.id).copied().unwrap_or(0), COUNT_CAP),
            tenant,
        });
        let minutes = RATE_SPAN.as_secs().min(now.since(oldest.unwrap_or(now)).as_secs()).div_ceil(60).max(1);
        Ok(Self { at: now, tenants: tenants.collect(), window: Window::since(oldest, now), runs_per_minute: ended / minutes })
    }

    /// Tenants that somebody may see: all, or their own.
    pub fn seen_by(&self, own: Option<Id>) -> impl Iterator<Item = &TenantLine> {
        self.tenants.iter().filter(move |line| own.is_none_or(|own| own == line.tenant.id))
    }

    pub fn dead(&self, own: Option<Id>) -> Capped {
        Capped::at(self.seen_by(own).map(|line| line.dead.n).sum(), COUNT_CAP)
    }
}

impl JobLine {
    fn new(
        job: Arc<Job>,
        health: Option<crate::store::health::JobHealth>,
        probes: &mut HashMap<Id, Vec<Probe>>,
        now: Timestamp,
    ) -> Self {
        let probes = probes.remove(&job.id).unwrap_or_default();
        let sizes: Vec<u64> = probes.iter().filter_map(|probe| probe.size).collect();
        let (mut word, mut why, since) = health.map_or((Health::Ok, String::new(), None), |h| (h.health, h.why, Some(h.since)));
        if let Some(by) = job.paused_at.and(job.paused_by.as_deref()) {
            (word, why) = (Health::Paused, format!("by {by}"));
        }
        Self {
            health: word,
            why,
            since: job.paused_at.or(since),
            backlog: (!sizes.is_empty()).then(|| sizes.iter().sum()),
            lag: probes.iter().filter_map(|probe| lag(probe, now)).max(),
            rate_in: None,
            rate_out: None,
            running: 0,
            retrying: 0,
            probes,
            job,
        }
    }

    /// Out is what runs did; in is that and what the backlog grew by.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn rate(&mut self, before: Option<u64>, done: u64, span: Duration) {
        let minutes = span.as_secs_f64() / 60.0;
        if self.probes.is_empty() || minutes < 0.25 {
            return;
        }
        let out = done as f64 / minutes;
        self.rate_out = Some(out);
        if let (Some(now), Some(before)) = (self.backlog, before) {
            self.rate_in = Some((out + (now as f64 - before as f64) / minutes).max(0.0));
        }
    }
}
