//! `docs/openapi.json` is what the hub's routes say, and the hub does what it says.

use crate::matrix::request;
use crate::world::World;
use serde_json::Value;

const CHECKED_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

fn document() -> Value {
    serde_json::from_str(server::openapi()).unwrap()
}

/// Each path of the document with the methods it has.
pub(crate) fn paths(document: &Value) -> Vec<(&str, Vec<&str>)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths
        .map(|(path, operations)| {
            let methods = operations.as_object().unwrap().keys();
            (path.as_str(), methods.map(String::as_str).collect())
        })
        .collect()
}

#[test]
fn the_checked_in_document_is_what_the_routes_say() {
    if std::env::var_os("RENEW").is_some() {
        std::fs::write(CHECKED_IN, server::openapi()).unwrap();
    }
    let checked_in = std::fs::read_to_string(CHECKED_IN).unwrap_or_default();
    let checked_in: Value = serde_json::from_str(&checked_in).unwrap_or_default();
    assert!(
        checked_in == document(),
        "docs/openapi.json isn't what the routes say; renew it with\n    \
         RENEW=1 cargo nextest run --workspace -E 'test(checked_in_document)'"
    );
}

/// A path that is described is there, with the methods that are described and no others.
#[test]
fn what_is_described_is_there() {
    let world = World::new();
    let url = world.hub.url();
    let document = document();
    let mut asked = 0;
    for (path, methods) in paths(&document) {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            let path = format!("/api/v1{}", path.replace(['{', '}'], ""));
            let (status, answer) = request(&url, "nobody's", method, &path, &Value::Null);
            assert_ne!(status, 404, "{method} {path}\n{answer}");
            let is_described = methods.contains(&method.to_lowercase().as_str());
            assert_eq!(status != 405, is_described, "{method} {path}\n{answer}");
            let allows = |method: &&str| {
                answer.to_lowercase().contains("allow: ") && answer.contains(&method.to_uppercase())
            };
            assert!(
                is_described || methods.iter().all(allows),
                "{method} {path}\n{answer}"
            );
            asked += 1;
        }
    }
    assert!(asked > 200, "{asked}");
}

/// What it refers to is there, and every operation has a name of its own.
#[test]
fn the_document_holds_together() {
    let document = document();
    let mut references = Vec::new();
    collect(&document, "$ref", &mut references);
    for reference in &references {
        let place = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(place).is_some(), "{reference}");
    }
    assert!(references.len() > 200, "{}", references.len());
    let mut names = Vec::new();
    collect(&document["paths"], "operationId", &mut names);
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all, "{names:?}");
}

/// The hub tells it to everyone.
#[test]
fn the_hub_serves_it() {
    let world = World::new();
    let (status, answer) = request(&world.hub.url(), "", "GET", "/api/v1/openapi.json", &Value::Null);
    assert_eq!(status, 200);
    assert!(answer.ends_with(server::openapi()), "{answer}");
}

fn collect<'a>(value: &'a Value, name: &str, into: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            into.extend(fields.get(name).and_then(Value::as_str));
            fields.values().for_each(|field| collect(field, name, into));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, name, into)),
        _ => {}
    }
}
