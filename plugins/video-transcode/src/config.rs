//! The job's configuration and the run's input.

use serde::Deserialize;
use serde_json::{Value, json};
use windlass_plugin::{Failure, Problem, Work};

use crate::preset::PRESETS;

/// Larger ones are made only when they are named: they need hundreds of megabytes.
const USUAL: usize = 7;
const KEYS: [&str; 5] = ["source", "target", "artifacts", "presets", "max_bytes"];
/// Bytes of a derivative, unless it is said: what one request may carry, unless its limit is raised.
const BYTES: u64 = 15 * 1024 * 1024;
/// Bytes of an artifact's name, as the host has it.
const NAME: usize = 200;
/// Its index speaks of places in it with 32 bits.
const MOST_BYTES: u64 = 4_000_000_000;

/// What is to be done: of the configuration, the input going over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub source: Place,
    /// Where derivatives are put, with PUT.
    pub target: Option<String>,
    /// They are left behind with the run.
    pub artifacts: bool,
    pub presets: Vec<String>,
    /// Of a derivative.
    pub max_bytes: usize,
}

/// Where a film is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Url(String),
    /// What another run has left.
    Artifact {
        run: String,
        name: String,
    },
}

impl Place {
    /// `after`: the runs that this one follows; where the artifact's is not said, it is the one.
    fn of(given: &Value, after: &[After]) -> Result<Self, Failure> {
        if let Some(wrong) = not_a_source(given) {
            return Err(Failure::permanent(format!("source: {wrong}")));
        }
        if let Some(url) = given.as_str() {
            return Ok(Self::Url(url.to_owned()));
        }
        let text = |key: &str| given["artifact"][key].as_str().map(str::to_owned);
        let run = match (text("run"), after) {
            (Some(run), _) => run,
            (None, [one]) => one.run.clone(),
            (None, []) => return Err(Failure::permanent("source: artifact.run is missing, and this run follows none: name one")),
            (None, all) => {
                let message = format!("source: this run follows {} runs and can take one film: set max_live = 0", all.len());
                return Err(Failure::permanent(message));
            }
        };
        Ok(Self::Artifact { run, name: text("name").unwrap_or_default() })
    }

    /// Its file name without its ending.
    fn stem(&self) -> &str {
        let file = match self {
            Self::Url(url) => url.split(['?', '#']).next().and_then(|path| path.rsplit('/').next()).unwrap_or_default(),
            Self::Artifact { name, .. } => name,
        };
        file.rsplit_once('.').map_or(file, |(stem, _)| stem)
    }
}

/// What is wrong with it, and what would be right.
fn not_a_source(given: &Value) -> Option<String> {
    let right = match (given, given.get("artifact").and_then(Value::as_object)) {
        (Value::String(url), _) => is_url(url),
        (Value::Object(all), Some(artifact)) => {
            let known = |key: &String| key == "run" || key == "name";
            let is_text = |key: &str| artifact.get(key).is_none_or(Value::is_string);
            all.len() == 1 && artifact.keys().all(known) && is_text("run") && artifact.get("name").is_some_and(Value::is_string)
        }
        _ => false,
    };
    let example = r#""https://media.example.org/film.mp4" or {"artifact": {"run": "01KASV7Q2M4T9", "name": "film.mp4"}}"#;
    (!right).then(|| format!("{given} is neither an address nor an artifact, as in {example}"))
}

