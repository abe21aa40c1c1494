//! A small wiki for `windlass demo`: it speaks MediaWiki's protocol, signatures and oddities included, with jobs that do
//! nothing but take their time. What it does not do is what drains it: that is Windlass.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Form, Json, Router};
use hmac::{Hmac, KeyInit, Mac};
use rand::Rng;
use serde_json::{Value, json};
use sha1::Sha1;
use tokio::net::{TcpListener, TcpSocket};

use crate::clock::Clock;
use crate::error::{Error, Result};

/// What a wiki starts with, and how it goes on.
#[derive(Debug, Clone)]
pub struct Plan {
    pub name: &'static str,
    pub jobs: usize,
    /// Jobs that fail whenever they are run.
    pub poison: usize,
    /// Refuses connections for so long.
    pub down: Duration,
    /// An edit, with a few jobs, about so often; `None` for none.
    pub edits: Option<Duration>,
}

/// A wiki that runs until it is dropped.
pub struct Wiki {
    pub name: &'static str,
    pub address: SocketAddr,
    /// `$wgSecretKey`
    pub secret: String,
    site: Arc<Site>,
    /// Ends with the wiki.
    _tasks: tokio::task::JoinSet<()>,
}

struct Site {
    queue: Mutex<Queue>,
    secret: String,
    clock: Arc<dyn Clock>,
}

/// The job queue. Order is random, as MediaWiki's is.
#[derive(Default)]
struct Queue {
    ready: Vec<Job>,
    /// Claimed and failed: still counted, not handed out again (for an hour, with the real thing).
    claimed: usize,
}

#[derive(Clone, Copy)]
struct Job {
    kind: &'static str,
    poison: bool,
}

const KINDS: [&str; 4] = ["refreshLinks", "htmlCacheUpdate", "cirrusSearchLinksUpdate", "recentChangesUpdate"];
const POISON: Job = Job { kind: "webVideoTranscode", poison: true };
const POISON_ERROR: &str = "RuntimeException: ffmpeg: /srv/wiki/images/Intro.webm: No such file or directory";
/// Time a job takes: 10 to 20 ms, so that a wiki does 50 to 100 a second.
const JOB_MS: std::ops::Range<u64> = 10..20;

impl Wiki {
    /// Takes a free port of the loopback; listens when its time has come.
    pub fn start(plan: &Plan, clock: Arc<dyn Clock>) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = socket.local_addr()?;
        let secret = crate::app::member::random_text();
        let mut queue = Queue::default();
        queue.push(plan.jobs);
        queue.ready.extend(std::iter::repeat_n(POISON, plan.poison));
        let site = Arc::new(Site { queue: Mutex::new(queue), secret: secret.clone(), clock });
        let mut tasks = tokio::task::JoinSet::new();
        let (listening, down) = (site.clone(), plan.down);
        tasks.spawn(async move {
            // A port that is taken but not listened on refuses connections, which is what a wiki that is down does.
            listening.clock.sleep(down).await;
            match socket.listen(64) {
                Ok(listener) => serve(listener, listening).await,
                Err(wrong) => tracing::error!(error = %wrong, "a demo wiki could not listen"),
            }
        });
        if let Some(every) = plan.edits {
            let site = site.clone();
            tasks.spawn(async move {
                loop {
                    let pause = every.mul_f64(rand::random_range(0.5..1.5));
                    site.clock.sleep(pause).await;
                    site.queue().push(rand::random_range(1..6));
                }
            });
        }
        Ok(Self { name: plan.name, address, secret, site, _tasks: tasks })
    }

    /// Jobs as the statistic counts them: claimed ones too.
    pub fn backlog(&self) -> usize {
        self.site.queue().count()
    }

    /// Jobs that a drain would be handed.
    pub fn runnable(&self) -> usize {
        self.site.queue().ready.len()
    }

    /// Somebody saved a page: so many jobs.
    pub fn edit(&self, jobs: usize) {
        self.site.queue().push(jobs);
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn serve(listener: TcpListener, site: Arc<Site>) {
    let router =
        Router::new().route("/w/api.php", get(api)).route("/w/index.php", get(run_jobs_by_get).post(run_jobs)).with_state(site);
    if let Err(wrong) = axum::serve(listener, router).await {
        tracing::error!(error = %wrong, "a demo wiki ended");
    }
}

impl Queue {
    fn push(&mut self, jobs: usize) {
        let mut random = rand::rng();
        self.ready.extend((0..jobs).map(|_| Job { kind: KINDS[random.random_range(0..KINDS.len())], poison: false }));
    }

    fn count(&self) -> usize {
        self.ready.len() + self.claimed
    }

    fn pop(&mut self) -> Option<Job> {
        let len = self.ready.len();
        (len > 0).then(|| self.ready.swap_remove(rand::rng().random_range(0..len)))
    }
}

impl Site {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signed(&self, form: &BTreeMap<String, String>) -> bool {
        let canonical: Vec<String> = form
            .iter()
            .filter(|(key, _)| *key != "signature")
            .map(|(key, value)| format!("{}={}", urlencode(key), urlencode(value)))
            .collect();
        let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(self.secret.as_bytes()) else { return false };
        mac.update(canonical.join("&").as_bytes());
        let given = form.get("signature").map(|hex| unhex(hex)).unwrap_or_default();
        let expires: i64 = form.get("sigexpiry").and_then(|text| text.parse().ok()).unwrap_or(0);
        mac.verify_slice(&given).is_ok() && expires * 1000 > self.clock.now().0
    }
}

/// As PHP's `urlencode` writes it.
fn urlencode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' | b'.' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            // Writing to a String does not fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
        out
    })
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map_while(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// `action=query&meta=siteinfo&siprop=statistics`; an error comes with status 200, as MediaWiki's do.
async fn api(State(site): State<Arc<Site>>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let has = |key: &str, value: &str| query.get(key).is_some_and(|given| given == value);
    if !has("action", "query") || !has("meta", "siteinfo") {
        let body = json!({"error": {"code": "missingparam", "info": "This wiki answers action=query&meta=siteinfo only."}});
        return ([("MediaWiki-API-Error", "missingparam")], Json(body)).into_response();
    }
    let jobs = site.queue().count();
    let complete = if has("formatversion", "2") { json!(true) } else { json!("") };
    Json(json!({"batchcomplete": complete, "query": {"statistics": {
        "pages": 304, "articles": 1, "edits": 305, "images": 0, "users": 1, "activeusers": 2, "admins": 1, "jobs": jobs
    }}}))
    .into_response()
}

async fn run_jobs_by_get() -> Response {
    refused("Special:RunJobs must be POSTed to.")
}

fn refused(why: &'static str) -> Response {
    (StatusCode::BAD_REQUEST, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], why).into_response()
}

