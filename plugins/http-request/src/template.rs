//! Texts with `{{input.path}}` in them: each placeholder is replaced by the value of that name, and nothing else happens.
//! How a value is written (as it is, or percent-encoded) is decided by the place that the text is for.

use serde_json::{Map, Value};

/// What may be named in every place of a request. `secret.NAME` is a stand-in, which the host replaces where the grant allows it.
pub const ROOTS: &[&str] = &["input", "tenant", "job", "run", "attempt", "trigger", SECRET];
const SECRET: &str = "secret";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The name of a value, and the path into it.
    Value(Vec<String>),
}

impl Template {
    /// Of no text.
    pub fn nothing() -> Self {
        Self(Vec::new())
    }

    /// What is wrong with it is said for the person who wrote it; a placeholder must begin with one of `roots`.
    pub fn parse(text: &str, roots: &[&str]) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once("{{") {
            let (inside, after) = behind.split_once("}}").ok_or_else(|| {
                format!("\"{{{{\" has no \"}}}}\" behind it in {text:?}; a literal one is written {{{{\"{{{{\"}}}}")
            })?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(placeholder(inside.trim(), roots)?);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// Names of the secrets in it.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Value(path) if path[0] == SECRET => path.get(1).map(String::as_str),
            _ => None,
        })
    }

    /// The text with every value in its place, each written by `write`. A value that is not there is an error that names it.
    pub fn fill(&self, values: &Value, write: impl Fn(&str) -> String) -> Result<String, String> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Value(path) => text.push_str(&write(&as_text(path, find(values, path)?)?)),
            }
        }
        Ok(text)
    }

    /// The value itself, where the text is one placeholder and nothing else.
    pub fn alone<'a>(&self, values: &'a Value) -> Option<Result<&'a Value, String>> {
        match self.0.as_slice() {
            [Part::Value(path)] => Some(find(values, path)),
            _ => None,
        }
    }
}

fn placeholder(inside: &str, roots: &[&str]) -> Result<Part, String> {
    if inside.starts_with('"') {
        return serde_json::from_str(inside).map(Part::Text).map_err(|_| format!("{{{{{inside}}}}} is no text in quotes"));
    }
    let path: Vec<String> = inside.split('.').map(|name| name.trim().to_owned()).collect();
    if path.iter().any(String::is_empty) || !roots.contains(&path[0].as_str()) {
        return Err(format!("{{{{{inside}}}}} is not known here; write one of {}, as in {{{{input.id}}}}", roots.join(", ")));
    }
    if path[0] == SECRET && path.len() != 2 {
        return Err(format!("{{{{{inside}}}}} names no secret; write its name behind the point, as in {{{{secret.api-token}}}}"));
    }
    Ok(Part::Value(path))
}

fn find<'a>(values: &'a Value, path: &[String]) -> Result<&'a Value, String> {
    let mut value = values;
    for (depth, name) in path.iter().enumerate() {
        let next = match value {
            Value::Object(object) => object.get(name),
            Value::Array(list) => name.parse::<usize>().ok().and_then(|at| list.get(at)),
            _ => None,
        };
        value = next.ok_or_else(|| {
            let there = path[..depth].join(".");
            format!("{} is not there: {there} is {}", path.join("."), said(value))
        })?;
    }
    Ok(value)
}

/// What stands where something was looked for.
fn said(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Object(object) if object.is_empty() => "an empty object".to_owned(),
        Value::Object(object) => {
            format!("an object with {}", object.keys().take(10).cloned().collect::<Vec<_>>().join(", "))
        }
        Value::Array(list) => format!("a list of {}", list.len()),
        other => other.to_string(),
    }
}

fn as_text(path: &[String], value: &Value) -> Result<String, String> {
    match value {
        Value::Null => Err(format!("{} is null, and a text needs a value", path.join("."))),
        Value::String(text) => Ok(text.clone()),
        other => Ok(other.to_string()),
    }
}

/// Fills all texts of a JSON value, not its keys. A text that is one placeholder becomes the value itself, of whatever type:
/// what comes out is JSON, whatever the values are.
pub fn fill_json(value: &Value, values: &Value) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => {
            let template = Template::parse(text, ROOTS)?;
            match template.alone(values) {
                Some(found) => found?.clone(),
                None => Value::String(template.fill(values, str::to_owned)?),
            }
        }
        Value::Array(list) => Value::Array(list.iter().map(|one| fill_json(one, values)).collect::<Result<_, _>>()?),
        Value::Object(object) => Value::Object(
            object.iter().map(|(key, one)| Ok((key.clone(), fill_json(one, values)?))).collect::<Result<Map<_, _>, String>>()?,
        ),
        other => other.clone(),
    })
}

