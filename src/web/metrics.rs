//! `/metrics`: what this process has counted, and what the database holds now, as OpenMetrics text.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::api::Caller;
use crate::app::{App, Who};
use crate::clock::Timestamp;
use crate::domain::alert::Alert;
use crate::domain::health::lag;
use crate::domain::member::Role;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::meter::{BOUNDS, Counted, JobMeter, OTHER, Spread};
use crate::store::node::Node;

/// Series of one gauge; the rest is one more, `other`.
const SERIES: usize = 1_000;
const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// For whoever has a token of the whole server.
pub fn routes() -> Router<App> {
    Router::new().route("/metrics", get(for_token))
}

/// On an address of its own, `metrics.listen`, for whoever reaches it.
pub fn open(app: App) -> Router {
    Router::new().route("/metrics", get(for_all)).with_state(app)
}

async fn for_token(State(app): State<App>, Caller(who): Caller) -> Result<impl IntoResponse> {
    who.may_all(Role::Viewer, "reading metrics")?;
    for_all(State(app)).await
}

async fn for_all(State(app): State<App>) -> Result<impl IntoResponse> {
    let mut registry = Registry::with_prefix("windlass");
    registry.register_collector(Box::new(Scrape::read(&app).await?));
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|wrong| Error::Internal(anyhow::Error::new(wrong).context("metrics")))?;
    Ok(([(CONTENT_TYPE, MEDIA_TYPE)], text))
}

/// A gauge over jobs: (tenant, job) and its value, the largest first.
type Gauge = Vec<((Id, Id), f64)>;

#[derive(Debug)]
struct Scrape {
    counted: Counted,
    /// Tenant's and job's names.
    names: HashMap<Id, (String, String)>,
    dead: Gauge,
    leases: Gauge,
    backlog: Gauge,
    age: Gauge,
    lag: Gauge,
    lease_age: Gauge,
    /// Memory that is granted to what runs.
    granted: Gauge,
    /// Bytes that this node's guests may be granted.
    budget: u64,
    /// Open alerts, how many of a job and kind.
    alerts: BTreeMap<((Id, Id), &'static str), f64>,
    /// Sinks that did not take their last message.
    failing_sinks: f64,
    /// Since each living node's heartbeat was noted.
    heartbeats: Vec<(i64, f64)>,
    compiled: (u64, f64),
}

impl Scrape {
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a double")]
    async fn read(app: &App) -> Result<Self> {
        let (counted, now) = (app.store.signals().meters().counted(), app.now());
        // Those that are named still: nobody mends one that is not.
        let sinks = app.sinks(None, &Who::server()).await?;
        let failing: BTreeSet<_> =
            sinks.iter().filter(|sink| sink.fails()).map(|sink| (sink.tenant.as_deref(), sink.sink.as_str())).collect();
        let mut tx = app.store.read().await?;
        let names = tx.job_names().await?.into_iter().map(|(id, tenant, job)| (id, (tenant, job))).collect();
        let dead = tx.dead_of_jobs().await?.into_iter().map(|(tenant, job, n)| ((tenant, job), n as f64)).collect();
        let running = tx.running().await?;
        let leases = running.iter().map(|(tenant, job, n)| ((*tenant, *job), *n as f64)).collect();
        let grants = tx.grants().await?;
        let memory = |job: &Id| grants.get(job).map(|grant| grant.memory.0 as f64);
        let granted = running.iter().filter_map(|(tenant, job, n)| Some(((*tenant, *job), memory(job)? * *n as f64))).collect();
        let oldest = tx.oldest_leases().await?;
        let lease_age = oldest.into_iter().map(|(tenant, job, at)| ((tenant, job), now.since(at).as_secs_f64())).collect();
        let probes = tx.probes().await?;
        let (compiles, took) = app.catalog.compiled();
        let of = |value: &dyn Fn(&crate::domain::backlog::Probe) -> Option<f64>| -> Gauge {
            probes.iter().filter_map(|probe| Some(((probe.tenant, probe.job), value(probe)?))).collect()
        };
        Ok(Self {
            backlog: bounded(of(&|probe| Some(probe.size? as f64)), |a, b| a + b),
            age: bounded(of(&|probe| Some(probe.age_ms? as f64 / 1e3)), f64::max),
            lag: bounded(of(&|probe| Some(lag(probe, now)?.as_secs_f64())), f64::max),
            dead: bounded(dead, |a, b| a + b),
            leases: bounded(leases, |a, b| a + b),
            lease_age: bounded(lease_age, f64::max),
            granted: bounded(granted, |a, b| a + b),
            budget: app.settings.worker.budget().0,
            alerts: alerts(&tx.open_alerts().await?),
            failing_sinks: failing.len() as f64,
            heartbeats: heartbeats(&tx.nodes().await?, now),
            compiled: (compiles, took.as_secs_f64()),
            counted,
            names,
        })
    }

