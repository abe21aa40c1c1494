//! What is kept of a good answer.

use serde_json::Value;
use serde_json_path::JsonPath;
use windlass_plugin::Failure;
use windlass_plugin::text::quote;

use crate::verdict::QUOTED;

/// The value that a JSON path (RFC 9535) finds; a list where the path may find several.
///
/// An answer that is no JSON is transient, for maintenance pages look like that and pass; a path that finds nothing is
/// permanent, for the target has answered and something else than was agreed.
pub fn pick(body: &str, content_type: &str, path: &str) -> Result<Value, Failure> {
    let said = || quote(body, QUOTED);
    let json: Value = serde_json::from_str(body)
        .map_err(|error| Failure::transient(format!("expected JSON, got {content_type} ({error}): {}", said())))?;
    let query = parse(path).map_err(|wrong| Failure::permanent(format!("config.output: {wrong}")))?;
    let nodes = query.query(&json).all();
    if is_singular(path) {
        let found = nodes.first().map(|value| (*value).clone());
        return found.ok_or_else(|| Failure::permanent(format!("{path} finds nothing in the answer: {}", said())));
    }
    Ok(nodes.into_iter().cloned().collect())
}

/// The whole of an answer that is JSON and says so.
pub fn whole(body: &str, content_type: &str) -> Option<Value> {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let is_json = kind.eq_ignore_ascii_case("application/json") || kind.to_ascii_lowercase().ends_with("+json");
    is_json.then(|| serde_json::from_str(body).ok()).flatten()
}

pub fn parse(path: &str) -> Result<JsonPath, String> {
    JsonPath::parse(path).map_err(|error| format!("{path:?} is no JSON path ({error}); write one as in \"$.data.id\""))
}

/// Whether a path can find one value at most. By the grammar every segment that can find more has one of these signs.
fn is_singular(path: &str) -> bool {
    let mut bare = String::new();
    let mut quote = None;
    let mut letters = path.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(_), '\\') => {
                letters.next();
            }
            (Some(open), close) if open == close => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(letter),
            (None, other) => bare.push(other),
        }
    }
    !bare.contains(['*', '?', ':', ',']) && !bare.contains("..")
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use windlass_plugin::Class;

    use super::*;

    const BODY: &str = r#"{"data": {"id": 7, "items": [{"n": 1}, {"n": 2}]}, "a*b": true}"#;

    fn picked(path: &str) -> Value {
        pick(BODY, "application/json", path).unwrap()
    }

    #[test]
    fn one_value_is_itself_and_several_are_a_list() {
        assert_eq!(picked("$.data.id"), 7);
        assert_eq!(picked("$['a*b']"), true);
        assert_eq!(picked("$.data.items[-1].n"), 2);
        assert_eq!(picked("$.data.items[*].n"), json!([1, 2]));
        assert_eq!(picked("$.data.items[?@.n > 1].n"), json!([2]));
        assert_eq!(picked("$..none"), json!([]));
        assert_eq!(picked("$.data.items[?length(@.n) == 1]"), json!([]));
    }

    #[test]
    fn what_is_not_there_is_said_with_the_answer() {
        let failure = pick(BODY, "application/json", "$.data.ID").unwrap_err();
        assert_eq!(failure.class(), Class::Permanent);
        assert!(failure.message().starts_with(r#"$.data.ID finds nothing in the answer: '{"data""#), "{failure}");
        let page = pick("<h1>Maintenance</h1>", "text/html", "$.data").unwrap_err();
        assert_eq!(page.class(), Class::Transient);
        assert!(page.message().contains("got text/html") && page.message().contains("Maintenance"), "{page}");
    }

    #[test]
    fn only_what_says_that_it_is_json_is_kept_whole() {
        assert_eq!(whole("[1]", "application/json; charset=utf-8"), Some(json!([1])));
        assert_eq!(whole("[1]", "application/problem+json"), Some(json!([1])));
        assert_eq!((whole("[1]", "text/plain"), whole("{", "application/json")), (None, None));
    }

    #[test]
    fn a_wrong_path_is_refused() {
        assert!(parse("data.id").unwrap_err().contains("\"$.data.id\""));
        assert!(parse("$.a[").is_err() && parse("$.a[?@.b == 'c']").is_ok());
    }
}