/// Percent-encodes all but letters, digits and `-._~`, so that a value stays within its part of a URL.
pub fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// The part of a URL's path that leads out of where it stands, also for a server that reads `%2e` or `%2F` first: a value may
/// fill its part of a path and not choose another one.
pub fn leads_elsewhere(url: &str) -> Option<&str> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.split(['?', '#']).next().unwrap_or_default().split_once('/').map_or("", |(_, path)| path);
    path.split('/').find(|part| {
        let plain = part.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "/").replace('\\', "/");
        plain.split('/').any(|name| name == "." || name == "..")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn values() -> Value {
        json!({ "input": { "id": 7, "name": "a/b ?", "tags": ["x", "y"], "none": null, "on": true }, "run": "0ABC" })
    }

    fn filled(text: &str) -> Result<String, String> {
        Template::parse(text, ROOTS)?.fill(&values(), str::to_owned)
    }

    #[test]
    fn placeholders_become_values() {
        assert_eq!(filled("{{input.id}}/{{ input.tags.1 }}/{{run}}").unwrap(), "7/y/0ABC");
        assert_eq!(filled("{{input.tags}} {{input.on}}").unwrap(), r#"["x","y"] true"#);
        assert_eq!(filled("no more than } and { here").unwrap(), "no more than } and { here");
        assert_eq!(filled(r#"{{"{{"}}input}}"#).unwrap(), "{{input}}");
    }

    #[test]
    fn what_is_not_there_is_named() {
        assert_eq!(
            filled("{{input.ID}}").unwrap_err(),
            "input.ID is not there: input is an object with id, name, tags, none, on"
        );
        assert_eq!(filled("{{input.tags.2}}").unwrap_err(), "input.tags.2 is not there: input.tags is a list of 2");
        assert_eq!(filled("{{input.id.x}}").unwrap_err(), "input.id.x is not there: input.id is 7");
        assert!(filled("{{input.none}}").unwrap_err().contains("input.none is null"));
    }

    #[test]
    fn what_is_no_placeholder_is_refused() {
        for wrong in ["{{input", "{{}}", "{{inptu.id}}", "{{input..id}}", "{{#if input}}", "{{\"a}}"] {
            assert!(Template::parse(wrong, ROOTS).is_err(), "{wrong}");
        }
    }

    #[test]
    fn secrets_are_named() {
        let template = Template::parse("Bearer {{secret.api-token}}", ROOTS).unwrap();
        assert_eq!(template.secrets().collect::<Vec<_>>(), ["api-token"]);
        for wrong in ["{{secret}}", "{{secret.a.b}}"] {
            assert!(Template::parse(wrong, ROOTS).unwrap_err().contains("names no secret"), "{wrong}");
        }
    }

    #[test]
    fn values_are_not_read_as_templates() {
        let hostile = json!({ "input": { "x": "{{run}}" }, "run": "0ABC" });
        assert_eq!(Template::parse("{{input.x}}", ROOTS).unwrap().fill(&hostile, str::to_owned).unwrap(), "{{run}}");
    }

    #[test]
    fn json_stays_json() {
        let body =
            json!({ "id": "{{input.id}}", "all": "{{input}}", "text": "n° {{input.id}}", "n": 1, "list": ["{{input.name}}"] });
        let filled = fill_json(&body, &values()).unwrap();
        assert_eq!(filled["id"], 7);
        assert_eq!(filled["all"]["tags"], json!(["x", "y"]));
        assert_eq!((&filled["text"], &filled["n"], &filled["list"]), (&json!("n° 7"), &json!(1), &json!(["a/b ?"])));
        let hostile = json!({ "input": { "id": "\",\"admin\":true,\"x\":\"" }, "run": "" });
        assert_eq!(fill_json(&json!({ "id": "{{input.id}}" }), &hostile).unwrap().as_object().unwrap().len(), 1);
    }

    #[test]
    fn a_path_that_leads_elsewhere_is_found() {
        for (url, part) in [
            ("https://h/tools/../admin", Some("..")),
            ("https://h/tools/..", Some("..")),
            ("https://h/./x", Some(".")),
            ("https://h/tools/%2E%2e/x", Some("%2E%2e")),
            ("https://h/tools/..%2Fadmin", Some("..%2Fadmin")),
            ("https://h/tools/a%5C..%5Cb?x", Some("a%5C..%5Cb")),
            ("https://h/tools/a..b/...?up=../..#../", None),
            ("https://h", None),
            ("https://h/tools/a%2Fb", None),
        ] {
            assert_eq!(leads_elsewhere(url), part, "{url}");
        }
    }

    #[test]
    fn a_value_stays_in_its_part_of_a_url() {
        let url = Template::parse("https://h/x/{{input.name}}?q={{input.name}}", ROOTS).unwrap();
        assert_eq!(url.fill(&values(), percent).unwrap(), "https://h/x/a%2Fb%20%3F?q=a%2Fb%20%3F");
    }
}