    /// Of the series in the text.
    fn labels(&self, (tenant, job): (Id, Id)) -> [(&'static str, String); 2] {
        let other = || ("other".to_owned(), "other".to_owned());
        let named = || self.names.get(&job).cloned().unwrap_or_else(|| (tenant.to_string(), job.to_string()));
        let (tenant, job) = if (tenant, job) == OTHER { other() } else { named() };
        [("tenant", tenant), ("job", job)]
    }

    fn gauge(&self, encoder: &mut DescriptorEncoder<'_>, name: &str, about: &str, gauge: &Gauge) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, about, None, MetricType::Gauge)?;
        gauge.iter().try_for_each(|(key, value)| metric.encode_family(&self.labels(*key))?.encode_gauge(value))
    }

    /// A counter with one more label, whose values `of` lists.
    fn counter<'a, L: fmt::Display>(
        &'a self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, about, label): (&str, &str, &'static str),
        of: impl Fn(&'a JobMeter) -> Vec<(L, u64)>,
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, about, None, MetricType::Counter)?;
        for (key, meter) in &self.counted.jobs {
            for (value, n) in of(meter) {
                let [tenant, job] = self.labels(*key);
                let labels = [tenant, job, (label, value.to_string())];
                let labels = if label.is_empty() { &labels[..2] } else { &labels[..] };
                metric.encode_family(&labels)?.encode_counter::<[(String, String); 0], _, f64>(&n, None)?;
            }
        }
        Ok(())
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut encoder;
        self.counter(to, ("runs", "Runs that ended, by final state", "outcome"), |job| pairs(&job.ended))?;
        self.counter(to, ("retries", "Attempts that are made again, by which retry", "retry_count"), |job| pairs(&job.retries))?;
        let exceeded = ("max_attempts_exceeded", "Runs that failed as often as they may", "");
        self.counter(to, exceeded, |job| vec![("", job.exceeded)])?;
        self.counter(to, ("hard_timeouts", "Attempts stopped at a limit of time", ""), |job| vec![("", job.timeouts)])?;
        self.gauge(to, "dead_letters", "Dead runs that need a person, up to 1001 of a job", &self.dead)?;
        self.counter(to, ("claims", "Attempts that were claimed", ""), |job| vec![("", job.claims)])?;
        self.gauge(to, "leases", "Runs that run", &self.leases)?;
        self.gauge(to, "lease_age_seconds", "Of the run that has run longest", &self.lease_age)?;
        self.gauge(to, "guest_memory_granted_bytes", "Memory granted to what runs", &self.granted)?;
        self.gauge(to, "backlog", "What waited at the target when it was measured last", &self.backlog)?;
        self.gauge(to, "backlog_age_seconds", "Age of the oldest that waited", &self.age)?;
        self.gauge(to, "backlog_lag_seconds", "Since the target was last known to have nothing to take", &self.lag)?;
        spread(to, "queue_wait_seconds", "From when a run was made until its first attempt", &self.counted.queue_wait)?;
        spread(to, "run_seconds", "From the claim of an attempt to the record of its end", &self.counted.run)?;
        spread(to, "probe_seconds", "Of measurements of backlogs, answered or not", &self.counted.probe)?;
        self.state(to)
    }
}

