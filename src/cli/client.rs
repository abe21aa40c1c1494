//! The server, as the command line sees it: an HTTP API and a token.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Global;
use super::serve::Access;
use super::stop::{BAD, Done, NO_SERVER, Stop, WRONG};
use crate::domain::plugin::is_name;
use crate::id::Id;
use crate::web::address::encoded;
use crate::web::api::shape::{List, ProblemJson, TenantJson};

/// A request that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of an answer.
const ANSWER_LIMIT: u64 = 128 * 1024 * 1024;

pub struct Client {
    agent: ureq::Agent,
    server: String,
    token: String,
}

/// What a request carries.
enum Sent<'a> {
    Nothing,
    Json(Value),
    Bytes(&'a [u8], &'static str),
}

impl Client {
    /// The server of `--server`, with the token of `WINDLASS_TOKEN`; what is not given comes from the data folder.
    pub fn open(global: &Global) -> Done<Self> {
        let (server, token) = match (&global.server, super::variable("WINDLASS_TOKEN")) {
            (Some(server), Some(token)) => (server.clone(), token),
            // The token of this machine's server is for no other.
            (Some(_), None) => {
                return Err(Stop::new(NO_SERVER, "set WINDLASS_TOKEN to a token of that server: windlass token issue makes one"));
            }
            (None, token) => {
                let access = access(&global.data_dir()?)?;
                (access.server, token.unwrap_or(access.token))
            }
        };
        let agent = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().new_agent();
        Ok(Self { agent, server: server.trim_end_matches('/').to_owned(), token })
    }

    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Done<T> {
        self.send("GET", path, &Sent::Nothing, &[])
    }

    /// As it comes: a file.
    pub fn get_bytes(&self, path: &str) -> Done<Vec<u8>> {
        self.ask("GET", path, &Sent::Nothing, &[])
    }

    pub fn post<T: DeserializeOwned>(&self, path: &str) -> Done<T> {
        self.send("POST", path, &Sent::Nothing, &[])
    }

    pub fn post_json<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize, headers: &[(&str, &str)]) -> Done<T> {
        self.send("POST", path, &Sent::Json(serde_json::to_value(body)?), headers)
    }

    pub fn post_bytes<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &[u8],
        media_type: &'static str,
        headers: &[(&str, &str)],
    ) -> Done<T> {
        self.send("POST", path, &Sent::Bytes(body, media_type), headers)
    }

    pub fn put_bytes<T: DeserializeOwned>(&self, path: &str, body: &[u8]) -> Done<T> {
        self.send("PUT", path, &Sent::Bytes(body, "application/octet-stream"), &[])
    }

    pub fn delete(&self, path: &str) -> Done {
        self.send::<Value>("DELETE", path, &Sent::Nothing, &[]).map(|_| ())
    }

    /// All pages of a list as one.
    pub fn all<T: DeserializeOwned>(&self, path: &str) -> Done<List<T>> {
        let join = if path.contains('?') { '&' } else { '?' };
        let mut whole: List<T> = self.get(&format!("{path}{join}limit=200"))?;
        while let Some(after) = whole.next.take() {
            let page: List<T> = self.get(&format!("{path}{join}limit=200&after={}", encoded(&after)))?;
            whole.items.extend(page.items);
            whole.next = page.next;
        }
        Ok(whole)
    }

    /// Copies the bytes of an answer, however many; answers how many they were.
    pub fn download(&self, path: &str, to: &mut impl Write) -> Done<u64> {
        let url = format!("{}/api/v1/{path}", self.server);
        // As long as it takes: what is large takes long.
        let asked = self.agent.get(&url).config().timeout_global(None).timeout_recv_response(Some(PATIENCE)).build();
        let asked = asked.header("authorization", format!("Bearer {}", self.token));
        let mut answer = asked.call().map_err(|wrong| self.unreachable(&wrong))?;
        let status = answer.status().as_u16();
        if !(200..300).contains(&status) {
            let text = answer.body_mut().with_config().limit(ANSWER_LIMIT).read_to_vec();
            return Err(refused(status, &text.map_err(|wrong| self.unreachable(&wrong))?));
        }
        let broken = |wrong: std::io::Error| Stop::new(BAD, format!("it was cut off: {wrong}"));
        std::io::copy(&mut answer.into_body().into_reader(), to).map_err(broken)
    }

    /// The tenant that was named, or all that the token may see.
    pub fn tenants(&self, named: Option<&str>) -> Done<Vec<String>> {
        match named {
            Some(name) => Ok(vec![tenant(name)?]),
            None => Ok(self.all::<TenantJson>("tenants")?.items.into_iter().map(|tenant| tenant.name).collect()),
        }
    }

    fn send<T: DeserializeOwned>(&self, method: &str, path: &str, body: &Sent<'_>, headers: &[(&str, &str)]) -> Done<T> {
        let text = self.ask(method, path, body, headers)?;
        let text: &[u8] = if text.is_empty() { b"null" } else { &text };
        Ok(serde_json::from_slice(text)?)
    }

    fn ask(&self, method: &str, path: &str, body: &Sent<'_>, headers: &[(&str, &str)]) -> Done<Vec<u8>> {
        let url = format!("{}/api/v1/{path}", self.server);
        let mut request =
            ureq::http::Request::builder().method(method).uri(&url).header("authorization", format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (bytes, media_type) = match body {
            Sent::Nothing => (Vec::new(), None),
            Sent::Json(value) => (value.to_string().into_bytes(), Some("application/json")),
            Sent::Bytes(bytes, media_type) => (bytes.to_vec(), Some(*media_type)),
        };
        if let Some(media_type) = media_type {
            request = request.header("content-type", media_type);
        }
        let wrong = |wrong: ureq::http::Error| Stop::new(WRONG, format!("{url} cannot be asked for: {wrong}"));
        let answer = if matches!(method, "GET" | "DELETE") {
            self.agent.run(request.body(()).map_err(wrong)?)
        } else {
            self.agent.run(request.body(bytes).map_err(wrong)?)
        };
        let answer = answer.map_err(|wrong| self.unreachable(&wrong))?;
        let status = answer.status().as_u16();
        let text =
            answer.into_body().into_with_config().limit(ANSWER_LIMIT).read_to_vec().map_err(|wrong| self.unreachable(&wrong))?;
        if (200..300).contains(&status) {
            return Ok(text);
        }
        Err(refused(status, &text))
    }

    fn unreachable(&self, wrong: &ureq::Error) -> Stop {
        Stop::new(NO_SERVER, format!("no server answers at {} ({wrong}); windlass serve starts one", self.server))
    }
}

