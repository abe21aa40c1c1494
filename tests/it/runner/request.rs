//! The shipped `http-request` in a real sandbox, against a target on loopback that follows a script: one step a request.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use windlass::domain::grant::Ceiling;
use windlass::id::Id;
use windlass::plugin::EMBEDDED;
use windlass::vault::Vault;

use super::steps::with_a_real_guest;
use crate::api::world::Served;
use crate::world::{TEN, World};

/// What the target does with one request.
pub enum Step {
    /// Takes it, and says nothing as long as the caller waits.
    Silence,
    Reset,
    /// Status, headers (each with its line end), body.
    Answer(u16, &'static str, &'static str),
}

pub struct Target {
    pub address: SocketAddr,
    /// Requests as they came, head and body.
    came: Arc<Mutex<Vec<String>>>,
}

impl Target {
    /// Beyond the script, everything is 500.
    pub async fn start(script: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let came: Arc<Mutex<Vec<String>>> = Arc::default();
        let noted = came.clone();
        tokio::spawn(async move {
            let mut script = script.into_iter();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read(&mut stream).await;
                noted.lock().unwrap().push(request);
                let step = script.next().unwrap_or(Step::Answer(500, "", "the script is over"));
                tokio::spawn(act(stream, step));
            }
        });
        Self { address, came }
    }

    pub fn came(&self) -> Vec<String> {
        self.came.lock().unwrap().clone()
    }
}

async fn read(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "half a request: {text}");
    }
}

