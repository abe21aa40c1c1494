//! `windlass demo`: the real server, with four tenants whose targets are small wikis in this process.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::serve::{Server, runtime, stop_signal};
use crate::app::apply::Source;
use crate::app::{App, Who, member};
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::domain::health::Health;
use crate::domain::run::StateFilter;
use crate::error::Result;
use crate::store::run::RunQuery;
use crate::web::demo_wiki::{Plan, Wiki, start_all};

/// How long `--once` waits for all wikis to come to their end.
const ONCE: Duration = Duration::from_secs(85);
/// The wiki that is down comes up after so long.
const DOWN: Duration = Duration::from_secs(20);
/// Who logs in.
const OPERATOR: &str = "admin";

fn plans(once: bool) -> [Plan; 4] {
    let plan = |name, jobs| Plan { name, jobs, poison: 0, down: Duration::ZERO, edits: None };
    [
        Plan { edits: (!once).then_some(Duration::from_secs(4)), ..plan("alder", 300) },
        plan("birch", 2_000),
        Plan { poison: 12, ..plan("cedar", 0) },
        Plan { down: DOWN, ..plan("dogwood", 400) },
    ]
}

/// What became of one wiki.
#[derive(Debug, Serialize)]
struct TenantReport {
    name: &'static str,
    health: Health,
    backlog_before: usize,
    backlog_after: usize,
    runs: RunsReport,
    #[serde(skip)]
    well: bool,
}

#[derive(Debug, Default, Serialize)]
struct RunsReport {
    succeeded: usize,
    waiting: usize,
    running: usize,
    dead: usize,
}

#[derive(Debug, Serialize)]
struct Report {
    tenants: Vec<TenantReport>,
    seconds: f64,
}

/// `windlass demo`: until Ctrl-C.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let (server, wikis) = start(settings, false).await?;
        welcome(&server.app, &server).await?;
        stop_signal().await?;
        println!("\nStopping: what runs has a moment to end, the rest goes on at the next start.");
        server.stop().await;
        drop(wikis);
        Ok(())
    })
}

/// `windlass demo --once`: whether everything came to the end it should. The folder is temporary and the port free.
pub fn run_once(mut settings: Settings, json: bool) -> anyhow::Result<bool> {
    let folder = std::env::temp_dir().join(format!("windlass-demo-{}", std::process::id()));
    settings.data_dir.clone_from(&folder);
    settings.listen.set_port(0);
    let report = runtime()?.block_on(once(settings, json));
    let removed = std::fs::remove_dir_all(&folder);
    let report = report?;
    removed?;
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print_report(&report);
    }
    Ok(report.tenants.iter().all(|tenant| tenant.well))
}

/// The server and its wikis, with how many jobs each had before anything ran.
async fn start(settings: Settings, once: bool) -> Result<(Server, Vec<(Wiki, usize)>)> {
    let server = Server::start(settings).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let wikis: Vec<_> = start_all(&plans(once), &clock)?.into_iter().map(counted).collect();
    let files = |text: fn(&Wiki) -> String| {
        wikis.iter().map(|(wiki, _)| Source { path: format!("{}.toml", wiki.name), text: text(wiki) }).collect()
    };
    // The tenants, their secrets, and only then the jobs that want them.
    let who = Who::server();
    server.app.apply(files(|wiki| format!("tenant = \"{}\"\n", wiki.name)), false, &who).await?;
    for (wiki, _) in &wikis {
        server.app.set_secret(wiki.name, "wiki-key", wiki.secret.as_bytes(), &who).await?;
    }
    server.app.apply(files(|wiki| tenant_file(wiki.name, &wiki.origin(), "3s")), false, &who).await?;
    Ok((server, wikis))
}

fn counted(wiki: Wiki) -> (Wiki, usize) {
    let jobs = wiki.backlog();
    (wiki, jobs)
}

/// A tenant whose wiki is there, asked for its backlog so often.
pub(super) fn tenant_file(name: &str, origin: &str, every: &str) -> String {
    format!(
        r#"tenant = "{name}"
labels = {{ demo = "wiki" }}

[ceiling]
hosts = ["{origin}"]
networks = ["127.0.0.0/8"]

[[job]]
name = "drain-jobs"
plugin = "mediawiki-jobs"
config = {{ api = "{origin}/w/api.php", index = "{origin}/w/index.php", batch = 100 }}
time_limit = "30s"
triggers = [
  {{ backlog = {{ probe = "plugin", every = "{every}", per_run = 500, lag_limit = "180s" }} }},
  {{ schedule = "~ * * * *" }},
]

[job.grant]
http = [{{ host = "{origin}", methods = ["GET", "POST"] }}]
secrets = [{{ name = "wiki-key", use = "sign", algorithm = "hmac-sha1", begins_with = "async=0&maxjobs=" }}]
"#
    )
}

