//! The backlog: `query.statistics.jobs` of the API. Zero is a number the API said, never the absence of an answer.

use std::time::Duration;

use serde_json::Value;
use windlass_plugin::http::{self, encode_form};
use windlass_plugin::text::quote;
use windlass_plugin::{Failure, Target, now_ms};

use crate::config::Config;
use crate::verdict::{self, Head};

const CONNECT: Duration = Duration::from_secs(5);
const MAX_BODY: usize = 256 * 1024;
const QUOTED: usize = 200;
const WANTED: &str = "expected JSON with query.statistics.jobs";

pub fn measure(target: &Target) -> Result<u64, Failure> {
    let config = crate::configured(&target.config)?;
    // A little less than the limit, so that the failure is ours to word.
    ask(&config, target.time_limit_ms.saturating_mul(9) / 10)
}

/// Asks the wiki; `limit_ms` bounds the wait for its answer to begin, at most 10 s.
pub fn ask(config: &Config, limit_ms: u64) -> Result<u64, Failure> {
    let first_byte = Duration::from_millis(limit_ms.clamp(1, 10_000));
    let response = http::get(url(&config.api))
        .header("accept", "application/json")
        .connect_timeout(CONNECT)
        .first_byte_timeout(first_byte)
        .between_bytes_timeout(first_byte)
        .send()?;
    let head = Head::of(&response, now_ms());
    decode(&head, &response.text(MAX_BODY)?)
}

fn url(api: &str) -> String {
    let parameters =
        [("action", "query"), ("meta", "siteinfo"), ("siprop", "statistics"), ("format", "json"), ("formatversion", "2")];
    let separator = if api.contains('?') { '&' } else { '?' };
    format!("{api}{separator}{}", encode_form(parameters))
}

fn decode(head: &Head, body: &str) -> Result<u64, Failure> {
    if head.status != 200 {
        return Err(verdict::of_status(head, body, "asking the API for the backlog"));
    }
    let got = |what: String| Failure::transient(format!("{WANTED}, got {what}: {}", quote(body, QUOTED)));
    let json: Value = match serde_json::from_str(body) {
        Ok(json) => json,
        Err(error) if error.is_eof() && !body.trim().is_empty() => {
            return Err(got(format!("{} that ends too early", head.content_type)));
        }
        Err(_) => return Err(got(head.content_type.clone())),
    };
    // The API answers its errors with status 200.
    if let Some((code, info)) = api_error(head, &json) {
        return Err(of_api_error(&code, &info));
    }
    match json.pointer("/query/statistics/jobs") {
        Some(jobs) => jobs.as_u64().ok_or_else(|| got(format!("jobs = {jobs}"))),
        None => Err(got("JSON without it".to_owned())),
    }
}

fn api_error(head: &Head, json: &Value) -> Option<(String, String)> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let error = json.get("error").or_else(|| json.pointer("/errors/0"));
    if error.is_none() && head.api_error.is_none() {
        return None;
    }
    let code = text(error.and_then(|error| error.get("code"))).or_else(|| head.api_error.clone());
    let info = ["info", "text", "html"].iter().find_map(|key| text(error.and_then(|error| error.get(key))));
    Some((code.unwrap_or_else(|| "unknown".to_owned()), info.unwrap_or_default()))
}

fn of_api_error(code: &str, info: &str) -> Failure {
    let passing = ["internal_api_error", "maxlag", "ratelimited", "readonly"];
    let class = if passing.iter().any(|prefix| code.starts_with(prefix)) { Failure::transient } else { Failure::permanent };
    class(format!("{WANTED}, got the API error {code}: {}", quote(info, QUOTED))).extra("code", code)
}

#[cfg(test)]
mod tests {
    use windlass_plugin::Class;

    use super::*;

    fn head(status: u16, content_type: &str) -> Head {
        Head { status, content_type: content_type.to_owned(), ..Head::default() }
    }