async fn act(mut stream: TcpStream, step: Step) {
    match step {
        Step::Silence => {
            let _ = stream.read(&mut [0; 16]).await;
        }
        Step::Reset => stream.set_zero_linger().unwrap(),
        Step::Answer(status, headers, body) => {
            let length = body.len();
            let answer = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    }
}

/// Runs the plugin to its end, with attempts one after another at once; answers the run as the API tells it.
async fn run(served: &Served, target: SocketAddr, config: Value, attempts: u32, input: Value) -> Value {
    let plugin = EMBEDDED.iter().find(|plugin| plugin.name == "http-request").unwrap();
    let spec = allowed(&served.world, target, config, attempts).await;
    let id: Id = with_a_real_guest(&served.world, plugin.bytes, spec, input).await;
    served.get(&format!("tenants/alpha/runs/{id}")).await.body
}

/// A job that may ask the target, and its tenant too.
pub async fn allowed(world: &World, target: SocketAddr, mut config: Value, attempts: u32) -> Value {
    let origin = format!("http://{target}");
    let mut tenant = world.tenant.clone();
    tenant.ceiling = Ceiling { hosts: vec![origin.clone()], networks: vec!["127.0.0.0/8".into()], ..Ceiling::default() };
    let mut tx = world.store.begin().await.unwrap();
    tx.put_tenant(&tenant, TEN).await.unwrap();
    tx.commit().await.unwrap();
    let path = config["url"].as_str().unwrap_or("/").to_owned();
    config["url"] = format!("{origin}{path}").into();
    json!({
        "config": config,
        "retry": { "attempts": attempts, "base": "10ms", "factor": 1.0 },
        "grant": {
            "http": [{ "host": origin, "methods": ["GET", "POST"] }],
            "secrets": [{ "name": "hook-key", "use": "sign", "algorithm": "hmac-sha256", "begins_with": "{\"" }],
        },
    })
}

async fn served() -> Served {
    let served = Served::new().await;
    set_secret(&served.world, b"only for tests").await;
    served
}

async fn set_secret(world: &World, value: &[u8]) {
    let vault = Vault::open(&world.dir.path().join("secret.key"), None).unwrap();
    let (nonce, sealed) = vault.seal(world.tenant.id, "hook-key", value).unwrap();
    let mut tx = world.store.begin().await.unwrap();
    tx.put_secret(world.tenant.id, "hook-key", nonce, sealed, TEN).await.unwrap();
    tx.commit().await.unwrap();
}

/// Outcome and message of each attempt, the first one first.
fn attempts(run: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    run["attempts"].as_array().unwrap().iter().rev().map(|one| (text(&one["outcome"]), text(&one["message"]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_a_target_that_is_slow_twice_is_asked_a_third_time() {
    let served = served().await;
    let target = Target::start(vec![Step::Silence, Step::Silence, Step::Answer(200, "", "deployed")]).await;
    let config = json!({ "url": "/deploy", "method": "POST", "timeout": "300ms" });
    let run = run(&served, target.address, config, 5, Value::Null).await;
    assert_eq!((&run["state"], &run["attempt"], &run["failed"]), (&json!("succeeded"), &json!(3), &json!(2)), "{run}");
    let attempts = attempts(&run);
    let slow = format!("unanswered: POST http://{}/deploy: no answer in time", target.address);
    assert_eq!(attempts[..2], [("transient".to_owned(), slow.clone()), ("transient".to_owned(), slow)]);
    assert_eq!((attempts.len(), attempts[2].0.as_str()), (3, "succeeded"));
    // The same request each time, told by its key to be one.
    let key = format!("idempotency-key: {}", run["id"].as_str().unwrap()).to_lowercase();
    let came = target.came();
    assert!(came.len() == 3 && came.iter().all(|request| request.to_lowercase().contains(&key)), "{came:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t2_what_may_pass_is_tried_again() {
    let served = served().await;
    let faults = vec![
        Step::Silence,
        Step::Reset,
        Step::Answer(502, "", ""),
        // Never three failures in a row: the circuit would open.
        Step::Answer(429, "retry-after: 1\r\n", "slow down"),
        Step::Answer(503, "", "down for maintenance"),
        Step::Answer(504, "", ""),
        Step::Answer(200, "", "well"),
    ];
    let target = Target::start(faults).await;
    let run_it = run(&served, target.address, json!({ "timeout": "300ms" }), 10, Value::Null).await;
    assert_eq!((&run_it["state"], &run_it["attempt"]), (&json!("succeeded"), &json!(7)), "{run_it}");
    let attempts_made = attempts(&run_it);
    let says = ["no answer in time", "unanswered", "502: an empty", "429: 'slow down'", "503: 'down for maintenance'", "504"];
    for (attempt, says) in attempts_made.iter().zip(says) {
        assert!(attempt.0 == "transient" && attempt.1.contains(says), "{says}: {attempt:?}");
    }
    let delays: Vec<_> = run_it["attempts"].as_array().unwrap().iter().rev().map(|one| one["delay_ms"].as_i64()).collect();
    assert!(delays[3].is_some_and(|delay| delay >= 1_000), "as the target asked: {delays:?}");

    // Nobody listens there.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = run(&served, gone, json!({}), 2, Value::Null).await;
    assert_eq!((&refused["cause"], &refused["failed"]), (&json!("attempts_spent"), &json!(2)), "{refused}");
    assert!(attempts(&refused).iter().all(|one| one.1.starts_with("unsent: ") && one.1.contains("connection refused")));
}

#[tokio::test(flavor = "multi_thread")]
async fn t2_what_will_not_pass_is_said_in_the_targets_words() {
    let served = served().await;
    let body: &'static str = Box::leak("no such thing. ".repeat(100).into_boxed_str());
    for status in [400, 401, 404, 422] {
        let target = Target::start(vec![Step::Answer(status, "", body)]).await;
        let run = run(&served, target.address, json!({}), 5, Value::Null).await;
        assert_eq!((&run["cause"], &run["attempt"]), (&json!("permanent"), &json!(1)), "{status}: {run}");
        let error = run["error"].as_str().unwrap();
        assert!(error.contains(&format!("HTTP {status}: '{}…'", body.chars().take(500).collect::<String>())), "{error}");
        assert_eq!(target.came().len(), 1, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_what_was_configured_and_its_answer_what_was_asked_for() {
    let served = served().await;
    let answer = Step::Answer(201, "content-type: application/json\r\n", r#"{"data":{"id":"thing-9","tags":["a","b"]}}"#);
    let target = Target::start(vec![answer]).await;
    let config = json!({
        "url": "/things/{{input.place}}?by={{job}}",
        "method": "POST",
        "headers": { "Accept": "application/json", "X-Attempt": "{{attempt}}" },
        "body": { "name": "{{input.name}}", "count": "{{input.count}}" },
        "expect": 201,
        "output": "$.data.id",
        "sign": { "secret": "hook-key", "header": "X-Signature", "value": "sha256={{signature}}" },
    });
    let input = json!({ "place": "a/b", "name": "x\" y", "count": 3 });
    let run = run(&served, target.address, config, 1, input).await;
    assert_eq!((&run["state"], &run["output"]), (&json!("succeeded"), &json!("thing-9")), "{run}");
    let came = target.came().remove(0);
    let (head, body) = came.split_once("\r\n\r\n").unwrap();
    let head = head.to_lowercase();
    assert!(head.starts_with("post /things/a%2fb?by=deploy http/1.1"), "{head}");
    assert_eq!(serde_json::from_str::<Value>(body).unwrap(), json!({ "name": "x\" y", "count": 3 }));
    let mut mac = Hmac::<Sha256>::new_from_slice(b"only for tests").unwrap();
    mac.update(body.as_bytes());
    let signature: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    for line in ["content-type: application/json", "x-attempt: 1", &format!("x-signature: sha256={signature}")] {
        assert!(head.lines().any(|there| there == line), "{line}: {head}");
    }
}