fn is_url(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

/// A run that this one follows, as the host tells it.
#[derive(Debug, Clone, Deserialize)]
struct After {
    run: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    source: Option<Value>,
    #[serde(default)]
    after: Vec<After>,
    target: Option<String>,
    artifacts: Option<bool>,
    presets: Option<Vec<String>>,
    max_bytes: Option<u64>,
}

impl Wanted {
    pub fn of(work: &Work) -> Result<Self, Failure> {
        let (config, input) = (work.config::<Given>()?, work.input::<Option<Given>>()?.unwrap_or_default());
        let given = Given {
            source: input.source.or(config.source),
            after: input.after,
            target: input.target.or(config.target),
            artifacts: input.artifacts.or(config.artifacts),
            presets: input.presets.or(config.presets),
            max_bytes: input.max_bytes.or(config.max_bytes),
        };
        let missing = |key: &str| Failure::permanent(format!("{key} is missing: give it in the input or in the config"));
        let max_bytes = given.max_bytes.unwrap_or(BYTES);
        let wanted = Self {
            source: Place::of(&given.source.ok_or_else(|| missing("source"))?, &given.after)?,
            target: given.target,
            artifacts: given.artifacts.unwrap_or(false),
            presets: given.presets.unwrap_or_else(usual),
            max_bytes: usize::try_from(max_bytes).unwrap_or(usize::MAX),
        };
        if wanted.target.is_none() && !wanted.artifacts {
            return Err(missing("target (or artifacts = true)"));
        }
        let mut as_json = json!({ "presets": wanted.presets, "max_bytes": max_bytes });
        as_json.as_object_mut().into_iter().zip(&wanted.target).for_each(|(all, target)| {
            all.insert("target".into(), target.as_str().into());
        });
        if let Some(problem) = check(&as_json).first() {
            return Err(Failure::permanent(format!("{}: {}", problem.field, problem.message)));
        }
        wanted.wrong_artifact().map_or(Ok(wanted), |wrong| Err(Failure::permanent(format!("source: {wrong}"))))
    }

    /// Why what is left behind could not be called so: better known before the work than behind it.
    fn wrong_artifact(&self) -> Option<String> {
        let name = self.presets.iter().filter_map(|preset| self.artifact(preset)).max_by_key(String::len)?;
        // They turn the direction of text.
        let is_hidden =
            |mark| matches!(mark, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        let wrong = if name.len() > NAME {
            return Some(format!(
                "its artifacts would have names of up to {} bytes; at most {NAME} are right: give the film a shorter name",
                name.len()
            ));
        } else if name.starts_with('.') {
            "begin with a dot"
        } else if name.contains(|mark: char| mark == '\\' || mark.is_control() || is_hidden(mark)) {
            "have marks that cannot stand in a file's name"
        } else {
            return None;
        };
        Some(format!("its artifacts would be called as {name:?}, and {wrong}: give the film another name"))
    }

    /// Where a derivative is put, if it is.
    pub fn address(&self, preset: &str) -> Option<String> {
        Some(self.target.as_ref()?.replace("{{name}}", self.source.stem()).replace("{{preset}}", preset))
    }

    /// What a derivative is called that is left behind, if it is.
    pub fn artifact(&self, preset: &str) -> Option<String> {
        self.artifacts.then(|| format!("{}.{preset}", self.source.stem()))
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
    if let Some(wrong) = config.get("source").and_then(not_a_source) {
        problems.push(Problem::new("source", wrong));
    }
    if let Some(target) = config.get("target")
        && !target.as_str().is_some_and(|target| is_url(target) && target.contains("{{preset}}"))
    {
        let right = "an address with {{preset}} in it, as in \"https://media.example.org/made/{{name}}.{{preset}}\"";
        problems.push(Problem::new("target", format!("{target} is not {right}")));
    }
    if let Some(artifacts) = config.get("artifacts")
        && !artifacts.is_boolean()
    {
        problems.push(Problem::new("artifacts", format!("{artifacts} is neither true nor false")));
    }
    if let Some(bytes) = config.get("max_bytes")
        && !bytes.as_u64().is_some_and(|bytes| (1..=MOST_BYTES).contains(&bytes))
    {
        problems.push(Problem::new("max_bytes", format!("{bytes} is not a whole number from 1 to {MOST_BYTES}")));
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
            "source": {
                "description": "The film; the input may give it instead. An artifact without a run is of the run that this one follows",
                "oneOf": [{ "type": "string", "format": "uri" }, {
                    "type": "object", "additionalProperties": false, "required": ["artifact"],
                    "properties": { "artifact": {
                        "type": "object", "additionalProperties": false, "required": ["name"],
                        "properties": { "run": { "type": "string" }, "name": { "type": "string" } },
                    } },
                }],
            },
            "target": {
                "type": "string",
                "description": "Where derivatives are put: {{preset}} is the preset's key, {{name}} the source's name without its ending",
            },
            "artifacts": { "type": "boolean", "default": false, "description": "Whether derivatives are left behind with the run" },
            "max_bytes": {
                "type": "integer", "minimum": 1, "maximum": MOST_BYTES, "default": BYTES, "description": "Of a derivative",
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
            source: Place::Url("https://h/a/My.film.mp4?x=1".into()),
            target: Some("https://h/made/{{name}}.{{preset}}".into()),
            artifacts: false,
            presets: usual(),
            max_bytes: 1,
        };
        assert_eq!(wanted.address("240p.mp4").as_deref(), Some("https://h/made/My.film.240p.mp4"));
        assert_eq!(wanted.artifact("240p.mp4"), None);
        let left = Wanted { target: None, artifacts: true, ..wanted.clone() };
        assert_eq!((left.address("240p.mp4"), left.artifact("240p.mp4").as_deref()), (None, Some("My.film.240p.mp4")));
        assert_eq!((wanted.presets.len(), wanted.presets.last().map(String::as_str)), (7, Some("1080p.mp4")));
    }

    #[test]
    fn a_name_that_no_artifact_may_have_is_refused_before_the_work() {
        let of = |source: &str, artifacts| {
            let wanted = Wanted { source: Place::Url(source.into()), target: None, artifacts, presets: usual(), max_bytes: 1 };
            wanted.wrong_artifact()
        };
        let named = |bytes: usize| format!("https://h/{}.mp4", "x".repeat(bytes));
        assert_eq!(of(&named(190), true), None, "with .1080p.mp4 it is 200");
        assert!(of(&named(191), true).unwrap().contains("up to 201 bytes"));
        assert_eq!(of(&named(191), false), None, "nothing is left behind");
        for dotted in ["https://h/.film.mp4", "https://h/a/.mp4", "https://h/films/"] {
            assert!(of(dotted, true).unwrap().contains("begin with a dot"), "{dotted}");
        }
        assert!(of("https://h/a\\b.mp4", true).unwrap().contains("cannot stand"));
    }

    #[test]
    fn an_artifact_is_of_the_run_that_is_named_or_followed() {
        let after = |runs: &[&str]| runs.iter().map(|run| After { run: (*run).to_owned() }).collect::<Vec<_>>();
        let named = json!({ "artifact": { "run": "A", "name": "my.film.mp4" } });
        let place = Place::of(&named, &after(&["B", "C"])).unwrap();
        assert_eq!((&place, place.stem()), (&Place::Artifact { run: "A".into(), name: "my.film.mp4".into() }, "my.film"));
        let followed = json!({ "artifact": { "name": "f" } });
        assert_eq!(Place::of(&followed, &after(&["B"])).unwrap(), Place::Artifact { run: "B".into(), name: "f".into() });
        for (runs, says) in [(&[][..], "artifact.run is missing"), (&["B", "C"], "follows 2 runs")] {
            let wrong = Place::of(&followed, &after(runs)).unwrap_err();
            assert!(wrong.message().contains(says), "{wrong}");
        }
        for wrong in [json!(7), json!({}), json!({ "artifact": { "run": "A" } }), json!({ "artifact": { "name": "f", "x": 1 } })]
        {
            assert!(not_a_source(&wrong).is_some(), "{wrong}");
        }
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
        assert_eq!(check(&json!({ "artifacts": "yes", "max_bytes": 0 })).len(), 2);
        assert!(check(&json!({ "artifacts": true, "max_bytes": 100_000_000 })).is_empty());
    }
}
