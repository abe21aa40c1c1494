//! The configuration as JSON Schema, for the plugin's description.

use serde_json::{Map, Value, json};

use crate::config::{COMPONENT, SCRIPT, Shape};

pub fn schema() -> Value {
    let shape = |shape: Shape| match shape {
        Shape::Text => json!({ "type": "string", "minLength": 1 }),
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::Number(from, to) => json!({ "type": "integer", "minimum": from, "maximum": to }),
        Shape::Word(words) => json!({ "enum": words }),
    };
    let mut properties: Map<String, Value> = COMPONENT.iter().map(|(key, of, _)| ((*key).to_owned(), shape(*of))).collect();
    properties.insert(SCRIPT.to_owned(), shape(Shape::Text));
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["api", "tool", "components"],
        "properties": {
            "api": { "type": "string", "format": "uri", "description": "Address of the jobs API, up to its version" },
            "tool": { "type": "string", "description": "The tool whose components these are" },
            "timeout": { "type": "string", "default": "20s", "description": "How long an answer may take to begin" },
            "secret": { "type": "string", "description": "Name of the secret that is sent as a bearer token" },
            "components": {
                "type": "array", "minItems": 1, "description": "In the order in which they are deployed",
                "items": {
                    "type": "object", "additionalProperties": false,
                    "required": ["name", "type", "command", "image"],
                    "properties": properties,
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
