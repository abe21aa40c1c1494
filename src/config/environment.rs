//! Settings from the environment: `WINDLASS_…`, with `__` for a step down.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Settings;
use super::document::Document;
use crate::error::{Problem, Result};

/// Variables that begin with the prefix and are no settings: they are for the command line, the log and the vault.
const OTHER_VARIABLES: [&str; 5] =
    ["WINDLASS_CONFIG", "WINDLASS_LOG", "WINDLASS_SECRET_KEY", "WINDLASS_SERVER", "WINDLASS_TOKEN"];
const PREFIX: &str = "WINDLASS_";

/// Puts the environment's settings into the tree; answers each path with its variable.
pub(super) fn overlay(tree: &mut Value, env: impl Iterator<Item = (String, String)>) -> Result<BTreeMap<String, String>> {
    // The defaults know which keys are text: `7171` as a folder's name is no number.
    let defaults = serde_json::to_value(Settings::default())?;
    let mut variables = BTreeMap::new();
    let mut found: Vec<_> = env.filter(|(name, _)| is_setting(name)).collect();
    // WINDLASS_WORKER, a table, before WINDLASS_WORKER__GUEST_THREADS.
    found.sort();
    for (name, text) in found {
        let path = name[PREFIX.len()..].to_lowercase();
        let keys: Vec<&str> = path.split("__").collect();
        let like = keys.iter().try_fold(&defaults, |value, key| value.get(*key));
        let value = if matches!(like, Some(Value::String(_))) { Value::String(text) } else { typed(text) };
        put(tree, &keys, value);
        variables.insert(keys.join("."), name);
    }
    Ok(variables)
}

fn is_setting(name: &str) -> bool {
    // Kubernetes gives every pod WINDLASS_PORT… and WINDLASS_SERVICE_… when a service is called windlass.
    let foreign = name.starts_with("WINDLASS_PORT") || name.starts_with("WINDLASS_SERVICE_");
    name.starts_with(PREFIX) && !foreign && !OTHER_VARIABLES.contains(&name)
}

/// What the text is in TOML, else the text.
fn typed(text: String) -> Value {
    let parsed = Document::parse("", &format!("value = {text}"));
    let read = parsed.read::<BTreeMap<String, Value>>();
    let value = read.value.filter(|map| map.len() == 1).and_then(|mut map| map.remove("value"));
    value.unwrap_or(Value::String(text))
}

fn put(tree: &mut Value, keys: &[&str], value: Value) {
    let Some((last, above)) = keys.split_last() else { return };
    let mut at = tree;
    for key in above {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        let Value::Object(map) = at else { return };
        at = map.entry(*key).or_insert_with(|| Value::Object(Map::new()));
    }
    if !at.is_object() {
        *at = Value::Object(Map::new());
    }
    if let Value::Object(map) = at {
        map.insert((*last).to_owned(), value);
    }
}

/// The problem under its variable's name, if the value came from there.
pub(super) fn named(problem: Problem, variables: &BTreeMap<String, String>) -> Problem {
    let field = problem.field.as_str();
    let from = variables.iter().find(|(path, _)| {
        let below = |long: &str, short: &str| {
            long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        below(field, path) || below(path, field)
    });
    match from {
        Some((_, variable)) => Problem::new(variable.clone(), problem.message),
        None => Problem { file: problem.file.filter(|file| !file.is_empty()), ..problem },
    }
}
