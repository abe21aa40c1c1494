//! The job's configuration: read with everything that is wrong named at once.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use windlass_plugin::{Failure, Problem};

use crate::component::Component;

pub const KEYS: [&str; 5] = ["api", "tool", "timeout", "secret", "components"];
pub const TYPES: [&str; 3] = ["continuous", "scheduled", "one-off"];
pub const RESTARTS: [&str; 3] = ["changed", "always", "never"];
const MAX_TIMEOUT_S: u64 = 600;

/// What a key of a component may be.
#[derive(Clone, Copy, PartialEq)]
pub enum Shape {
    Text,
    Flag,
    /// A whole number from, to.
    Number(u64, u64),
    Word(&'static [&'static str]),
}

/// The keys of a component, and the types that have them.
pub const COMPONENT: [(&str, Shape, &[&str]); 21] = [
    ("name", Shape::Text, &TYPES),
    ("type", Shape::Word(&TYPES), &TYPES),
    ("command", Shape::Text, &TYPES),
    ("image", Shape::Text, &TYPES),
    ("schedule", Shape::Text, &["scheduled"]),
    ("restart", Shape::Word(&RESTARTS), &["continuous"]),
    ("replace", Shape::Flag, &["continuous", "scheduled"]),
    ("retry", Shape::Number(0, 5), &["scheduled"]),
    ("timeout", Shape::Number(0, 31_536_000), &["scheduled"]),
    ("cpu", Shape::Text, &TYPES),
    ("memory", Shape::Text, &TYPES),
    ("mount", Shape::Word(&["all", "none"]), &TYPES),
    ("emails", Shape::Word(&["none", "all", "onfinish", "onfailure"]), &TYPES),
    ("filelog", Shape::Flag, &TYPES),
    ("filelog_stdout", Shape::Text, &TYPES),
    ("filelog_stderr", Shape::Text, &TYPES),
    ("port", Shape::Number(1, 65_535), &["continuous"]),
    ("port_protocol", Shape::Word(&["tcp", "udp"]), &["continuous"]),
    ("publish", Shape::Word(&["/"]), &["continuous"]),
    ("replicas", Shape::Number(1, 1_000), &["continuous"]),
    ("health_check_http", Shape::Text, &["continuous"]),
];
/// Beside `health_check_http`: a component has one of them.
pub const SCRIPT: &str = "health_check_script";

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Config {
    /// The jobs API, up to its version.
    pub api: String,
    pub tool: String,
    /// Until an answer begins.
    #[serde(default)]
    timeout: Option<String>,
    /// Name of the secret that is sent as a bearer token.
    #[serde(default)]
    pub secret: Option<String>,
    pub components: Vec<Component>,
}

impl Config {
    pub fn of(text: &str) -> Result<Self, Failure> {
        let broken = |error: serde_json::Error| Failure::permanent(format!("config: {error}"));
        let value: Value = serde_json::from_str(text).map_err(broken)?;
        let problems = check(&value);
        if !problems.is_empty() {
            let list: Vec<_> = problems.iter().map(|problem| format!("{}: {}", problem.field, problem.message)).collect();
            return Err(Failure::permanent(format!("config: {}", list.join("; "))));
        }
        serde_json::from_value(value).map_err(broken)
    }

    pub fn timeout(&self) -> Duration {
        self.timeout.as_deref().and_then(span).unwrap_or(Duration::from_secs(20))
    }
}

/// Everything that is wrong, so that it is mended in one go.
pub fn check(value: &Value) -> Vec<Problem> {
    let Some(config) = value.as_object() else {
        return vec![Problem::new("", "must be an object")];
    };
    let mut problems = Vec::new();
    let mut wrong = |field: &str, message: String| problems.push(Problem::new(field, message));
    for key in config.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        wrong(key, format!("unknown key; known are {}", KEYS.join(", ")));
    }
    let text = |key: &str| config.get(key).and_then(Value::as_str);
    if !text("api").is_some_and(is_address) {
        let right = "the address of the jobs API up to its version, as in \"https://api.example.org/jobs/v1\"";
        wrong("api", format!("must be {right}"));
    }
    if !text("tool").is_some_and(is_name) {
        wrong("tool", "must be the tool's name, as in \"cluebotng-review\": a-z, 0-9 and -".to_owned());
    }
    if config.get("timeout").is_some_and(|timeout| timeout.as_str().and_then(span).is_none()) {
        wrong("timeout", format!("must be seconds or milliseconds up to {MAX_TIMEOUT_S} s, as in \"20s\" or \"500ms\""));
    }
    if config.get("secret").is_some_and(|secret| secret.as_str().is_none_or(str::is_empty)) {
        wrong("secret", "must be the name of a granted secret, as in \"toolforge-token\"".to_owned());
    }
    match config.get("components") {
        Some(Value::Array(components)) if !components.is_empty() => problems.extend(components_of(components)),
        _ => wrong("components", "must be a list of at least one component, in the order in which they are deployed".to_owned()),
    }
    problems
}

fn components_of(components: &[Value]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (n, component) in components.iter().enumerate() {
        let field = format!("components[{n}]");
        let Some(component) = component.as_object() else {
            problems.push(Problem::new(field, "must be an object"));
            continue;
        };
        problems
            .extend(component_of(component).into_iter().map(|(key, message)| Problem::new(format!("{field}.{key}"), message)));
        let name = component.get("name").and_then(Value::as_str);
        if let Some(first) = components[..n].iter().position(|other| name.is_some() && other["name"].as_str() == name) {
            problems.push(Problem::new(format!("{field}.name"), format!("is the name of components[{first}] already")));
        }
    }
    problems
}

