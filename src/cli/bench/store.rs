//! The store alone, without guests: whole lives, claims among few and many waiting runs, growth, heartbeats.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::{Measure, Plan, step};
use crate::clock::{Clock, SystemClock};
use crate::domain::grant::Ceiling;
use crate::domain::retry::Decision;
use crate::domain::run::{Final, NewRun, Run};
use crate::domain::tenant::{Tenant, TenantLimits, TenantRetention};
use crate::domain::trigger::Cause;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::claim::{Lane, Want};
use crate::store::record::Finished;
use crate::store::{Database, Store};

/// Tenants and jobs of each: 300 lanes, the worst case for locality that the store's notes measured.
const TENANTS: usize = 100;
const JOBS: usize = 3;
/// Runs of one enqueue, claim and record.
pub(super) const BATCH: usize = 1_024;
/// Claims of one run each, to take the median of.
const CLAIMS: usize = 300;
/// Waiting runs that a claim finds, the smaller number.
const FEW: usize = 1_000;
/// Nodes that take part at a time, and heartbeats to take the median of.
const NODES: usize = 200;
const BEATS: usize = 300;

pub(super) async fn measure(folder: &Path, plan: &Plan) -> Result<Vec<Measure>> {
    std::fs::create_dir_all(folder)?;
    let mut bench = Bench::open(folder, plan).await?;
    step("a run's whole life in the store, no guests");
    let mut measures = vec![bench.lives(plan).await?];
    measures.push(bench.claims(FEW, "store: claim, 1,000 runs waiting, p50", "").await?);
    step("growth of the database under many lives");
    measures.extend(bench.growth(plan.many).await?);
    step("claims among a million waiting runs");
    measures.push(bench.claims(plan.many, "store: claim, --many runs waiting, p50", "as with 1,000").await?);
    bench.store.close().await;
    Ok(measures)
}

/// A store with lanes and nothing else: no jobs, no guests.
struct Bench {
    store: Store,
    lanes: Vec<(Id, Id)>,
    next: usize,
}

impl Bench {
    async fn open(folder: &Path, plan: &Plan) -> Result<Self> {
        let store = Store::open(database(folder, plan)?, Arc::new(SystemClock)).await?;
        // Claims on PostgreSQL lock their tenants.
        let mut tx = store.begin().await?;
        for n in 1..=TENANTS as i64 {
            tx.put_tenant(&bare_tenant(Id(n)), SystemClock.now()).await?;
        }
        tx.commit().await?;
        let mut lanes: Vec<(Id, Id)> = (0..TENANTS * JOBS).map(|n| (Id(1 + (n / JOBS) as i64), Id(1_000 + n as i64))).collect();
        lanes.shuffle(&mut StdRng::seed_from_u64(plan.seed));
        Ok(Self { store, lanes, next: 0 })
    }

    async fn enqueue(&mut self, runs: usize) -> Result<()> {
        for done in (0..runs).step_by(BATCH) {
            let n = BATCH.min(runs - done);
            let batch = (self.next..self.next + n).map(|at| self.lanes[at % self.lanes.len()]);
            for answer in self.store.enqueue(batch.map(|(tenant, job)| bare_run(tenant, job, Id(1))).collect()).await? {
                answer?;
            }
            self.next += n;
        }
        Ok(())
    }

    /// At most `each` of every lane.
    async fn claim(&self, each: usize) -> Result<Vec<Run>> {
        let runs = u32::try_from(each).unwrap_or(u32::MAX);
        let lanes = self.lanes.iter().map(|(tenant, job)| Lane { tenant: *tenant, job: *job, runs, ..Lane::default() }).collect();
        Ok(self.store.claim(Want { lanes }).await?.runs.into_iter().map(|claimed| claimed.run).collect())
    }

    async fn record(&self, runs: Vec<Run>) -> Result<()> {
        let end = Decision::End(Final::Succeeded);
        let finished = runs.into_iter().map(|run| Finished::new(run, end.clone(), "succeeded", ""));
        self.store.record(finished.collect()).await?;
        Ok(())
    }

    /// Enqueue, claim, record over 300 jobs, batch by batch; durable at each step. Answers runs a second.
    async fn live(&mut self, runs: usize) -> Result<f64> {
        let began = Instant::now();
        for done in (0..runs).step_by(BATCH) {
            let n = BATCH.min(runs - done);
            self.enqueue(n).await?;
            let claimed = self.claim(n.div_ceil(self.lanes.len())).await?;
            if claimed.len() != n {
                return Err(Error::Internal(anyhow::anyhow!("{} of {n} were claimed", claimed.len())));
            }
            self.record(claimed).await?;
        }
        Ok(runs as f64 / began.elapsed().as_secs_f64())
    }

