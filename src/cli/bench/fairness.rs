//! A lone run beside another tenant's flood, on a whole server: how long it waits.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::stamps::{Stamping, Stamps};
use super::store::{BATCH, bare_run};
use super::{Measure, Plan, at, settings, step};
use crate::app::Who;
use crate::app::apply::Source;
use crate::cli::serve::Server;
use crate::error::Result;
use crate::id::Id;

/// Lone runs, one after the other.
const LONE: usize = 500;
const EVERY: Duration = Duration::from_millis(20);
/// What a run of the flood takes at least: it sleeps in its guest, so that slots and not the database are scarce.
const FLOOD_MS: u64 = 20;

pub(super) async fn measure(folder: &Path, plan: &Plan) -> Result<Vec<Measure>> {
    let stamps = Arc::new(Stamps::default());
    let wrapped = stamps.clone();
    let settings = settings(folder.join("fairness"), plan);
    let server = Server::start_with(settings, move |inner| Arc::new(Stamping { inner, stamps: wrapped, answers: false })).await?;
    let measured = beside_a_flood(&server, &stamps, plan).await;
    server.stop().await;
    measured
}

async fn beside_a_flood(server: &Server, stamps: &Stamps, plan: &Plan) -> Result<Vec<Measure>> {
    let app = &server.app;
    let file = |tenant: &str| Source {
        path: format!("{tenant}.toml"),
        text: format!(
            "tenant = \"{tenant}\"\nlimits = {{ running = 100000 }}\n[[job]]\nname = \"noop\"\nplugin = \"noop\"\nmax_live = 0\n"
        ),
    };
    app.apply(vec![file("flood"), file("lone")], false, &Who::server()).await?;
    let flood = app.store.need_job(app.store.need_tenant("flood").await?.id, "noop").await?;
    let lone = app.store.need_job(app.store.need_tenant("lone").await?.id, "noop").await?;
    step(&format!("{} runs of one tenant wait", plan.many));
    app.pause("flood", "noop", None, &Who::server()).await?;
    for done in (0..plan.many).step_by(BATCH) {
        let mut run = bare_run(flood.tenant, flood.id, flood.revision);
        run.input = Some(serde_json::json!({ "sleep_ms": FLOOD_MS }));
        for answer in app.store.enqueue(vec![run; BATCH.min(plan.many - done)]).await? {
            answer?;
        }
    }
    app.resume("flood", "noop", &Who::server()).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    step("lone runs of another beside them");
    stamps.take();
    let mut sent: Vec<(Id, Instant)> = Vec::with_capacity(LONE);
    for _ in 0..LONE {
        let began = Instant::now();
        let answers = app.store.enqueue(vec![bare_run(lone.tenant, lone.id, lone.revision)]).await?;
        for answer in answers {
            sent.push((answer?.id(), began));
        }
        tokio::time::sleep(EVERY).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let started = stamps.take();
    let waited = sent.iter().filter_map(|(run, began)| Some(started.get(run)?.saturating_duration_since(*began)));
    let mut took: Vec<f64> = waited.map(|waited| waited.as_secs_f64() * 1e3).collect();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let (begun, flooded) = (took.len() as f64, started.len().saturating_sub(took.len()) as f64);
    let span = (EVERY * 500).as_secs_f64() + 2.0;
    Ok(vec![
        Measure { name: "a lone run behind --many of another, p50", value: at(&mut took, 0.5), unit: "ms", target: "" },
        Measure {
            name: "a lone run behind --many of another, p99", value: at(&mut took, 0.99), unit: "ms", target: "≤ 50 + 20"
        },
        Measure { name: "lone runs that began, of 500", value: begun, unit: "runs", target: "500" },
        Measure { name: "the flood beside them", value: flooded / span, unit: "runs/s", target: "" },
    ])
}
