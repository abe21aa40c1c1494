//! The configuration as JSON Schema, for the plugin's description.

use serde_json::{Value, json};

use crate::config::METHODS;
use crate::sign::ALGORITHMS;

/// What `describe` tells, as JSON Schema.
pub fn schema() -> Value {
    let case = json!({ "anyOf": [
        { "type": "integer", "minimum": 100, "maximum": 599 },
        { "type": "string", "pattern": "^([1-5]xx|[1-5][0-9][0-9]|unsent|unanswered)$" },
    ] });
    let cases = json!({ "anyOf": [case.clone(), { "type": "array", "items": case, "minItems": 1 }] });
    let texts = json!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } });
    let mut form = texts.clone();
    form["description"] = "Body as a form, instead of body; templates".into();
    let mut headers = texts;
    headers["description"] = "Headers by name; templates".into();
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["url"],
        "properties": {
            "method": { "enum": METHODS, "default": "GET" },
            "url": { "type": "string", "description": "Address; a template whose values are percent-encoded" },
            "headers": headers,
            "body": { "description": "A text, or JSON whose texts are templates" },
            "form": form,
            "expect": { "description": "Answers that are success", "default": ["2xx"], "anyOf": cases["anyOf"].clone() },
            "output": { "type": "string", "description": "JSON path (RFC 9535) to what is kept of the answer" },
            "timeout": {
                "type": "string", "default": "30s",
                "description": "For connecting, for the beginning of the answer, and between two pieces of it",
            },
            "classes": {
                "type": "object", "additionalProperties": false,
                "description": "What comes of other answers than the usual",
                "properties": { "transient": cases.clone(), "permanent": cases.clone(), "snooze": cases },
            },
            "idempotency_key": {
                "type": "boolean", "description": "Send Idempotency-Key, the run's id; default for POST and PATCH",
            },
            "sign": {
                "type": "object", "additionalProperties": false, "required": ["secret", "header"],
                "properties": {
                    "secret": { "type": "string" },
                    "algorithm": { "enum": ALGORITHMS, "default": "hmac-sha256" },
                    "text": { "type": "string", "default": "{{body}}" },
                    "header": { "type": "string" },
                    "value": { "type": "string", "default": "{{signature}}" },
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KEYS;

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
