//! The job's configuration and the run's input.

use serde::Deserialize;
use serde_json::{Value, json};
use windlass_plugin::{Failure, Problem, Work};

use crate::preset::PRESETS;

/// Larger ones are made only when they are named: they need hundreds of megabytes.
const USUAL: usize = 7;
const KEYS: [&str; 3] = ["source", "target", "presets"];

/// What is to be done: of the configuration, the input going over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub source: String,
    pub target: String,
    pub presets: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    source: Option<String>,
    target: Option<String>,
    presets: Option<Vec<String>>,
}

impl Wanted {
    pub fn of(work: &Work) -> Result<Self, Failure> {
        let (config, input) = (work.config::<Given>()?, work.input::<Option<Given>>()?.unwrap_or_default());
        let given = Given {
            source: input.source.or(config.source),
            target: input.target.or(config.target),
            presets: input.presets.or(config.presets),
        };
        let missing = |key: &str| Failure::permanent(format!("{key} is missing: give it in the input or in the config"));
        let wanted = Self {
            source: given.source.ok_or_else(|| missing("source"))?,
            target: given.target.ok_or_else(|| missing("target"))?,
            presets: given.presets.unwrap_or_else(usual),
        };
        let as_json = json!({ "source": wanted.source, "target": wanted.target, "presets": wanted.presets });
        match check(&as_json).first() {
            Some(problem) => Err(Failure::permanent(format!("{}: {}", problem.field, problem.message))),
            None => Ok(wanted),
        }
    }

    /// Where a derivative is put.
    pub fn address(&self, preset: &str) -> String {
        let path = self.source.split(['?', '#']).next().unwrap_or_default();
        let file = path.rsplit('/').next().unwrap_or_default();
        let name = file.rsplit_once('.').map_or(file, |(name, _)| name);
        self.target.replace("{{name}}", name).replace("{{preset}}", preset)
    }
}

fn usual() -> Vec<String> {
    PRESETS[..USUAL].iter().map(|preset| preset.key.to_owned()).collect()
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
    let is_url = |url: &str| url.starts_with("https://") || url.starts_with("http://");
    if let Some(source) = config.get("source")
        && !source.as_str().is_some_and(is_url)
    {
        problems.push(Problem::new("source", format!("{source} is no address, as in \"https://media.example.org/film.mp4\"")));
    }
    if let Some(target) = config.get("target")
        && !target.as_str().is_some_and(|target| is_url(target) && target.contains("{{preset}}"))
    {
        let right = "an address with {{preset}} in it, as in \"https://media.example.org/made/{{name}}.{{preset}}\"";
        problems.push(Problem::new("target", format!("{target} is not {right}")));
    }
    if let Some(presets) = config.get("presets") {
        let known = PRESETS.map(|preset| preset.key);
        let names = presets.as_array().filter(|names| !names.is_empty());
        match names.map(|names| names.iter().find(|name| !name.as_str().is_some_and(|name| known.contains(&name)))) {
            Some(None) => {}
            Some(Some(unknown)) => {
                problems.push(Problem::new("presets", format!("{unknown} is no preset; there are {}", known.join(", "))));
            }
            None => problems.push(Problem::new("presets", format!("must be a list of some of {}", known.join(", ")))),
        }
    }
    problems
}

/// What `describe` tells, as JSON Schema.
pub fn schema() -> Value {
    let keys = PRESETS.map(|preset| preset.key);
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "source": { "type": "string", "format": "uri", "description": "Address of the film; the input may give it instead" },
            "target": {
                "type": "string",
                "description": "Where derivatives are put: {{preset}} is the preset's key, {{name}} the source's name without its ending",
            },
            "presets": {
                "type": "array", "items": { "enum": keys }, "minItems": 1, "default": usual(),
                "description": "Derivatives to make, those that are not larger than the source",
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_made_of_name_and_preset() {
        let wanted = Wanted {
            source: "https://h/a/My.film.mp4?x=1".into(),
            target: "https://h/made/{{name}}.{{preset}}".into(),
            presets: usual(),
        };
        assert_eq!(wanted.address("240p.mp4"), "https://h/made/My.film.240p.mp4");
        assert_eq!((wanted.presets.len(), wanted.presets.last().map(String::as_str)), (7, Some("1080p.mp4")));
    }

    #[test]
    fn everything_wrong_is_named() {
        let wrong = check(&json!({ "source": "film.mp4", "target": "https://h/one.mp4", "presets": ["240p"], "size": 1 }));
        assert_eq!(
            wrong.iter().map(|problem| problem.field.as_str()).collect::<Vec<_>>(),
            ["size", "source", "target", "presets"]
        );
        assert!(check(&json!({})).is_empty(), "the input may give all");
        assert_eq!(check(&json!({ "presets": [] })).len(), 1);
    }
}
