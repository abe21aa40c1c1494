//! The job's configuration: one table of keys for the check, the run and the description.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use windlass_plugin::Problem;

pub const MAX_BATCH: u64 = 10_000;
pub const MAX_TIME_S: u64 = 600;
const KEYS: [&str; 6] = ["api", "index", "batch", "max_time_s", "secret", "type"];

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Config {
    /// The wiki's `api.php`.
    pub api: String,
    /// The wiki's `index.php`.
    pub index: String,
    /// Jobs asked for in one request.
    #[serde(default = "default_batch")]
    pub batch: u64,
    /// Seconds that one request may ask the wiki to work.
    #[serde(default = "default_max_time_s")]
    pub max_time_s: u64,
    /// Name of the secret that holds the wiki's `$wgSecretKey`.
    #[serde(default = "default_secret")]
    pub secret: String,
    /// Only jobs of this type.
    #[serde(default, rename = "type")]
    pub job_type: Option<String>,
}

fn default_batch() -> u64 {
    500
}

fn default_max_time_s() -> u64 {
    20
}

fn default_secret() -> String {
    "wiki-key".to_owned()
}

impl Config {
    /// The configuration, or everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let value: Value = serde_json::from_str(text).map_err(|error| vec![Problem::new("", error.to_string())])?;
        let problems = check(&value);
        if !problems.is_empty() {
            return Err(problems);
        }
        serde_json::from_value(value).map_err(|error| vec![Problem::new("", error.to_string())])
    }
}

/// Everything that is wrong, so that it is mended in one go.
pub fn check(value: &Value) -> Vec<Problem> {
    let Some(config) = value.as_object() else {
        return vec![Problem::new("", "must be an object")];
    };
    let mut problems = Vec::new();
    for key in config.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        problems.push(Problem::new(key, format!("unknown key; known are {}", KEYS.join(", "))));
    }
    check_url(config, "api", "api.php", &mut problems);
    check_url(config, "index", "index.php", &mut problems);
    check_number(config, "batch", MAX_BATCH, &mut problems);
    check_number(config, "max_time_s", MAX_TIME_S, &mut problems);
    check_name(config, "secret", "the name of a granted secret, as in \"wiki-key\"", &mut problems);
    check_name(config, "type", "a job type, as in \"refreshLinks\"", &mut problems);
    problems
}

fn check_url(config: &Map<String, Value>, key: &str, script: &str, problems: &mut Vec<Problem>) {
    let right = format!("the address of the wiki's {script}, as in \"https://wiki.example.org/w/{script}\"");
    let wrong = match config.get(key) {
        None => Some(format!("is missing: {right}")),
        Some(Value::String(url)) if !is_http_url(url) => Some(format!("\"{url}\" is not {right}")),
        // The two are easily given the wrong way round, and index.php answers anything with a page.
        Some(Value::String(url)) if key == "index" && url.ends_with("/api.php") => Some(format!("must be {right}")),
        Some(Value::String(url)) if key == "api" && url.ends_with("/index.php") => Some(format!("must be {right}")),
        Some(Value::String(_)) => None,
        Some(other) => Some(format!("{other} is not {right}")),
    };
    problems.extend(wrong.map(|message| Problem::new(key, message)));
}

fn is_http_url(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let clean = !url.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#');
    clean && rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?']))
}

fn check_number(config: &Map<String, Value>, key: &str, max: u64, problems: &mut Vec<Problem>) {
    if let Some(value) = config.get(key)
        && !value.as_u64().is_some_and(|number| (1..=max).contains(&number))
    {
        problems.push(Problem::new(key, format!("{value} is not a whole number from 1 to {max}")));
    }
}

fn check_name(config: &Map<String, Value>, key: &str, right: &str, problems: &mut Vec<Problem>) {
    let wrong = match config.get(key) {
        None => false,
        // An optional key may be given as null.
        Some(Value::Null) => key != "type",
        Some(Value::String(name)) => name.trim().is_empty(),
        Some(_) => true,
    };
    if wrong {
        problems.push(Problem::new(key, format!("must be {right}")));
    }
}

/// What `describe` tells, as JSON Schema.
pub fn schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["api", "index"],
        "properties": {
            "api": { "type": "string", "format": "uri", "description": "Address of the wiki's api.php" },
            "index": { "type": "string", "format": "uri", "description": "Address of the wiki's index.php" },
            "batch": {
                "type": "integer", "minimum": 1, "maximum": MAX_BATCH, "default": default_batch(),
                "description": "Jobs asked for in one request",
            },
            "max_time_s": {
                "type": "integer", "minimum": 1, "maximum": MAX_TIME_S, "default": default_max_time_s(),
                "description": "Seconds that one request may ask the wiki to work",
            },
            "secret": {
                "type": "string", "default": default_secret(),
                "description": "Name of the secret that holds the wiki's $wgSecretKey, granted for signing with hmac-sha1",
            },
            "type": { "type": ["string", "null"], "description": "Only jobs of this type" },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(config: Value) -> Vec<String> {
        check(&config).into_iter().map(|problem| problem.field).collect()
    }

    fn good() -> Value {
        json!({ "api": "http://127.0.0.1:8091/w/api.php", "index": "http://127.0.0.1:8091/w/index.php" })
    }

    #[test]
    fn defaults_stand_where_nothing_is_said() {
        let config = Config::parse(&good().to_string()).unwrap();
        assert_eq!((config.batch, config.max_time_s, config.secret.as_str()), (500, 20, "wiki-key"));
        assert_eq!(config.job_type, None);
    }

    #[test]
    fn everything_wrong_is_named_at_once() {
        let config = json!({ "api": "wiki/api.php", "batch": 0, "max_time_s": "20", "secret": "", "type": 3, "bacth": 1 });
        assert_eq!(fields(config), ["bacth", "api", "index", "batch", "max_time_s", "secret", "type"]);
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_known_ones() {
        let mut config = good();
        config["maxtime"] = json!(20);
        let problems = check(&config);
        assert_eq!(problems[0].field, "maxtime");
        assert!(problems[0].message.contains("max_time_s"), "{}", problems[0].message);
    }

    #[test]
    fn swapped_addresses_are_seen() {
        let config = json!({ "index": good()["api"], "api": good()["index"] });
        assert_eq!(fields(config), ["api", "index"]);
    }

    #[test]
    fn the_schema_knows_the_same_keys() {
        let schema = schema();
        let mut described: Vec<_> = schema["properties"].as_object().unwrap().keys().cloned().collect();
        let mut known = KEYS.map(str::to_owned).to_vec();
        described.sort();
        known.sort();
        assert_eq!(described, known);
    }
}
