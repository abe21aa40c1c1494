//! /api/openapi.json: every route is in it, and every answer of these tests is as it says ([`checked`]).

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::world::Served;

static DOCUMENT: OnceLock<Value> = OnceLock::new();

/// Fails when an answer is not what the document of this server says of it.
pub fn checked(server: &str, method: &str, path: &str, status: u16, body: &str) {
    let document = DOCUMENT.get_or_init(|| {
        let mut answer = ureq::get(format!("{server}/api/openapi.json")).call().unwrap();
        answer.body_mut().read_json().unwrap()
    });
    let path = path.split('?').next().unwrap_or_default();
    let Some(operation) = operation(document, method, path) else {
        assert!(matches!(status, 404 | 405), "{method} {path} answers {status} and is not in the document");
        return;
    };
    let told = &operation["responses"];
    let told = if status < 300 { &told[status.to_string()] } else { &told["default"] };
    assert!(told.is_object(), "{method} {path} answers {status}, which is not in the document");
    let Some((kind, content)) = told["content"].as_object().and_then(|content| content.iter().next()) else {
        assert_eq!(body, "", "{method} {path} answers {status} with a body");
        return;
    };
    // Bytes of a guest: whatever they are.
    if kind == "*/*" {
        return;
    }
    let value: Value = serde_json::from_str(body).unwrap();
    if let Err(wrong) = fits(document, &content["schema"], &value) {
        panic!("{method} {path} answers {status}, and not as the document says: {wrong}\n{value:#}");
    }
}

fn operation<'a>(document: &'a Value, method: &str, path: &str) -> Option<&'a Value> {
    let parts: Vec<&str> = path.split('/').collect();
    let same = |template: &str| {
        let template: Vec<&str> = template.trim_start_matches("/api/v1/").split('/').collect();
        template.len() == parts.len() && template.iter().zip(&parts).all(|(known, part)| known == part || known.starts_with('{'))
    };
    let (_, item) = document["paths"].as_object()?.iter().find(|(template, _)| same(template))?;
    item.get(method.to_lowercase())
}

/// The part of JSON Schema that the document uses; a key that no schema names is wrong, too.
fn fits(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let parts = parts(document, schema);
    let named: BTreeSet<&str> =
        parts.iter().filter_map(|part| part["properties"].as_object()).flatten().map(|(key, _)| key.as_str()).collect();
    let open = parts.iter().any(|part| part.get("additionalProperties").is_some());
    for part in &parts {
        if let Some(choices) = part.get("anyOf").or_else(|| part.get("oneOf")).and_then(Value::as_array) {
            let wrong: Vec<String> = choices.iter().filter_map(|choice| fits(document, choice, value).err()).collect();
            if wrong.len() == choices.len() {
                return Err(wrong.join("; or "));
            }
        }
        if !part["type"].is_null() && !is_of(&part["type"], value) {
            return Err(format!("{value} is not of type {}", part["type"]));
        }
        if part["enum"].as_array().is_some_and(|words| !words.contains(value)) {
            return Err(format!("{value} is not one of {}", part["enum"]));
        }
        for key in part["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if value.is_object() && value.get(key).is_none() {
                return Err(format!("{key} is missing"));
            }
        }
        for (key, of) in part["properties"].as_object().into_iter().flatten() {
            if let Some(value) = value.get(key) {
                fits(document, of, value).map_err(|wrong| format!("{key}: {wrong}"))?;
            }
        }
        for (n, item) in value.as_array().into_iter().flatten().enumerate().filter(|_| part.get("items").is_some()) {
            fits(document, &part["items"], item).map_err(|wrong| format!("[{n}] {wrong}"))?;
        }
    }
    let unknown = value.as_object().and_then(|object| object.keys().find(|key| !named.contains(key.as_str())));
    match unknown {
        Some(key) if !open && !named.is_empty() => Err(format!("{key} is not in the schema")),
        _ => Ok(()),
    }
}

/// A schema with all that it refers to and is made of.
fn parts<'a>(document: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    if let Some(place) = schema["$ref"].as_str() {
        let target = document.pointer(place.trim_start_matches('#')).unwrap_or_else(|| panic!("{place} is not in the document"));
        return parts(document, target);
    }
    let all = schema["allOf"].as_array().into_iter().flatten().flat_map(|part| parts(document, part));
    std::iter::once(schema).chain(all).collect()
}

fn is_of(kind: &Value, value: &Value) -> bool {
    match kind {
        Value::Array(kinds) => kinds.iter().any(|kind| is_of(kind, value)),
        kind => match kind.as_str().unwrap_or_default() {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "array" => value.is_array(),
            _ => value.is_object(),
        },
    }
}

/// Method and path of every `.route(` in the source of the router.
fn routes() -> BTreeSet<(String, String)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web/api/mod.rs");
    let source = std::fs::read_to_string(source).unwrap();
    let mut found = BTreeSet::new();
    for line in source.lines().filter_map(|line| line.trim().strip_prefix(".route(\"")) {
        let (path, methods) = line.split_once('"').unwrap();
        for method in ["get", "post", "put", "delete"] {
            if methods.contains(&format!(" {method}(")) || methods.contains(&format!(".{method}(")) {
                found.insert((method.to_owned(), format!("/api/v1{path}")));
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_in_the_document_and_nothing_else() {
    let served = Served::new().await;
    served.get("tenants").await;
    let document = DOCUMENT.get().unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    let told: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, item)| item.as_object().unwrap().keys().map(|method| (method.clone(), path.clone())))
        .collect();
    let routes = routes();
    assert!(routes.len() > 20, "only {} routes were found: has the way they are written changed?", routes.len());
    assert_eq!(told, routes);
    for (method, path) in &told {
        let at = path.trim_start_matches("/api/v1/").replace(['{', '}'], "");
        let answer = served.ask(&method.to_uppercase(), &at, None, &[], b"").await;
        assert_eq!(answer.status, 401, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_as_documented_is_found() {
    let served = Served::new().await;
    served.world.job("drain", json!({})).await;
    let run = served.post("tenants/alpha/jobs/drain/runs", &json!({})).await.body;
    let document = DOCUMENT.get().unwrap();
    let schema = json!({ "$ref": "#/components/schemas/StartedRun" });
    assert_eq!(fits(document, &schema, &run), Ok(()));
    for (key, value) in [("id", json!(5)), ("attempt", json!("1")), ("new", json!(1)), ("plugin", json!({ "name": "x" }))] {
        let mut other = run.clone();
        other[key] = value;
        assert!(fits(document, &schema, &other).is_err(), "{key}");
    }
    let mut short = run.clone();
    short.as_object_mut().unwrap().remove("state");
    assert!(fits(document, &schema, &short).is_err());
}