fn access(data_dir: &Path) -> Done<Access> {
    let file = Access::file(data_dir);
    let missing = |why: &dyn std::fmt::Display| {
        let advice = "start windlass serve, say --data-dir, or give --server and WINDLASS_TOKEN";
        Stop::new(NO_SERVER, format!("no server is known: {} {why}; {advice}", file.display()))
    };
    let text = std::fs::read_to_string(&file).map_err(|wrong| match wrong.kind() {
        std::io::ErrorKind::NotFound => missing(&"is not there"),
        _ => missing(&format!("cannot be read ({wrong})")),
    })?;
    serde_json::from_str(&text).map_err(|wrong| missing(&format!("is damaged ({wrong})")))
}

/// A problem of the server as this command's end.
fn refused(status: u16, text: &[u8]) -> Stop {
    let Ok(problem) = serde_json::from_slice::<ProblemJson>(text) else {
        return Stop::new(NO_SERVER, format!("status {status}, and no answer of a Windlass: is --server right?"));
    };
    match status {
        401 | 403 | 503 | 504 => Stop::new(NO_SERVER, problem.detail),
        _ if !problem.errors.is_empty() => Stop::problems(&problem.errors),
        404 => Stop::missing(problem.detail),
        // Nothing is wrong with what was asked: 409 clashes with what is there, and at 429 there may be room later.
        400..=499 if !matches!(status, 409 | 429) => Stop::new(WRONG, problem.detail),
        _ => Stop::new(BAD, problem.detail),
    }
}

/// A tenant's name, before it stands in an address.
pub fn tenant(name: &str) -> Done<String> {
    if is_name(name) { Ok(name.to_owned()) } else { Err(Stop::new(WRONG, format!("{name:?} is no name of a tenant"))) }
}

/// `TENANT/NAME`, or a name beside `--tenant`.
pub fn named(text: &str, beside: Option<&str>, what: &str) -> Done<(String, String)> {
    let (tenant, name) = match (text.split_once('/'), beside) {
        (Some((tenant, name)), None) => (tenant, name),
        (Some((tenant, name)), Some(beside)) if tenant == beside => (tenant, name),
        (Some(_), Some(beside)) => return Err(Stop::new(WRONG, format!("{text} is not of tenant {beside}"))),
        (None, Some(beside)) => (beside, text),
        (None, None) => return Err(Stop::new(WRONG, format!("{text}: of which tenant? Write TENANT/{what}, or --tenant"))),
    };
    Ok((self::tenant(tenant)?, name.to_owned()))
}

/// `TENANT/JOB`
pub fn job(text: &str, beside: Option<&str>) -> Done<(String, String)> {
    let (tenant, job) = named(text, beside, "JOB")?;
    if is_name(&job) { Ok((tenant, job)) } else { Err(Stop::new(WRONG, format!("{job:?} is no name of a job"))) }
}

/// `TENANT/ID`
pub fn run(text: &str, beside: Option<&str>) -> Done<(String, Id)> {
    let (tenant, id) = named(text, beside, "ID")?;
    Ok((tenant, id.parse::<Id>()?))
}