/// Special:RunJobs: signed, in bounded batches, at a wiki's pace.
async fn run_jobs(State(site): State<Arc<Site>>, Form(form): Form<BTreeMap<String, String>>) -> Response {
    if ["title", "tasks", "signature", "sigexpiry"].iter().any(|key| !form.contains_key(*key)) {
        return refused("Missing parameters");
    }
    if !site.signed(&form) {
        return refused("Invalid or stale signature provided");
    }
    let number = |key: &str| form.get(key).and_then(|text| text.parse::<u64>().ok()).filter(|n| *n > 0);
    let (most, time) = (number("maxjobs").unwrap_or(1), number("maxtime").map(Duration::from_secs));
    // Without async=0 MediaWiki answers at once, with nothing in it.
    if form.get("async").is_none_or(|value| value != "0") {
        let site = site.clone();
        tokio::spawn(async move { work(&site, most, time).await });
        return StatusCode::ACCEPTED.into_response();
    }
    Json(work(&site, most, time).await).into_response()
}

async fn work(site: &Site, most: u64, time: Option<Duration>) -> Value {
    let started = site.clock.now();
    let (mut jobs, mut failed) = (Vec::new(), false);
    let reached = loop {
        if jobs.len() as u64 >= most {
            break "job-limit";
        }
        if time.is_some_and(|time| site.clock.now().since(started) >= time) {
            break "time-limit";
        }
        let Some(job) = site.queue().pop() else { break "none-ready" };
        let ms = rand::random_range(JOB_MS);
        site.clock.sleep(Duration::from_millis(ms)).await;
        if job.poison {
            site.queue().claimed += 1;
            failed = true;
        }
        let (status, error) = if job.poison { ("failed", json!(POISON_ERROR)) } else { ("ok", Value::Null) };
        jobs.push(json!({"type": job.kind, "status": status, "error": error, "time": ms}));
    };
    let elapsed = u64::try_from(site.clock.now().since(started).as_millis()).unwrap_or(u64::MAX);
    // PHP writes an empty map as a list.
    let backoffs = if failed { json!({POISON.kind: 30.5}) } else { json!([]) };
    json!({"jobs": jobs, "reached": reached, "backoffs": backoffs, "elapsed": elapsed})
}

/// Starts all of them.
///
/// # Errors
/// When the machine has no port left.
pub fn start_all(plans: &[Plan], clock: &Arc<dyn Clock>) -> Result<Vec<Wiki>> {
    plans
        .iter()
        .map(|plan| {
            Wiki::start(plan, clock.clone())
                .map_err(|wrong| Error::Unavailable(format!("the wiki {} could not start: {wrong}", plan.name)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_as_php_does() {
        assert_eq!(urlencode("Special:RunJobs"), "Special%3ARunJobs");
        assert_eq!(urlencode("a b~*-_."), "a+b%7E%2A-_.");
        assert_eq!(urlencode("tâche"), "t%C3%A2che");
    }
}