impl Scrape {
    /// How the server itself does.
    fn state(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let about = "Open alerts, silenced ones too";
        let mut metric = to.encode_descriptor("alerts", about, None, MetricType::Gauge)?;
        for ((key, kind), n) in &self.alerts {
            // Those of the server are of no tenant and no job.
            let none = [("tenant", String::new()), ("job", String::new())];
            let [tenant, job] = if *key == SERVER { none } else { self.labels(*key) };
            metric.encode_family(&[tenant, job, ("kind", (*kind).to_owned())])?.encode_gauge(n)?;
        }
        let about = "Memory that guests of this node may be granted at a time";
        let budget = i64::try_from(self.budget).unwrap_or(i64::MAX);
        to.encode_descriptor("guest_memory_budget_bytes", about, None, MetricType::Gauge)?.encode_gauge(&budget)?;
        let about = "Sinks of alerts that did not take their last message";
        to.encode_descriptor("failing_sinks", about, None, MetricType::Gauge)?.encode_gauge(&self.failing_sinks)?;
        let about = "Since the heartbeat of a node that is there was noted; on SQLite there is none";
        let mut metric = to.encode_descriptor("heartbeat_age_seconds", about, None, MetricType::Gauge)?;
        for (node, age) in &self.heartbeats {
            metric.encode_family(&[("node", node.to_string())])?.encode_gauge(age)?;
        }
        let (count, seconds) = self.compiled;
        to.encode_descriptor("compiles", "Modules compiled, refused ones too", None, MetricType::Counter)?
            .encode_counter::<[(String, String); 0], _, f64>(&count, None)?;
        to.encode_descriptor("compile_seconds", "What compiling them took", None, MetricType::Counter)?
            .encode_counter::<[(String, String); 0], _, f64>(&seconds, None)
    }
}

/// Stands for the server in alerts; no tenant has this id.
const SERVER: (Id, Id) = (Id(-1), Id(-1));

/// Those beyond the bound are one series a kind.
fn alerts(open: &[Alert]) -> BTreeMap<((Id, Id), &'static str), f64> {
    let mut counted = BTreeMap::new();
    for Alert { subject, .. } in open {
        let key = if subject.tenant == Id(0) { SERVER } else { (subject.tenant, subject.job) };
        let key = (key, subject.kind.word());
        let key = if counted.len() < SERIES || counted.contains_key(&key) { key } else { (OTHER, key.1) };
        *counted.entry(key).or_default() += 1.0;
    }
    counted
}

/// Where one process owns its database, nobody waits for its heart.
fn heartbeats(nodes: &[Node], now: Timestamp) -> Vec<(i64, f64)> {
    let there = nodes.iter().filter(|node| node.stopped_at.is_none() && node.beat > 0);
    there.map(|node| (node.id, now.since(node.beat_at).as_secs_f64())).collect()
}

fn pairs<L: Clone>(of: &std::collections::BTreeMap<L, u64>) -> Vec<(L, u64)> {
    of.iter().map(|(label, n)| (label.clone(), *n)).collect()
}

/// The encoder adds up the buckets itself.
fn spread(encoder: &mut DescriptorEncoder<'_>, name: &str, about: &str, spread: &Spread) -> fmt::Result {
    let longer = spread.count - spread.within.iter().sum::<u64>();
    let within = BOUNDS.into_iter().zip(spread.within).chain([(f64::INFINITY, longer)]);
    let mut metric = encoder.encode_descriptor(name, about, None, MetricType::Histogram)?;
    metric.encode_histogram::<[(String, String); 0]>(spread.seconds, spread.count, &within.collect::<Vec<_>>(), None)
}

/// The largest first, and what is beyond the bound as one.
fn bounded(mut gauge: Gauge, join: impl Fn(f64, f64) -> f64) -> Gauge {
    gauge.sort_by(|(a, x), (b, y)| y.total_cmp(x).then(a.cmp(b)));
    if gauge.len() > SERIES {
        let rest = gauge.split_off(SERIES).into_iter().map(|(_, value)| value).reduce(join);
        gauge.extend(rest.map(|value| (OTHER, value)));
    }
    gauge
}
