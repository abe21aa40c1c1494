//! `/metrics`: it moves by what happened, and by nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;
use windlass::cli::serve::Server;
use windlass::config::{Metrics, Settings};
use windlass::domain::attempt::Outcome;
use windlass::domain::member::Role;

use super::world::Served;
use crate::world::transient;

/// Status and text, as the holder of the token.
pub async fn scrape(url: String, token: Option<String>) -> (u16, String) {
    let read = move || {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let mut request = agent.get(format!("{url}/metrics"));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut answer = request.call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

/// Every series with its value.
fn series(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn c10_metrics_move_by_exactly_what_happened() {
    let served = Served::new().await;
    let well = served.world.job("well", json!({ "max_live": 0 })).await;
    let ill = served.world.job("ill", json!({ "retry": { "attempts": 3, "jitter": 0.0 } })).await;
    let slow = served.world.job("slow", json!({ "retry": { "attempts": 1 } })).await;
    served.world.guests.script("ill", |_| std::future::ready(transient("503")));
    served.world.guests.script("slow", |_| std::future::ready(Outcome::TimedOut { message: "the time limit".into() }));
    let read = async || series(&scrape(served.url(), Some(served.admin.clone())).await.1);
    let runs = |job: &str, outcome: &str| format!("windlass_runs_total{{tenant=\"alpha\",job=\"{job}\",outcome=\"{outcome}\"}}");
    let of = |name: &str, job: &str| format!("windlass_{name}{{tenant=\"alpha\",job=\"{job}\"}}");
    let retry = |n: u32| format!("windlass_retries_total{{tenant=\"alpha\",job=\"ill\",retry_count=\"{n}\"}}");
    assert!(read().await.keys().all(|name| !name.contains("alpha")), "nothing has happened yet");

    for job in [&well, &well, &ill, &slow] {
        served.world.enqueue(job).await;
    }
    let runner = served.world.start().await;
    let all = async || {
        Some(read().await).filter(|now| now.contains_key(&runs("ill", "dead")) && now["windlass_run_seconds_count"] >= 6.0)
    };
    let now = served.world.until("all have ended", Duration::from_millis(200), all).await;
    runner.drain().await;

    let mut expected = BTreeMap::from([
        (runs("well", "succeeded"), 2.0),
        (runs("ill", "dead"), 1.0),
        (runs("slow", "dead"), 1.0),
        (retry(1), 1.0),
        (retry(2), 1.0),
        (of("dead_letters", "ill"), 1.0),
        (of("dead_letters", "slow"), 1.0),
        (of("claims_total", "well"), 2.0),
        (of("claims_total", "ill"), 3.0),
        (of("claims_total", "slow"), 1.0),
    ]);
    for (job, exceeded, timeouts) in [("well", 0.0, 0.0), ("ill", 1.0, 0.0), ("slow", 1.0, 1.0)] {
        expected.insert(of("max_attempts_exceeded_total", job), exceeded);
        expected.insert(of("hard_timeouts_total", job), timeouts);
    }
    let moved: BTreeMap<String, f64> = now
        .iter()
        .filter(|(name, _)| name.contains("alpha") && !name.contains("_alerts"))
        .map(|(name, value)| (name.clone(), *value))
        .collect();
    assert_eq!(moved, expected);
    assert_eq!((now["windlass_queue_wait_seconds_count"], now["windlass_run_seconds_count"]), (4.0, 6.0));
    assert_eq!(now["windlass_run_seconds_bucket{le=\"+Inf\"}"], 6.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_a_gauge_and_so_is_what_runs() {
    let served = Served::new().await;
    let trigger =
        json!({ "backlog": { "probe": "plugin", "every": "15s", "per_run": 500, "max_parallel": 1, "lag_limit": "180s" } });
    served.world.job("drain", json!({ "triggers": [trigger] })).await;
    served.world.guests.backlog.lock().unwrap().insert("drain".into(), Ok(305));
    served.world.guests.script("drain", |_| std::future::pending());
    let runner = served.world.start().await;
    let read = async || {
        let now = series(&scrape(served.url(), Some(served.admin.clone())).await.1);
        let of = |name: &str| now.get(&format!("windlass_{name}{{tenant=\"alpha\",job=\"drain\"}}")).copied();
        Some((of("backlog")?, of("leases")?))
    };
    let found = served.world.until("the run of the backlog runs", Duration::from_millis(100), read).await;
    assert_eq!(found, (305.0, 1.0));
    drop(runner);
}

/// What the shipped dashboard and rules name, without what a counter or a histogram adds to its name.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    let ours = words.filter(|word| word.starts_with("windlass_"));
    let bare = |word: &str| ["_total", "_bucket"].iter().fold(word.to_owned(), |word, end| word.trim_end_matches(end).to_owned());
    ours.map(bare).collect()
}

const RULES: &str = "docs/monitoring/windlass.rules.yml";

#[tokio::test(flavor = "multi_thread")]
async fn c10_the_dashboard_and_the_rules_name_series_that_there_are() {
    let served = Served::new().await;
    let text = scrape(served.url(), Some(served.admin.clone())).await.1;
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let there: BTreeSet<String> = types.map(str::to_owned).collect();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, least) in [("docs/monitoring/grafana.json", 15), (RULES, 5), ("docs/metrics.md", 20)] {
        let named = named(&std::fs::read_to_string(root.join(file)).unwrap());
        assert!(named.len() >= least, "{file} names only {named:?}");
        let missing: Vec<_> = named.difference(&there).collect();
        assert!(missing.is_empty(), "{file} names {missing:?}; there are {there:?}");
    }
    let dashboard = std::fs::read_to_string(root.join("docs/monitoring/grafana.json")).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&dashboard).unwrap()["panels"].as_array().unwrap().len() > 10);
}

#[test]
fn prometheus_takes_the_rules() {
    match std::process::Command::new("promtool").args(["check", "rules", RULES]).current_dir(env!("CARGO_MANIFEST_DIR")).output()
    {
        Ok(checked) => assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr)),
        Err(_) => eprintln!("SKIPPED: prometheus_takes_the_rules wants promtool of Debian's prometheus (tests/packages alerts)"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_alert_and_what_runs_are_gauges_and_a_measurement_is_timed() {
    let served = Served::new().await;
    served.world.job("drain", json!({ "triggers": [{ "backlog": { "probe": "plugin", "every": "15s" } }] })).await;
    let bad = served.world.job("bad", json!({})).await;
    served.world.guests.script("bad", |_| std::future::ready(transient("503")));
    served.world.guests.backlog.lock().unwrap().insert("drain".into(), Ok(5));
    served.world.guests.script("drain", |_| std::future::pending());
    served.world.enqueue(&bad).await;
    let runner = served.world.start().await;
    let read = async || {
        let now = series(&scrape(served.url(), Some(served.admin.clone())).await.1);
        let of = |name: &str| now.get(&format!("windlass_{name}")).copied();
        let dead = of("alerts{tenant=\"alpha\",job=\"bad\",kind=\"dead\"}")?;
        let granted = of("guest_memory_granted_bytes{tenant=\"alpha\",job=\"drain\"}")?;
        let (age, measured) = (of("lease_age_seconds{tenant=\"alpha\",job=\"drain\"}")?, of("probe_seconds_count")?);
        let budget = of("guest_memory_budget_bytes")?;
        Some((dead, granted, age > 0.0, measured >= 1.0, of("failing_sinks")?, budget >= 67_108_864.0))
    };
    let found = served.world.until("all are there", Duration::from_millis(500), read).await;
    assert_eq!(found, (1.0, 67_108_864.0, true, true, 0.0, true));
    drop(runner);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_for_who_has_a_token_of_the_whole_server_or_reaches_their_own_address() {
    let served = Served::new().await;
    let (viewer, narrow) = (served.token(Role::Viewer, None).await, served.token(Role::Admin, Some("alpha")).await);
    for (token, status) in [(Some(viewer), 200), (Some(narrow), 403), (Some("wl_wrong".into()), 401), (None, 401)] {
        assert_eq!(scrape(served.url(), token).await.0, status);
    }
    let dir = tempfile::tempdir().unwrap();
    let free = ([127, 0, 0, 1], 0).into();
    let metrics = Metrics { listen: Some(free) };
    let settings = Settings {
        data_dir: dir.path().join("data"),
        listen: free,
        metrics,
        binary: crate::BINARY.into(),
        ..Settings::default()
    };
    let server = Server::start(settings).await.unwrap();
    let (status, text) = scrape(format!("http://{}", server.metrics.unwrap()), None).await;
    assert!(status == 200 && text.ends_with("# EOF\n"), "{text}");
    assert_eq!(scrape(server.url(), None).await.0, 401);
    server.stop().await;
}
