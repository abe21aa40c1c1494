//! The promise to readers of a wiki (scenarios W2, W3): how long an edit waits while nine of ten wikis hang.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{Measure, Plan, step};
use crate::app::apply::Source;
use crate::app::{App, Who};
use crate::cli::serve::Server;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};
use crate::web::demo_wiki::{self, Wiki};

const LIVING: [&str; 4] = ["alder", "birch", "cedar", "dogwood"];
/// Each of the living has nine beside it that accept and never answer.
const HUNG: usize = 9 * LIVING.len();
/// Edits are made for so long.
const SPAN: Duration = Duration::from_secs(90);
/// Jobs of one edit.
const JOBS: usize = 3;
/// How often it is looked whether an edit is done.
const GLANCE: Duration = Duration::from_millis(20);

pub(super) async fn measure(folder: &std::path::Path, plan: &Plan) -> Result<Vec<Measure>> {
    step("edits beside 9 of 10 wikis that hang");
    let server = Server::start(super::settings(folder.join("promise"), plan)).await?;
    let lags = edited(&server.app, plan.seed).await;
    server.stop().await;
    let mut lags = lags?;
    let mut at = |name, share, target| Measure { name, value: super::at(&mut lags, share), unit: "s", target };
    Ok(vec![
        at("an edit until it is done, 9 of 10 wikis hung, p50", 0.5, "≤ 15, the poll"),
        at("an edit until it is done, 9 of 10 wikis hung, p95", 0.95, "≤ 60"),
        at("an edit until it is done, 9 of 10 wikis hung, max", 1.0, "≤ 180"),
    ])
}

async fn edited(app: &App, seed: u64) -> Result<Vec<f64>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let quiet = |name| demo_wiki::Plan { name, jobs: 0, poison: 0, down: Duration::ZERO, edits: None };
    let wikis = demo_wiki::start_all(&LIVING.map(quiet), &clock)?;
    let mut hung = JoinSet::new();
    let mut origins = Vec::new();
    for n in 0..HUNG {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        origins.push((format!("hung-{n}"), format!("http://{}", listener.local_addr()?), "unused".to_owned()));
        hung.spawn(hang(listener));
    }
    origins.extend(wikis.iter().map(|wiki| (wiki.name.to_owned(), wiki.origin(), wiki.secret.clone())));
    apply(app, &origins).await?;
    let mut editors = JoinSet::new();
    for (n, wiki) in wikis.into_iter().enumerate() {
        editors.spawn(edit(wiki, StdRng::seed_from_u64(seed + n as u64)));
    }
    let mut lags = Vec::new();
    while let Some(took) = editors.join_next().await {
        lags.extend(took.map_err(|wrong| Error::Internal(wrong.into()))?);
    }
    Ok(lags)
}

/// Accepts, and never answers.
async fn hang(listener: TcpListener) {
    let mut held = Vec::new();
    while let Ok((stream, _)) = listener.accept().await {
        held.push(stream);
    }
}

/// The tenants, their secrets, and only then the jobs that want them.
async fn apply(app: &App, wikis: &[(String, String, String)]) -> Result<()> {
    let who = Who::server();
    let tenant =
        |(name, _, _): &(String, String, String)| Source { path: format!("{name}.toml"), text: format!("tenant = \"{name}\"\n") };
    app.apply(wikis.iter().map(tenant).collect(), false, &who).await?;
    for (name, _, secret) in wikis {
        app.set_secret(name, "wiki-key", secret.as_bytes(), &who).await?;
    }
    let with_job = |(name, origin, _): &(String, String, String)| Source {
        path: format!("{name}.toml"),
        text: crate::cli::demo::tenant_file(name, origin, "15s"),
    };
    app.apply(wikis.iter().map(with_job).collect(), false, &who).await?;
    Ok(())
}

/// One edit after the other, each at some moment after the one before was done: how long each took, in seconds.
async fn edit(wiki: Wiki, mut random: StdRng) -> Vec<f64> {
    let (end, mut took) = (Instant::now() + SPAN, Vec::new());
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(random.random_range(0..5_000))).await;
        let began = Instant::now();
        wiki.edit(JOBS);
        while wiki.runnable() > 0 {
            tokio::time::sleep(GLANCE).await;
        }
        took.push(began.elapsed().as_secs_f64());
    }
    took
}
