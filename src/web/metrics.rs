//! `/metrics`: what this process has counted, and what the database holds now, as OpenMetrics text.

use std::collections::HashMap;
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
use crate::app::App;
use crate::domain::health::lag;
use crate::domain::member::Role;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::meter::{BOUNDS, Counted, JobMeter, OTHER, Spread};

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
}

impl Scrape {
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a double")]
    async fn read(app: &App) -> Result<Self> {
        let (counted, now) = (app.store.signals().meters().counted(), app.now());
        let mut tx = app.store.read().await?;
        let names = tx.job_names().await?.into_iter().map(|(id, tenant, job)| (id, (tenant, job))).collect();
        let dead = tx.dead_of_jobs().await?.into_iter().map(|(tenant, job, n)| ((tenant, job), n as f64)).collect();
        let leases = tx.running().await?.into_iter().map(|(tenant, job, n)| ((tenant, job), n as f64)).collect();
        let probes = tx.probes().await?;
        let of = |value: &dyn Fn(&crate::domain::backlog::Probe) -> Option<f64>| -> Gauge {
            probes.iter().filter_map(|probe| Some(((probe.tenant, probe.job), value(probe)?))).collect()
        };
        Ok(Self {
            backlog: bounded(of(&|probe| Some(probe.size? as f64)), |a, b| a + b),
            age: bounded(of(&|probe| Some(probe.age_ms? as f64 / 1e3)), f64::max),
            lag: bounded(of(&|probe| Some(lag(probe, now)?.as_secs_f64())), f64::max),
            dead: bounded(dead, |a, b| a + b),
            leases: bounded(leases, |a, b| a + b),
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
        self.gauge(to, "dead_letters", "Dead runs that need a person, up to 10000 in all", &self.dead)?;
        self.gauge(to, "leases", "Runs that run", &self.leases)?;
        self.gauge(to, "backlog", "What waited at the target when it was measured last", &self.backlog)?;
        self.gauge(to, "backlog_age_seconds", "Age of the oldest that waited", &self.age)?;
        self.gauge(to, "backlog_lag_seconds", "Since the target was last known to have nothing to take", &self.lag)?;
        spread(to, "queue_wait_seconds", "From when a run was made until its first attempt", &self.counted.queue_wait)?;
        spread(to, "run_seconds", "From the claim of an attempt to the record of its end", &self.counted.run)
    }
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
