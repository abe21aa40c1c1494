//! The job's configuration: read once into what a request needs, with everything that is wrong named at once.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value};
use windlass_plugin::{Class, Failure, Problem};

use crate::answer;
use crate::sign::Sign;
use crate::template::{ROOTS, Template, fill_json};
use crate::verdict::Case;

pub const KEYS: [&str; 11] =
    ["method", "url", "headers", "body", "form", "expect", "output", "timeout", "classes", "idempotency_key", "sign"];
pub const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const CLASSES: [(&str, Class); 3] = [("transient", Class::Transient), ("permanent", Class::Permanent), ("snooze", Class::Snooze)];
/// Headers that are the host's business.
const HOSTS: [&str; 5] = ["connection", "content-length", "host", "transfer-encoding", "upgrade"];
const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_TIMEOUT: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub method: String,
    pub url: Template,
    pub headers: Vec<(String, Template)>,
    pub body: Body,
    /// Answers that are success.
    pub expect: Vec<Case>,
    /// JSON path to what is kept of the answer.
    pub output: Option<String>,
    /// For connecting, for the beginning of the answer, and between two pieces of it.
    pub timeout: Duration,
    pub classes: Vec<(Case, Class)>,
    pub idempotency_key: bool,
    pub sign: Option<Sign>,
    /// Names of the secrets that the request is to carry.
    pub secrets: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    None,
    Text(Template),
    /// Its texts are templates.
    Json(Value),
    Form(Vec<(String, Template)>),
}

impl Config {
    pub fn of(text: &str) -> Result<Self, Failure> {
        let value: Value = serde_json::from_str(text).map_err(|error| Failure::permanent(format!("config: {error}")))?;
        read(&value).map_err(|problems| {
            let list: Vec<_> = problems.iter().map(|problem| format!("{}: {}", problem.field, problem.message)).collect();
            Failure::permanent(format!("config: {}", list.join("; ")))
        })
    }
}

pub fn check(value: &Value) -> Vec<Problem> {
    read(value).err().unwrap_or_default()
}

fn read(value: &Value) -> Result<Config, Vec<Problem>> {
    let Some(config) = value.as_object() else {
        return Err(vec![Problem::new("", "must be an object")]);
    };
    let mut reader = Reader::default();
    reader.unknown(config, "", &KEYS);
    let method = reader.method(config);
    let headers = reader.headers(config);
    let given_key = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("idempotency-key"));
    let config = Config {
        url: reader.url(config),
        body: reader.body(config),
        expect: config.get("expect").and_then(|cases| reader.cases("expect", cases)).unwrap_or_else(|| vec![Case::Hundred(2)]),
        output: reader.output(config),
        timeout: reader.timeout(config),
        classes: reader.classes(config),
        idempotency_key: reader.flag(config, "idempotency_key").unwrap_or(method == "POST" || method == "PATCH") && !given_key,
        sign: reader.sign(config),
        headers,
        method,
        secrets: std::mem::take(&mut reader.secrets),
    };
    if reader.problems.is_empty() { Ok(config) } else { Err(reader.problems) }
}

/// Every method answers something usable and keeps what is wrong, so that reading goes on.
#[derive(Default)]
pub struct Reader {
    problems: Vec<Problem>,
    secrets: BTreeSet<String>,
}