    async fn lives(&mut self, plan: &Plan) -> Result<Measure> {
        let value = self.live(plan.runs).await?;
        let (name, target) = match plan.postgres {
            None => ("store: whole life of a run, SQLite FULL", "45,000 to 65,000 in the trial"),
            Some(_) => ("store: whole life of a run, PostgreSQL", "21,000 to 30,000 in the trial"),
        };
        Ok(Measure { name, value, unit: "runs/s", target })
    }

    /// Claims single runs, one after the other, with about `waiting` of them there.
    async fn claims(&mut self, waiting: usize, name: &'static str, target: &'static str) -> Result<Measure> {
        self.enqueue(waiting).await?;
        let mut took = Vec::with_capacity(CLAIMS);
        for n in 0..CLAIMS {
            let (tenant, job) = self.lanes[n % self.lanes.len()];
            let began = Instant::now();
            let claimed = self.store.claim(Want { lanes: vec![Lane { tenant, job, runs: 1, ..Lane::default() }] }).await?.runs;
            took.push(began.elapsed());
            self.record(claimed.into_iter().map(|claimed| claimed.run).collect()).await?;
        }
        loop {
            let rest = self.claim(BATCH / 64).await?;
            if rest.is_empty() {
                break;
            }
            self.record(rest).await?;
        }
        Ok(Measure { name, value: median_ms(took), unit: "ms", target })
    }

    /// What many lives leave behind: what the database takes on disk for each, and whether the last are slower than the first.
    async fn growth(&mut self, runs: usize) -> Result<Vec<Measure>> {
        const PARTS: usize = 10;
        let before = self.store.bytes().await?;
        let (mut first, mut last) = (0.0, 0.0);
        for part in 0..PARTS {
            last = self.live(runs / PARTS).await?;
            step(&format!("tenth {} of them: {last:.0} runs/s", part + 1));
            if part == 0 {
                first = last;
            }
        }
        let grown = self.store.bytes().await?.saturating_sub(before) as f64;
        Ok(vec![
            Measure { name: "store: bytes on disk a run, after --many lives", value: grown / runs as f64, unit: "B", target: "" },
            Measure {
                name: "store: last tenth of --many lives to the first",
                value: last / first,
                unit: "ratio",
                target: "≥ 0.9",
            },
        ])
    }
}

/// What a heartbeat takes among 200 nodes, on PostgreSQL. They stay behind as living ones: measure it last.
pub(super) async fn heartbeats(folder: &Path, plan: &Plan) -> Result<Vec<Measure>> {
    step("heartbeats of 200 nodes");
    for _ in 1..NODES {
        // Dropped without a word, as if it had been killed just now.
        Store::open(database(folder, plan)?, Arc::new(SystemClock)).await?;
    }
    let store = Store::open(database(folder, plan)?, Arc::new(SystemClock)).await?;
    let (mut beats, mut looks) = (Vec::with_capacity(BEATS), Vec::with_capacity(BEATS));
    for _ in 0..BEATS {
        let began = Instant::now();
        store.beat().await?;
        beats.push(began.elapsed());
        let began = Instant::now();
        store.read().await?.nodes().await?;
        looks.push(began.elapsed());
    }
    store.close().await;
    Ok(vec![
        Measure { name: "200 nodes: one heartbeat, p50", value: median_ms(beats), unit: "ms", target: "" },
        Measure { name: "200 nodes: one look at all of them, p50", value: median_ms(looks), unit: "ms", target: "" },
    ])
}

fn database(folder: &Path, plan: &Plan) -> Result<Database> {
    match &plan.postgres {
        Some(url) => Database::parse(url, folder),
        None => Ok(Database::Sqlite(folder.join("windlass.db"))),
    }
}

fn median_ms(mut took: Vec<Duration>) -> f64 {
    took.sort_unstable();
    took.get(took.len() / 2).map_or(f64::NAN, |middle| middle.as_secs_f64() * 1e3)
}

pub(super) fn bare_tenant(id: Id) -> Tenant {
    let now = SystemClock.now();
    Tenant {
        id,
        name: format!("bare-{}", id.0),
        zone: chrono_tz::Tz::UTC,
        weight: 1,
        labels: BTreeMap::new(),
        limits: TenantLimits { running: u32::MAX, ..TenantLimits::default() },
        retention: TenantRetention::default(),
        ceiling: Ceiling::default(),
        alerts: Vec::new(),
        created_at: now,
        updated_at: now,
    }
}

pub(super) fn bare_run(tenant: Id, job: Id, revision: Id) -> NewRun {
    NewRun {
        tenant,
        job,
        revision,
        cause: Cause::Api,
        input: None,
        due_at: None,
        start_by: None,
        parent: None,
        requested_by: None,
        max_live: 0,
        idempotency: None,
    }
}