/// What is wrong with one: key and message.
fn component_of(component: &Map<String, Value>) -> Vec<(String, String)> {
    let mut wrong = Vec::new();
    for key in ["name", "type", "command", "image"].into_iter().filter(|key| !component.contains_key(*key)) {
        wrong.push((key.to_owned(), "is missing".to_owned()));
    }
    let kind = component.get("type").and_then(Value::as_str).unwrap_or("continuous");
    for (key, value) in component {
        let known = if key == SCRIPT { "health_check_http" } else { key };
        let Some((_, shape, kinds)) = COMPONENT.iter().find(|(name, ..)| *name == known) else {
            let known: Vec<_> = COMPONENT.iter().map(|(name, ..)| *name).chain([SCRIPT]).collect();
            wrong.push((key.clone(), format!("unknown key; known are {}", known.join(", "))));
            continue;
        };
        if let Some(right) = misfit(*shape, value) {
            wrong.push((key.clone(), format!("{value} is not possible; write {right}")));
        } else if TYPES.contains(&kind) && !kinds.contains(&kind) {
            wrong.push((key.clone(), format!("type = {kind:?} has none; it belongs to {}", kinds.join(" and "))));
        }
    }
    if component.get("name").and_then(Value::as_str).is_some_and(|name| !is_name(name)) {
        wrong.push(("name".to_owned(), "must be a-z, 0-9 and -, beginning with a letter".to_owned()));
    }
    if kind == "scheduled" && !component.contains_key("schedule") {
        wrong.push(("schedule".to_owned(), "is missing, and type = \"scheduled\" needs it".to_owned()));
    }
    if let (Some(path), Some(script)) = (component.get("health_check_http"), component.get(SCRIPT)) {
        let message = format!("{script} and health_check_http = {path} do not go together; leave one of them out");
        wrong.push((SCRIPT.to_owned(), message));
    }
    wrong
}

/// What would be right, where it is not.
fn misfit(shape: Shape, value: &Value) -> Option<String> {
    match shape {
        Shape::Text => value.as_str().is_none_or(|text| text.trim().is_empty()).then(|| "a text".to_owned()),
        Shape::Flag => (!value.is_boolean()).then(|| "true or false".to_owned()),
        Shape::Number(from, to) => (!value.as_u64().is_some_and(|number| (from..=to).contains(&number)))
            .then(|| format!("a whole number, {from} to {to}")),
        Shape::Word(words) => (!value.as_str().is_some_and(|word| words.contains(&word)))
            .then(|| words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" or ")),
    }
}

fn is_address(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let clean = !url.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '#' | '?'));
    clean && rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
}

/// It stands in addresses as it is.
fn is_name(name: &str) -> bool {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.len() <= 63 && name.chars().all(letters)
}

fn span(text: &str) -> Option<Duration> {
    let millis = match text.strip_suffix("ms") {
        Some(number) => number.parse::<u64>().ok()?,
        None => text.strip_suffix('s')?.parse::<u64>().ok()?.checked_mul(1_000)?,
    };
    (1..=MAX_TIMEOUT_S * 1_000).contains(&millis).then(|| Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn good() -> Value {
        json!({
            "api": "https://api.example.org/jobs/v1", "tool": "reviewer",
            "components": [{ "name": "web", "type": "continuous", "command": "serve", "image": "tool-reviewer/web:latest" }],
        })
    }

    fn wrong(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut config = good();
        change(&mut config);
        check(&config).into_iter().map(|problem| format!("{}: {}", problem.field, problem.message)).collect()
    }

    #[test]
    fn defaults_stand_where_nothing_is_said() {
        let config = Config::of(&good().to_string()).unwrap();
        assert_eq!((config.timeout(), config.secret, config.components.len()), (Duration::from_secs(20), None, 1));
        assert_eq!(config.components[0].restart, crate::component::Restart::Changed);
        let mut quick = good();
        quick["timeout"] = "250ms".into();
        assert_eq!(Config::of(&quick.to_string()).unwrap().timeout(), Duration::from_millis(250));
    }

    #[test]
    fn everything_wrong_is_named_at_once() {
        let told = wrong(|config| {
            config["api"] = "api.example.org".into();
            config["timeout"] = "20".into();
            config["components"][0]["retry"] = 6.into();
            config["components"][0]["comand"] = "x".into();
            config["componets"] = Value::Null;
        });
        let fields: Vec<_> = told.iter().map(|line| line.split(": ").next().unwrap()).collect();
        assert_eq!(fields, ["componets", "api", "timeout", "components[0].retry", "components[0].comand"], "{told:#?}");
    }

    #[test]
    fn what_does_not_go_together_is_refused_with_both() {
        let told = wrong(|config| {
            config["components"][0]["health_check_http"] = "/health".into();
            config["components"][0]["health_check_script"] = "true".into();
        });
        assert_eq!(
            told,
            [
                "components[0].health_check_script: \"true\" and health_check_http = \"/health\" do not go together; leave one of them out"
            ]
        );
        assert_eq!(
            wrong(|config| config["components"][0]["schedule"] = "@hourly".into()),
            ["components[0].schedule: type = \"continuous\" has none; it belongs to scheduled"]
        );
        let told = wrong(|config| config["components"][0]["type"] = "scheduled".into());
        assert_eq!(told, ["components[0].schedule: is missing, and type = \"scheduled\" needs it"]);
        let twice = wrong(|config| {
            let first = config["components"][0].clone();
            config["components"].as_array_mut().unwrap().push(first);
        });
        assert_eq!(twice, ["components[1].name: is the name of components[0] already"]);
    }
}