impl Reader {
    pub fn wrong(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem::new(field, message));
    }

    pub fn unknown(&mut self, object: &Map<String, Value>, inside: &str, known: &[&str]) {
        for key in object.keys().filter(|key| !known.contains(&key.as_str())) {
            self.wrong(format!("{inside}{key}"), format!("unknown key; known are {}", known.join(", ")));
        }
    }

    pub fn template(&mut self, field: &str, text: &str, roots: &[&str]) -> Template {
        let template = Template::parse(text, roots).unwrap_or_else(|wrong| {
            self.wrong(field, wrong);
            Template::nothing()
        });
        self.secrets.extend(template.secrets().map(str::to_owned));
        template
    }

    fn method(&mut self, config: &Map<String, Value>) -> String {
        match config.get("method") {
            None => "GET".to_owned(),
            Some(Value::String(method)) if METHODS.contains(&method.as_str()) => method.clone(),
            Some(other) => {
                self.wrong("method", format!("{other} is no method; write one of {}", METHODS.join(", ")));
                String::new()
            }
        }
    }

    fn url(&mut self, config: &Map<String, Value>) -> Template {
        let right = "the address, as in \"https://api.example.org/things/{{input.id}}\"";
        match config.get("url") {
            None => self.wrong("url", format!("is missing: {right}")),
            Some(Value::String(url)) => {
                let begins = ["https://", "http://", "{{"].iter().any(|beginning| url.starts_with(beginning));
                if !begins || url.contains(|c: char| c.is_control() || c == '#') || url.trim() != url {
                    self.wrong("url", format!("{url:?} is not {right}"));
                }
                return self.template("url", url, ROOTS);
            }
            Some(other) => self.wrong("url", format!("{other} is not {right}")),
        }
        Template::nothing()
    }

    fn headers(&mut self, config: &Map<String, Value>) -> Vec<(String, Template)> {
        let pairs = self.pairs(config, "headers");
        for (name, _) in &pairs {
            if !is_token(name) {
                self.wrong(format!("headers.{name}"), "is no name of a header");
            } else if HOSTS.contains(&name.to_ascii_lowercase().as_str()) {
                self.wrong(format!("headers.{name}"), "is set by the host; leave it out");
            }
        }
        pairs
    }

    /// A table of texts, numbers and truths by name.
    fn pairs(&mut self, config: &Map<String, Value>, key: &str) -> Vec<(String, Template)> {
        let table = match config.get(key) {
            None => return Vec::new(),
            Some(Value::Object(table)) => table,
            Some(other) => {
                self.wrong(key, format!("{other} is no table, as in {{ name = \"value\" }}"));
                return Vec::new();
            }
        };
        let mut pairs = Vec::new();
        for (name, value) in table {
            let field = format!("{key}.{name}");
            match value {
                Value::String(text) => pairs.push((name.clone(), self.template(&field, text, ROOTS))),
                Value::Number(_) | Value::Bool(_) => pairs.push((name.clone(), self.template(&field, &value.to_string(), ROOTS))),
                other => self.wrong(field, format!("{other} is no text")),
            }
        }
        pairs
    }

    fn body(&mut self, config: &Map<String, Value>) -> Body {
        if config.contains_key("form") {
            if config.contains_key("body") {
                self.wrong("form", "stands beside body; a request has one of them");
            }
            return Body::Form(self.pairs(config, "form"));
        }
        match config.get("body") {
            None => Body::None,
            Some(Value::String(text)) => Body::Text(self.template("body", text, ROOTS)),
            Some(json) => {
                self.templates_in("body", json);
                Body::Json(json.clone())
            }
        }
    }

    fn templates_in(&mut self, field: &str, json: &Value) {
        match json {
            Value::String(text) => {
                self.template(field, text, ROOTS);
            }
            Value::Array(list) => list.iter().enumerate().for_each(|(n, one)| self.templates_in(&format!("{field}[{n}]"), one)),
            Value::Object(object) => object.iter().for_each(|(key, one)| self.templates_in(&format!("{field}.{key}"), one)),
            _ => {}
        }
    }

    /// One, or a list of them.
    fn cases(&mut self, field: &str, value: &Value) -> Option<Vec<Case>> {
        let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        if list.is_empty() {
            self.wrong(field, "is empty; write at least one, or leave it out");
        }
        let parsed = list.iter().map(Case::parse).collect::<Result<Vec<_>, _>>();
        parsed.map_err(|wrong| self.wrong(field, wrong)).ok()
    }

    fn classes(&mut self, config: &Map<String, Value>) -> Vec<(Case, Class)> {
        let Some(value) = config.get("classes") else { return Vec::new() };
        let Some(table) = value.as_object() else {
            self.wrong("classes", format!("{value} is no table, as in {{ transient = [409], permanent = [\"unanswered\"] }}"));
            return Vec::new();
        };
        self.unknown(table, "classes.", &CLASSES.map(|(name, _)| name));
        let mut classes: Vec<(Case, Class)> = Vec::new();
        for (name, class) in CLASSES {
            let Some(value) = table.get(name) else { continue };
            let field = format!("classes.{name}");
            for case in self.cases(&field, value).unwrap_or_default() {
                if classes.iter().any(|(other, _)| *other == case) {
                    self.wrong(&field, format!("{case} has a class already; name it once"));
                }
                classes.push((case, class));
            }
        }
        classes
    }

    fn output(&mut self, config: &Map<String, Value>) -> Option<String> {
        match config.get("output")? {
            Value::String(path) => {
                if let Err(wrong) = answer::parse(path) {
                    self.wrong("output", wrong);
                }
                Some(path.clone())
            }
            other => {
                self.wrong("output", format!("{other} is no JSON path; write one as in \"$.data.id\""));
                None
            }
        }
    }

    fn timeout(&mut self, config: &Map<String, Value>) -> Duration {
        let Some(value) = config.get("timeout") else { return TIMEOUT };
        let span = value.as_str().and_then(span);
        span.filter(|span| !span.is_zero() && *span <= MAX_TIMEOUT).unwrap_or_else(|| {
            self.wrong("timeout", format!("{value} is no time up to 10m; write it as in \"20s\" or \"500ms\""));
            TIMEOUT
        })
    }

    fn flag(&mut self, config: &Map<String, Value>, key: &str) -> Option<bool> {
        let value = config.get(key)?;
        if !value.is_boolean() {
            self.wrong(key, format!("{value} is neither true nor false"));
        }
        value.as_bool()
    }
}

