//! A stand-in of Toolforge's jobs API on loopback: it keeps jobs as that one does, and fails as it is told.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// What goes wrong with a request.
#[derive(Clone)]
pub enum Fault {
    /// Takes it, does nothing, and never answers.
    Deaf,
    /// Does it, and never answers.
    Done,
    /// Does it and answers, after so long.
    Late(Duration),
    /// Says that it deletes, and the job stands for so many more looks.
    Lingers(u32),
    /// Does nothing, and answers this: status, headers (each with its line end), body.
    Says(u16, &'static str, &'static str),
}

#[derive(Default)]
struct Kept {
    jobs: BTreeMap<String, Value>,
    /// Answers by their keys: what is asked once more is done once.
    answers: HashMap<String, (u16, Value)>,
    forgetful: bool,
    faults: Vec<(&'static str, String, Fault)>,
    came: Vec<String>,
    effects: Vec<String>,
    /// How often each job was looked at.
    looks: HashMap<String, u32>,
    failing: BTreeSet<String>,
    /// Jobs that are being deleted, and how many looks still find them.
    going: HashMap<String, u32>,
}

#[derive(Clone)]
pub struct JobsApi {
    address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
}

struct Asked {
    method: String,
    /// Behind `…/jobs/`.
    rest: String,
    key: Option<String>,
    body: Value,
}

impl JobsApi {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let api = Self { address: listener.local_addr().unwrap(), kept: Arc::default() };
        let serving = api.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let api = serving.clone();
                std::thread::spawn(move || api.serve(stream.unwrap()));
            }
        });
        api
    }

    pub fn url(&self) -> String {
        format!("{}/jobs/v1", self.origin())
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next request of this method for this job goes wrong so.
    pub fn plan(&self, method: &'static str, job: &str, fault: Fault) {
        self.kept.lock().unwrap().faults.push((method, job.to_owned(), fault));
    }

    /// From now on it has no memory for keys.
    pub fn forget_keys(&self) {
        self.kept.lock().unwrap().forgetful = true;
    }

    /// Jobs of this name fail, or do not any more.
    pub fn fail(&self, job: &str, failing: bool) {
        let mut kept = self.kept.lock().unwrap();
        if failing {
            kept.failing.insert(job.to_owned())
        } else {
            kept.failing.remove(job)
        };
    }

    pub fn jobs(&self) -> BTreeMap<String, Value> {
        self.kept.lock().unwrap().jobs.clone()
    }

    /// Requests as they came, `PATCH web`; forgets them.
    pub fn came(&self) -> Vec<String> {
        std::mem::take(&mut self.kept.lock().unwrap().came)
    }

    /// What was changed, in order; forgets it.
    pub fn effects(&self) -> Vec<String> {
        std::mem::take(&mut self.kept.lock().unwrap().effects)
    }

    #[expect(clippy::disallowed_methods, reason = "a thread of its own that is to be slow")]
    fn serve(&self, stream: TcpStream) {
        // Who gave up before it had asked is nobody.
        let Some(asked) = read(&stream) else { return };
        let name = asked.body["name"]
            .as_str()
            .map_or_else(|| asked.rest.split('/').next().unwrap_or_default().to_owned(), str::to_owned);
        let fault = {
            let mut kept = self.kept.lock().unwrap();
            kept.came.push(format!("{} {}", asked.method, if asked.rest.is_empty() { &name } else { &asked.rest }));
            let at = kept.faults.iter().position(|(method, job, _)| *method == asked.method && *job == name);
            at.map(|at| kept.faults.remove(at).2)
        };
        match fault {
            None => answer(stream, &self.act(&asked, &name)),
            Some(Fault::Deaf) => outlast(stream),
            Some(Fault::Done) => {
                self.act(&asked, &name);
                outlast(stream);
            }
            Some(Fault::Late(span)) => {
                std::thread::sleep(span);
                answer(stream, &self.act(&asked, &name));
            }
            Some(Fault::Lingers(looks)) => {
                self.kept.lock().unwrap().going.insert(name, looks);
                answer(stream, &(200, json!({ "messages": {} })));
            }
            Some(Fault::Says(status, headers, body)) => say(stream, status, headers, body),
        }
    }

    fn act(&self, asked: &Asked, name: &str) -> (u16, Value) {
        let mut kept = self.kept.lock().unwrap();
        let known = asked.key.as_ref().filter(|_| !kept.forgetful).and_then(|key| kept.answers.get(key)).cloned();
        let answered = known.unwrap_or_else(|| kept.act(asked, name));
        if let Some(key) = &asked.key {
            kept.answers.insert(key.clone(), answered.clone());
        }
        answered
    }
}

