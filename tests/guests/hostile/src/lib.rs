//! Does what its input's `attack` names; ../README.md has the list.

mod flood;
mod handles;
mod host;
mod resources;
mod scratch;
mod thief;
mod world;

use serde::Deserialize;
use serde_json::{Value, json};
use windlass_plugin::{Failure, Output, Problem, Target, Work};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Input {
    attack: String,
    ms: Option<u64>,
    n: Option<u64>,
    bytes: Option<u64>,
    code: Option<i32>,
    fail: u64,
    leave: u64,
    addr: Option<String>,
    name: Option<String>,
    url: String,
    method: Option<String>,
    body: Option<String>,
    header: Option<String>,
    secret: Option<String>,
    algorithm: Option<String>,
    text: Option<String>,
    reversed: Option<String>,
}

fn run(work: &Work) -> Result<Output, Failure> {
    let input: Input = work.input()?;
    match input.attack.as_str() {
        "loop" => resources::endless_loop(),
        "until_stopped" => Ok(resources::until_stopped(&input)),
        "spin_then_ok" => Ok(resources::spin(&input)),
        "sleep" => Ok(resources::sleep(&input)),
        "memory_bomb" => resources::memory_bomb(),
        "recursion" => Ok(resources::recursion()),
        "log_flood" => Ok(flood::log(&input)),
        "stdout_flood" => Ok(flood::stdout(&input)),
        "stderr_flood" => Ok(flood::stderr(&input)),
        "big_output" => Ok(flood::big_output(&input)),
        "handles" => Ok(Output::new(handles::hoard(input.n.unwrap_or(100_000)).to_string())),
        "big_data" => Ok(Output::new("data").data("x".repeat(usize::try_from(input.bytes.unwrap_or(1)).unwrap_or(usize::MAX)))),
        "state_flood" => Ok(flood::state(&input)),
        "http_flood" => Ok(flood::http(&input)),
        "unread" => Ok(flood::unread(&input)),
        "panic" => panic!("a hostile guest panics"),
        "exit" => std::process::exit(input.code.unwrap_or(7)),
        "fail_transient" => Err(delayed(Failure::transient("as asked"), &input)),
        "fail_permanent" => Err(delayed(Failure::permanent("as asked"), &input)),
        "snooze" => Err(Failure::snooze(input.ms.unwrap_or(1_000), "as asked")),
        "fail_first" if u64::from(work.attempt) < input.n.unwrap_or(2) => Err(Failure::transient("as asked")),
        "fail_first" => Ok(Output::new(format!("attempt {}", work.attempt))),
        "progress" => Ok(host::progress(&input)),
        "sign" => Ok(host::sign(&input)),
        "http" => host::http(&input),
        "get" => host::get(&input),
        "steal" => thief::steal(&input),
        "state_count" => host::state_count(),
        "artifact" => host::artifact(&input),
        "read_artifact" => host::read_artifact(&input),
        "scratch" => Ok(scratch::fill(&input)),
        "listings" => Ok(scratch::listings()),
        "items" => host::items(&input),
        "steps" => host::steps(&input),
        "items_flood" => Ok(flood::items(&input)),
        "files" => Ok(world::files()),
        "socket" => Ok(world::socket(&input)),
        "learn" => world::learn(&input),
        "echo" => Ok(echo(work)),
        other => Err(Failure::permanent(format!("no attack is called \"{other}\""))),
    }
}

fn delayed(failure: Failure, input: &Input) -> Failure {
    match input.ms {
        Some(ms) => failure.after(ms),
        None => failure,
    }
}

fn echo(work: &Work) -> Output {
    Output::new("echo").data(json!({
        "tenant": work.tenant, "job": work.job, "run": work.run, "attempt": work.attempt, "trigger": work.trigger,
        "config": work.config, "input": work.input, "time_limit_ms": work.time_limit_ms, "extras": work.extras,
    }))
}

fn measure(target: &Target) -> Result<u64, Failure> {
    let config: Value = target.config()?;
    match &config["backlog"] {
        Value::String(word) if word == "loop" => resources::endless_loop(),
        Value::String(word) if word == "panic" => panic!("a hostile probe panics"),
        Value::String(message) => Err(Failure::transient(message)),
        size => Ok(size.as_u64().unwrap_or(0)),
    }
}

fn check(config: &Value) -> Vec<Problem> {
    let bad = config.get("bad");
    bad.map(|value| Problem::new("bad", format!("{value} is not good; leave it out"))).into_iter().collect()
}

fn describe() -> Value {
    json!({ "version": env!("CARGO_PKG_VERSION"), "summary": env!("CARGO_PKG_DESCRIPTION"), "config": {}, "wants": [] })
}

windlass_plugin::job!(run);
windlass_plugin::backlog!(measure);
windlass_plugin::config_check!(check);
windlass_plugin::describe!(describe);