async fn welcome(app: &App, server: &Server) -> Result<()> {
    let password = if app.is_first_start().await? {
        let password = member::random_text()[..16].to_owned();
        app.set_first_password(OPERATOR, &password).await?;
        password
    } else {
        format!("(printed at the first start; remove {} to start afresh)", app.settings.data_dir.display())
    };
    println!(
        "\n  Windlass is up: {url}\n\n  Log in as   {OPERATOR}\n  Password    {password}\n\n  \
         Four wikis have jobs waiting. Look at the overview first: three backlogs fall to zero,\n  \
         one of them (dogwood) only after its wiki is back in {down} s. cedar's jobs cannot be run:\n  \
         open Failures, see why, press Re-run. Soon cedar is called stuck, and nothing spins.\n\n  \
         The same from a shell:  windlass --data-dir {dir} backlog\n  Ctrl-C stops it.\n",
        url = server.url(),
        down = DOWN.as_secs(),
        dir = app.settings.data_dir.display()
    );
    Ok(())
}

async fn once(settings: Settings, json: bool) -> Result<Report> {
    let began = Instant::now();
    let (server, wikis) = start(settings, true).await?;
    let report = loop {
        let tenants = report(&server.app, &wikis).await?;
        let done = tenants.iter().all(|tenant| tenant.well);
        if done || began.elapsed() > ONCE {
            break Report { tenants, seconds: (began.elapsed().as_secs_f64() * 10.0).round() / 10.0 };
        }
        if !json {
            show_progress(&tenants);
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(250)) => {}
            // Told to end: what is true now is the report, and the folder is removed all the same.
            stopped = stop_signal() => {
                stopped?;
                break Report { tenants, seconds: began.elapsed().as_secs_f64() };
            }
        }
    };
    server.stop().await;
    Ok(report)
}

async fn report(app: &App, wikis: &[(Wiki, usize)]) -> Result<Vec<TenantReport>> {
    let mut tx = app.store.read().await?;
    let healths = tx.healths().await?;
    let mut tenants = Vec::new();
    for (wiki, backlog_before) in wikis {
        let tenant = tx.need_tenant(wiki.name).await?.id;
        let mut runs = RunsReport::default();
        for (state, count) in [
            (StateFilter::Succeeded, &mut runs.succeeded),
            (StateFilter::Waiting, &mut runs.waiting),
            (StateFilter::Running, &mut runs.running),
            (StateFilter::Dead, &mut runs.dead),
        ] {
            *count = tx.runs(tenant, &RunQuery { state: Some(state), limit: 1_000, ..RunQuery::default() }).await?.len();
        }
        let health =
            healths.values().filter(|health| health.tenant == tenant).map(|health| health.health).max().unwrap_or(Health::Ok);
        let (backlog_after, poisoned) = (wiki.backlog(), wiki.runnable() == 0 && wiki.backlog() > 0);
        let well = if poisoned { health == Health::Stuck } else { backlog_after == 0 && runs.running == 0 && runs.waiting == 0 };
        tenants.push(TenantReport { name: wiki.name, health, backlog_before: *backlog_before, backlog_after, runs, well });
    }
    Ok(tenants)
}

/// One line that is written over, where somebody looks.
fn show_progress(tenants: &[TenantReport]) {
    let mut out = std::io::stderr();
    if out.is_terminal() {
        let line: Vec<String> =
            tenants.iter().map(|t| format!("{} {} of {}", t.name, t.backlog_after, t.backlog_before)).collect();
        // Progress that cannot be shown is no reason to stop.
        let _ = write!(out, "\r\x1b[K{}", line.join(" · "));
        let _ = out.flush();
    }
}

fn print_report(report: &Report) {
    println!("\n{:<10} {:<8} {:>8} {:>8} {:>10} {:>6}", "tenant", "health", "before", "after", "succeeded", "dead");
    for t in &report.tenants {
        println!(
            "{:<10} {:<8} {:>8} {:>8} {:>10} {:>6}{}",
            t.name,
            t.health.word(),
            t.backlog_before,
            t.backlog_after,
            t.runs.succeeded,
            t.runs.dead,
            if t.well { "" } else { "   not as it should be" }
        );
    }
    println!("{} s", report.seconds);
}