pub fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// `"500ms"`, `"20s"`, `"2m"`: one number and its unit.
fn span(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let ms = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(ms).map(Duration::from_millis)
}

impl Body {
    /// The bytes, and the media type that they have unless a header says otherwise.
    pub fn fill(&self, values: &Value) -> Result<(String, Option<&'static str>), String> {
        Ok(match self {
            Self::None => (String::new(), None),
            Self::Text(text) => (text.fill(values, str::to_owned)?, Some("text/plain; charset=utf-8")),
            Self::Json(json) => (fill_json(json, values)?.to_string(), Some("application/json")),
            Self::Form(pairs) => {
                let filled = pairs.iter().map(|(name, value)| Ok((name, value.fill(values, str::to_owned)?)));
                let filled = filled.collect::<Result<Vec<_>, String>>()?;
                (windlass_plugin::http::encode_form(filled), Some("application/x-www-form-urlencoded"))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(config: Value) -> Vec<String> {
        check(&config).into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn an_address_is_enough() {
        let config = read(&json!({ "url": "https://api.example.org/x" })).unwrap();
        assert_eq!((config.method.as_str(), config.timeout, config.idempotency_key), ("GET", TIMEOUT, false));
        assert_eq!((config.expect, config.body), (vec![Case::Hundred(2)], Body::None));
        let post = |more: Value| {
            let mut config = json!({ "url": "https://api.example.org/x", "method": "POST" });
            config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            read(&config).unwrap().idempotency_key
        };
        assert!(post(json!({})) && !post(json!({ "idempotency_key": false })));
        assert!(!post(json!({ "headers": { "Idempotency-Key": "{{input.key}}" } })), "the author's own stands");
    }

    #[test]
    fn everything_wrong_is_named_at_once() {
        let config = json!({
            "method": "get", "url": "api.example.org", "headers": { "Host": "x", "a b": "y", "X-Id": "{{id}}" },
            "body": { "list": ["{{input"] }, "form": { "a": "b" }, "expect": [], "output": "data.id", "timeout": "20",
            "classes": { "transient": [503], "permanent": ["503", "6xx"], "never": 1 }, "idempotency_key": "yes",
            "sign": { "secret": "key", "algorithm": "md5", "text": "{{signature}}" }, "ulr": "",
        });
        let mut wrong = fields(config);
        wrong.sort();
        wrong.dedup();
        assert_eq!(
            wrong,
            [
                "classes.never",
                "classes.permanent",
                "expect",
                "form",
                "headers.Host",
                "headers.X-Id",
                "headers.a b",
                "idempotency_key",
                "method",
                "output",
                "sign.algorithm",
                "sign.header",
                "sign.text",
                "timeout",
                "ulr",
                "url",
            ]
        );
        assert_eq!(fields(json!({ "url": "https://h/", "body": { "list": ["{{input"] } })), ["body.list[0]"]);
    }

    #[test]
    fn secrets_are_gathered_from_every_place() {
        let config = json!({
            "url": "https://h/?key={{secret.b}}", "headers": { "Authorization": "Bearer {{secret.a}}" },
            "body": { "list": ["{{secret.c}}"] },
        });
        assert_eq!(read(&config).unwrap().secrets.into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
        let signed = json!({ "url": "https://h/", "sign": { "secret": "k", "header": "X", "text": "{{secret.a}}" } });
        assert_eq!(fields(signed), ["sign.text"]);
    }

    #[test]
    fn a_case_has_one_class() {
        let twice = json!({ "url": "https://h/", "classes": { "transient": [404], "permanent": "404" } });
        assert_eq!(fields(twice), ["classes.permanent"]);
    }

    #[test]
    fn bodies_have_their_types() {
        let values = json!({ "input": { "id": 7, "name": "a&b" } });
        let filled = |config: Value| read(&config).unwrap().body.fill(&values).unwrap();
        assert_eq!(filled(json!({ "url": "https://h/", "form": { "n": 1, "name": "{{input.name}}" } })).0, "n=1&name=a%26b");
        assert_eq!(
            filled(json!({ "url": "https://h/", "body": { "id": "{{input.id}}" } })),
            (r#"{"id":7}"#.to_owned(), Some("application/json"))
        );
        assert_eq!(filled(json!({ "url": "https://h/", "body": "n={{input.id}}" })).0, "n=7");
    }

    #[test]
    fn times_are_read() {
        assert_eq!(span("500ms"), Some(Duration::from_millis(500)));
        assert_eq!((span("20s"), span("2 m")), (Some(Duration::from_secs(20)), Some(Duration::from_secs(120))));
        assert_eq!((span("20"), span("s"), span("1h")), (None, None, None));
    }
}
