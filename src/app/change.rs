//! What a use case made of an object, and which of its keys changed.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One object and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// As in `tenant alpha` or `job alpha/drain-jobs`.
    pub object: String,
    #[serde(flatten)]
    pub result: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", content = "what", rename_all = "lowercase")]
pub enum Outcome {
    Created,
    /// The dotted keys that changed, as in `triggers[0].backlog.every`.
    Updated(Vec<String>),
    #[serde(rename = "already up to date")]
    UpToDate,
    Removed,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.object)?;
        match &self.result {
            Outcome::Created => f.write_str("created"),
            Outcome::Updated(what) => write!(f, "updated ({})", what.join(", ")),
            Outcome::UpToDate => f.write_str("already up to date"),
            Outcome::Removed => f.write_str("removed"),
        }
    }
}

/// Dotted paths of what differs. Lists of different length differ as a whole.
pub fn differences(old: &Value, new: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare(old, new, String::new(), &mut found);
    found
}

fn compare(old: &Value, new: &Value, path: String, found: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let gone = old.keys().filter(|key| !new.contains_key(*key));
            for key in new.keys().chain(gone) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                compare(old.get(key).unwrap_or(&Value::Null), new.get(key).unwrap_or(&Value::Null), path, found);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (n, (old, new)) in old.iter().zip(new).enumerate() {
                compare(old, new, format!("{path}[{n}]"), found);
            }
        }
        (old, new) if old != new => found.push(path),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_are_dotted_and_order_is_none() {
        let old = json!({ "a": 1, "b": { "c": [1, { "d": 2 }], "e": 3 }, "f": [1], "gone": { "x": 1 } });
        let new = json!({ "f": [1, 2], "b": { "e": 3, "c": [1, { "d": 4 }] }, "a": 1, "new": true });
        assert_eq!(differences(&old, &new), ["f", "b.c[1].d", "new", "gone"]);
        assert_eq!(differences(&old, &old), [""; 0]);
    }

    #[test]
    fn a_change_is_what_the_api_says() {
        let change = |result| serde_json::to_value(Change { object: "job alpha/a".into(), result }).unwrap();
        assert_eq!(
            change(Outcome::Updated(vec!["time_limit".into()])),
            json!({ "object": "job alpha/a", "result": "updated", "what": ["time_limit"] })
        );
        assert_eq!(change(Outcome::UpToDate), json!({ "object": "job alpha/a", "result": "already up to date" }));
        let back: Change = serde_json::from_value(change(Outcome::Removed)).unwrap();
        assert_eq!(back.to_string(), "job alpha/a: removed");
    }
}
