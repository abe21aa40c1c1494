//! The job: the request as configured, sent once, and its answer judged.

use std::time::Duration;

use serde_json::{Value, json};
use windlass_plugin::http::{self, Response};
use windlass_plugin::text::{cut, quote};
use windlass_plugin::{Failure, Output, Work, log, now_ms, secrets};

use crate::answer;
use crate::config::Config;
use crate::template::{leads_elsewhere, percent};
use crate::verdict::{self, Case, QUOTED};

const CONNECT: Duration = Duration::from_secs(10);
/// Bytes of an answer. What a run keeps may not be longer either.
const MAX_BODY: usize = 1024 * 1024;
/// Bytes of an answer that is only quoted.
const BEGINNING: usize = 16 * 1024;

pub fn run(work: &Work) -> Result<Output, Failure> {
    let config = Config::of(&work.config)?;
    let request = Filled::of(&config, work)?;
    let doing = format!("{} {}", config.method, cut(&request.url, 300));
    let sent_ms = now_ms();
    let response = match request.send(&config) {
        Ok(response) => response,
        Err(error) => return Err(failed(&config, error)),
    };
    log::debug!(status = response.status, ms = now_ms().saturating_sub(sent_ms); "{doing}: HTTP {}", response.status);
    if verdict::is_among(Case::Status(response.status), &config.expect) {
        kept(&config, response, &doing)
    } else {
        Err(unexpected(&config, response, &doing))
    }
}

/// A request with all its values.
struct Filled {
    url: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Filled {
    fn of(config: &Config, work: &Work) -> Result<Self, Failure> {
        let mut values = json!({
            "input": work.input::<Value>()?,
            "tenant": work.tenant,
            "job": work.job,
            "run": work.run,
            "attempt": work.attempt,
            "trigger": work.trigger,
        });
        for name in &config.secrets {
            let stand_in =
                secrets::stand_in(name).map_err(|refusal| Failure::from(refusal).context(&format!("secret \"{name}\"")))?;
            values["secret"][name] = stand_in.into();
        }
        let lacks = |place: &str| {
            let place = place.to_owned();
            move |wrong: String| Failure::permanent(format!("config.{place}: {wrong}"))
        };
        let url = match config.url.alone(&values) {
            // An address that is given whole is not to be encoded; the grant decides where it may lead.
            Some(whole) => whole.map_err(lacks("url"))?.as_str().map(str::to_owned),
            None => {
                let url = config.url.fill(&values, percent).map_err(lacks("url"))?;
                if let Some(part) = leads_elsewhere(&url) {
                    return Err(lacks("url")(format!("\"{part}\" in the path of {} leads to another path", cut(&url, 300))));
                }
                Some(url)
            }
        };
        let url = url.ok_or_else(|| Failure::permanent("config.url: the value is no text"))?;
        let (body, media_type) = config.body.fill(&values).map_err(lacks("body"))?;
        let mut headers = Vec::new();
        for (name, value) in &config.headers {
            headers.push((name.clone(), value.fill(&values, str::to_owned).map_err(lacks(&format!("headers.{name}")))?));
        }
        let given = |name: &str| headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
        let media_type = media_type.filter(|_| !given("content-type")).map(|media| ("Content-Type".to_owned(), media.to_owned()));
        headers.extend(media_type);
        if config.idempotency_key {
            headers.push(("Idempotency-Key".to_owned(), work.run.clone()));
        }
        if let Some(sign) = &config.sign {
            values["body"] = body.clone().into();
            values["url"] = url.clone().into();
            values["method"] = config.method.clone().into();
            values["timestamp"] = (now_ms() / 1000).into();
            headers.push((sign.header.clone(), sign.signature(&values)?));
        }
        Ok(Self { url, headers, body })
    }

    fn send(self, config: &Config) -> Result<Response, http::Error> {
        let mut request = http::request(&config.method, self.url)
            .body(self.body)
            .connect_timeout(config.timeout.min(CONNECT))
            .first_byte_timeout(config.timeout)
            .between_bytes_timeout(config.timeout);
        for (name, value) in self.headers {
            request = request.header(&name, value);
        }
        request.send()
    }
}

/// No answer, or not all of it.
fn failed(config: &Config, error: http::Error) -> Failure {
    if error.is_refused() || error.retry_after_ms().is_some() {
        // By a rule, or by the host until the target has recovered: not by the network, so no class is configured for it.
        return error.into();
    }
    let case = if error.may_have_been_sent() { Case::Unanswered } else { Case::Unsent };
    let class = verdict::class(case, &config.classes);
    verdict::failure(class, format!("{case}: {error}"), None).extra("code", &error.code).extra("url", &error.url)
}

fn unexpected(config: &Config, response: Response, doing: &str) -> Failure {
    let status = response.status;
    let class = verdict::class(Case::Status(status), &config.classes);
    let retry_after_ms = response.retry_after_ms(now_ms());
    let to = response
        .header("location")
        .filter(|_| (300..400).contains(&status))
        .map(|to| format!(" redirects to {}: give the final address in the config", cut(to, 300)));
    let said = quote(&response.beginning(BEGINNING), QUOTED);
    let message = format!("{doing}: HTTP {status}{}: {said}", to.unwrap_or_default());
    verdict::failure(class, message, retry_after_ms).extra("status", status.to_string())
}

fn kept(config: &Config, response: Response, doing: &str) -> Result<Output, Failure> {
    let status = response.status;
    let media_type = response.header("content-type").unwrap_or("no content type").to_owned();
    let body = match response.bytes(MAX_BODY) {
        Ok(body) => String::from_utf8_lossy(&body).into_owned(),
        Err(error) if error.code == "HttpResponseBodySize" => {
            return Err(Failure::permanent(format!("{doing}: HTTP {status}, but the answer is longer than 1 MiB")));
        }
        Err(error) => return Err(failed(config, error)),
    };
    let output = Output::new(format!("{doing}: HTTP {status}, {} bytes", body.len())).extra("status", status.to_string());
    let data = match &config.output {
        Some(path) => Some(answer::pick(&body, &media_type, path).map_err(|failure| failure.context(doing))?),
        None => answer::whole(&body, &media_type),
    };
    Ok(match data {
        Some(data) => output.data(data),
        None => output,
    })
}
