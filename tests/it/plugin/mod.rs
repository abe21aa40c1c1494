//! The sandbox against guests that try what it must withstand.

pub mod guests;

mod compile;
mod contract;
mod host;
mod http;
mod https;
mod limits;
pub mod modules;
mod mutated;
mod push;
mod reach;
mod replay;
mod scratch;
mod secrets;
mod world;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};
use windlass::clock::SystemClock;
use windlass::domain::attempt::Outcome;
use windlass::domain::grant::{Ceiling, Grant};
use windlass::egress::Egress;
use windlass::id::Id;
use windlass::plugin::{Executor, Journal, Sandbox, Settings, Stop, Work};

/// One sandbox for all tests: making a pool and compiling the guests once is enough.
struct House {
    sandbox: Sandbox,
    egress: Arc<Egress>,
    hostile: String,
    command: String,
    _data: tempfile::TempDir,
}

async fn house() -> &'static House {
    static HOUSE: tokio::sync::OnceCell<House> = tokio::sync::OnceCell::const_new();
    HOUSE
        .get_or_init(|| async {
            let data = tempfile::tempdir().unwrap();
            let settings = settings(data.path(), b"");
            let egress = Arc::clone(&settings.egress);
            let sandbox = Sandbox::new(settings).unwrap();
            let add = async |bytes: &[u8]| sandbox.catalog().add(bytes.to_vec()).await.unwrap().digest;
            let hostile = add(guests::hostile()).await;
            let command = add(guests::command()).await;
            House { hostile, command, sandbox, egress, _data: data }
        })
        .await
}

pub fn sandbox(data_dir: &std::path::Path) -> Sandbox {
    sandbox_with(data_dir, b"")
}

fn sandbox_with(data_dir: &std::path::Path, extra_roots: &[u8]) -> Sandbox {
    Sandbox::new(settings(data_dir, extra_roots)).unwrap()
}

fn settings(data_dir: &std::path::Path, extra_roots: &[u8]) -> Settings {
    Settings {
        threads: 2,
        runs: 32,
        data_dir: data_dir.to_owned(),
        compiler: crate::compiler(),
        egress: egress(extra_roots).unwrap(),
        clock: Arc::new(SystemClock),
    }
}

fn egress(extra_roots: &[u8]) -> windlass::error::Result<Arc<Egress>> {
    let (limits, clock) = (windlass::config::Target::default(), Arc::new(SystemClock));
    Ok(Arc::new(Egress::new(extra_roots, Vec::new(), limits, windlass::egress::system_resolver(), clock)?))
}

/// A run of the hostile guest with a state that nobody answers, unless the test takes the port.
fn work(digest: &str, input: &Value) -> Work {
    static NOBODY: OnceLock<windlass::plugin::StatePort> = OnceLock::new();
    let nobody = NOBODY.get_or_init(|| tokio::sync::mpsc::channel(1).0);
    Work {
        tenant: "acme".into(),
        job: "haul".into(),
        run: Id(7),
        attempt: 1,
        trigger: "manual",
        config: "{}".into(),
        input: input.to_string(),
        digest: digest.to_owned(),
        time_limit: Duration::from_secs(20),
        grace: Duration::from_secs(2),
        stall_limit: None,
        grant: Arc::new(Grant::default()),
        ceiling: Arc::new(Ceiling::default()),
        secrets: Arc::new(HashMap::new()),
        journal: Arc::new(Journal::default()),
        stop: Arc::new(Stop::default()),
        state: nobody.clone(),
        items: None,
        artifacts: None,
        tape: Arc::default(),
    }
}

async fn attack(input: Value) -> (Outcome, Arc<Journal>) {
    attack_with(input, |_| {}).await
}

async fn attack_with(input: Value, change: impl FnOnce(&mut Work)) -> (Outcome, Arc<Journal>) {
    let house = house().await;
    let mut work = work(&house.hostile, &input);
    change(&mut work);
    let journal = Arc::clone(&work.journal);
    (house.sandbox.execute(work).await, journal)
}

/// What a run that went well gave back.
fn data(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Succeeded { data: Some(data), .. } => serde_json::from_str(data).unwrap(),
        other => panic!("no data: {other:?}"),
    }
}

#[tokio::test]
async fn the_guest_gets_its_work_and_the_host_its_answer() {
    let (outcome, _) = attack_with(json!({ "attack": "echo" }), |work| work.config = r#"{"a":1}"#.into()).await;
    let told = data(&outcome);
    assert_eq!(told["tenant"], "acme");
    assert_eq!(told["run"], Id(7).to_string());
    assert_eq!(told["config"], r#"{"a":1}"#);
    assert_eq!(told["time_limit_ms"], 20_000);
}

#[tokio::test]
async fn a_guest_that_is_not_loaded_is_said_to_be_missing() {
    let house = house().await;
    let outcome = house.sandbox.execute(work("sha256:00", &json!({}))).await;
    assert!(outcome.message().contains("sha256:00 is not loaded"), "{outcome:?}");
    assert!(!house.sandbox.has("sha256:00") && house.sandbox.has(&house.hostile));
}