impl Kept {
    fn act(&mut self, asked: &Asked, name: &str) -> (u16, Value) {
        let info = |words: &str| json!({ "messages": { "info": [format!("Job {name} {words}")], "warning": [], "error": [] } });
        if asked.method == "GET"
            && let Some(looks) = self.going.get_mut(name)
        {
            *looks = looks.saturating_sub(1);
            if *looks == 0 {
                self.going.remove(name);
                self.jobs.remove(name);
                self.effects.push(format!("deleted {name}"));
            }
        }
        let standing = self.jobs.get(name).cloned();
        match (asked.method.as_str(), asked.rest.as_str(), standing) {
            ("PATCH", "", Some(job)) if job == asked.body => (200, info("is already up to date")),
            ("PATCH", "", Some(job)) if job["job_type"] != asked.body["job_type"] => {
                (409, json!({ "error": format!("Job {name} is {}: delete it first", job["job_type"]) }))
            }
            ("POST", "", Some(_)) => (409, json!({ "error": format!("Job {name} exists") })),
            ("PATCH" | "POST", "", standing) => {
                let words = if standing.is_some() { "updated" } else { "created" };
                self.jobs.insert(name.to_owned(), asked.body.clone());
                self.looks.remove(name);
                self.effects.push(format!("{words} {name}"));
                (200, info(words))
            }
            (_, _, None) => (404, json!({ "error": format!("Job {name} does not exist") })),
            ("GET", _, Some(mut job)) => {
                job["status_short"] = self.status(name).into();
                (200, json!({ "job": job, "messages": {} }))
            }
            ("DELETE", _, Some(_)) => {
                self.jobs.remove(name);
                self.effects.push(format!("deleted {name}"));
                (200, json!({ "messages": {} }))
            }
            ("POST", rest, Some(_)) if rest.ends_with("/restart") => {
                self.effects.push(format!("restarted {name}"));
                (200, json!({ "messages": {} }))
            }
            _ => (405, json!({ "error": "no such thing" })),
        }
    }

    /// What runs once is over when it has been looked at twice.
    fn status(&mut self, name: &str) -> &'static str {
        let looks = self.looks.entry(name.to_owned()).or_default();
        *looks += 1;
        match *looks {
            1 => "Pending",
            2 => "Running for 1s",
            _ if self.failing.contains(name) => "Failed",
            _ => "Completed",
        }
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let header = |name: &str| {
        let found = lines.iter().filter_map(|line| line.split_once(": ")).find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned())
    };
    let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    let mut first = lines[0].split(' ');
    let method = first.next()?.to_owned();
    let rest = first.next()?.split_once("/jobs/v1/tool/gazette/jobs/").expect("the tool's jobs").1.to_owned();
    Some(Asked { method, rest, key: header("idempotency-key"), body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
}

fn answer(stream: TcpStream, (status, body): &(u16, Value)) {
    say(stream, *status, "content-type: application/json\r\n", &body.to_string());
}

/// Who has given up does not hear it.
fn say(mut stream: TcpStream, status: u16, headers: &str, body: &str) {
    let length = body.len();
    let text = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}");
    let _ = stream.write_all(text.as_bytes());
}

/// Silence until the caller has gone.
fn outlast(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 16]);
}
