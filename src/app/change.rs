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
    Updated(Vec<Difference>),
    #[serde(rename = "already up to date")]
    UpToDate,
    Removed,
}

/// A value that is another now. `null`: not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Dotted, as in `triggers[0].backlog.every`.
    pub key: String,
    pub old: Value,
    pub new: Value,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.object)?;
        match &self.result {
            Outcome::Created => f.write_str("created"),
            Outcome::Updated(what) => {
                let keys: Vec<&str> = what.iter().map(|difference| difference.key.as_str()).collect();
                write!(f, "updated ({})", keys.join(", "))
            }
            Outcome::UpToDate => f.write_str("already up to date"),
            Outcome::Removed => f.write_str("removed"),
        }
    }
}

/// What differs. Lists of different length differ as a whole.
pub fn differences(old: &Value, new: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(old, new, String::new(), &mut found);
    found
}

fn compare(old: &Value, new: &Value, key: String, found: &mut Vec<Difference>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let gone = old.keys().filter(|key| !new.contains_key(*key));
            for name in new.keys().chain(gone) {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                compare(old.get(name).unwrap_or(&Value::Null), new.get(name).unwrap_or(&Value::Null), key, found);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (n, (old, new)) in old.iter().zip(new).enumerate() {
                compare(old, new, format!("{key}[{n}]"), found);
            }
        }
        (old, new) if old != new => found.push(Difference { key, old: old.clone(), new: new.clone() }),
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
        let found = differences(&old, &new);
        assert_eq!(found.iter().map(|one| one.key.as_str()).collect::<Vec<_>>(), ["f", "b.c[1].d", "new", "gone"]);
        assert_eq!((&found[1].old, &found[1].new), (&json!(2), &json!(4)));
        assert_eq!((&found[2].old, &found[3].new), (&Value::Null, &Value::Null));
        assert_eq!(differences(&old, &old), []);
    }

    #[test]
    fn a_change_is_what_the_api_says() {
        let change = |result| serde_json::to_value(Change { object: "job alpha/a".into(), result }).unwrap();
        let longer = Difference { key: "time_limit".into(), old: "1m".into(), new: "2m".into() };
        assert_eq!(
            change(Outcome::Updated(vec![longer])),
            json!({ "object": "job alpha/a", "result": "updated", "what": [{ "key": "time_limit", "old": "1m", "new": "2m" }] })
        );
        assert_eq!(change(Outcome::UpToDate), json!({ "object": "job alpha/a", "result": "already up to date" }));
        let back: Change = serde_json::from_value(change(Outcome::Removed)).unwrap();
        assert_eq!(back.to_string(), "job alpha/a: removed");
    }
}