    fn json(body: &str) -> Result<u64, Failure> {
        decode(&head(200, "application/json; charset=utf-8"), body)
    }

    #[test]
    fn both_format_versions() {
        let statistics = r#"{"pages":12,"articles":3,"edits":40,"images":0,"users":2,"activeusers":1,"admins":1,"jobs":7}"#;
        for complete in ["\"\"", "true"] {
            let body = format!(r#"{{"batchcomplete":{complete},"query":{{"statistics":{statistics}}}}}"#);
            assert_eq!(json(&body).unwrap(), 7);
        }
        assert_eq!(json(r#"{"query":{"statistics":{"jobs":0}}}"#).unwrap(), 0);
    }

    #[test]
    fn a_page_is_not_a_number() {
        let failure = decode(&head(200, "text/html"), "<!DOCTYPE html>\n<title>Down for\tmaintenance</title>").unwrap_err();
        assert_eq!(
            failure.message(),
            "expected JSON with query.statistics.jobs, got text/html: '<!DOCTYPE html> <title>Down for maintenance</title>'"
        );
        let long = decode(&head(200, "text/html"), &"<p>".repeat(500)).unwrap_err();
        assert_eq!(long.message().chars().filter(|c| "<p>".contains(*c)).count() - "expected".matches('p').count(), 200);
    }

    #[test]
    fn truncated_json_is_not_a_number() {
        let failure = json(r#"{"batchcomplete":true,"query":{"statistics":{"pages":12,"jo"#).unwrap_err();
        assert_eq!(failure.class(), Class::Transient);
        assert!(failure.message().contains("application/json; charset=utf-8 that ends too early"), "{failure}");
        assert!(json("").unwrap_err().message().ends_with("an empty answer"));
    }

    #[test]
    fn an_error_with_status_200_is_not_a_number() {
        let body = r#"{"error":{"code":"readapidenied","info":"You need read permission to use this module."}}"#;
        let failure = json(body).unwrap_err();
        assert_eq!(failure.class(), Class::Permanent);
        assert!(failure.message().contains("readapidenied: 'You need read permission"), "{failure}");
        let newer = r#"{"errors":[{"code":"internal_api_error_DBQueryError","text":"A database query error has occurred"}]}"#;
        assert_eq!(json(newer).unwrap_err().class(), Class::Transient);
        let header = Head { api_error: Some("maxlag".into()), ..head(200, "application/json") };
        let failure = decode(&header, r#"{"query":{"statistics":{"jobs":0}}}"#).unwrap_err();
        assert!(failure.message().contains("maxlag"), "{failure}");
    }

    #[test]
    fn a_missing_or_odd_number_is_not_zero() {
        for body in ["{}", "[]", "null", r#"{"query":{"statistics":{"pages":1}}}"#, r#"{"query":{}}"#] {
            assert!(json(body).unwrap_err().message().contains("got JSON without it"), "{body}");
        }
        for jobs in ["\"7\"", "-1", "null", "1.5"] {
            let failure = json(&format!(r#"{{"query":{{"statistics":{{"jobs":{jobs}}}}}}}"#)).unwrap_err();
            assert!(failure.message().contains(&format!("got jobs = {jobs}")), "{failure}");
        }
    }

    #[test]
    fn other_statuses_are_judged_as_everywhere() {
        assert_eq!(decode(&head(503, "text/html"), "busy").unwrap_err().class(), Class::Transient);
        assert_eq!(decode(&head(404, "text/html"), "gone").unwrap_err().class(), Class::Permanent);
    }

    #[test]
    fn the_question() {
        let parameters = "action=query&meta=siteinfo&siprop=statistics&format=json&formatversion=2";
        assert_eq!(url("http://w/api.php"), format!("http://w/api.php?{parameters}"));
        assert_eq!(url("http://w/api.php?x=1"), format!("http://w/api.php?x=1&{parameters}"));
    }
}
