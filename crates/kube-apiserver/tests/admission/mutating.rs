//! MutatingAdmissionPolicy.

use serde_json::{Value, json};

use crate::server::{CONFIG_MAPS, POLICIES, Server, config_map, config_maps};

async fn policy(server: &Server, name: &str, spec: Value, binding: Value) {
    let mut spec = spec;
    spec["matchConstraints"] = config_maps();
    if spec.get("reinvocationPolicy").is_none() {
        spec["reinvocationPolicy"] = "Never".into();
    }
    let policy = json!({"metadata": {"name": name}, "spec": spec});
    server.create(&format!("{POLICIES}/mutatingadmissionpolicies"), policy).await;
    let mut bound = json!({"policyName": name});
    for (field, value) in binding.as_object().into_iter().flatten() {
        bound[field] = value.clone();
    }
    let binding = json!({"metadata": {"name": format!("{name}-binding")}, "spec": bound});
    server.create(&format!("{POLICIES}/mutatingadmissionpolicybindings"), binding).await;
}

fn apply(expression: &str) -> Value {
    json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}})
}

fn patch(expression: &str) -> Value {
    json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}})
}

/// Waits until a config map is made with this data.
async fn comes_into_force(server: &Server, key: &str, value: &str) {
    let object = config_map("probe", json!({"a": "1"}));
    server.until(CONFIG_MAPS, &object, |a| a.as_ref().is_ok_and(|o| o["data"][key] == value)).await;
}

#[tokio::test]
async fn configurations_are_laid_over_and_patches_are_applied() {
    let server = Server::start().await;
    let spec = json!({
        "variables": [{"name": "who", "expression": "request.userInfo.username"}],
        "matchConditions": [{"name": "has-data", "expression": "has(object.data)"}],
        "mutations": [
            apply("Object{metadata: Object.metadata{labels: {'by': variables.who}}, data: {'first': object.data.a}}"),
            patch("[JSONPatch{op: 'test', path: '/data/first', value: '1'}, \
                JSONPatch{op: 'add', path: '/metadata/annotations', value: {'x/y': 'z'}}, \
                JSONPatch{op: 'replace', path: '/metadata/annotations/' + jsonpatch.escapeKey('x/y'), value: 'zz'}]"),
        ],
    });
    policy(&server, "fill", spec, json!({})).await;
    comes_into_force(&server, "first", "1").await;
    let made = server.create(CONFIG_MAPS, config_map("x", json!({"a": "1"}))).await;
    assert_eq!(made["data"], json!({"a": "1", "first": "1"}));
    assert_eq!(made["metadata"]["labels"], json!({"by": "admin"}));
    assert_eq!(made["metadata"]["annotations"], json!({"x/y": "zz"}));
    let other = server.create(CONFIG_MAPS, config_map("y", json!({"a": "2"}))).await;
    assert_eq!(other["metadata"].get("annotations"), None, "a test that does not hold changes nothing");
    server.stop().await;
}

#[tokio::test]
async fn policies_run_again_after_later_changes() {
    let server = Server::start().await;
    let mirror = |from: &str, to: &str| {
        patch(&format!(
            "has(object.data.{from}) ? [JSONPatch{{op: 'add', path: '/data/{to}', value: object.data.{from}}}] : []"
        ))
    };
    policy(&server, "a-later", json!({"mutations": [mirror("b", "c")], "reinvocationPolicy": "IfNeeded"}), json!({}))
        .await;
    policy(&server, "b-never", json!({"mutations": [mirror("d", "e")]}), json!({})).await;
    policy(&server, "c-first", json!({"mutations": [mirror("a", "b"), mirror("a", "d")]}), json!({})).await;
    comes_into_force(&server, "c", "1").await;
    let made = server.create(CONFIG_MAPS, config_map("x", json!({"a": "1"}))).await;
    assert_eq!(made["data"], json!({"a": "1", "b": "1", "c": "1", "d": "1"}), "b-never ran before d was there");
    server.stop().await;
}

#[tokio::test]
async fn parameters_and_failures() {
    let server = Server::start().await;
    server.create(CONFIG_MAPS, config_map("settings", json!({"value": "7"}))).await;
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "mutations": [apply("Object{data: {'p': params.data.value}}")],
    });
    let by_name = json!({"paramRef": {"name": "settings", "parameterNotFoundAction": "Deny"}});
    policy(&server, "param", spec, by_name).await;
    comes_into_force(&server, "p", "7").await;
    policy(&server, "zfails", json!({"mutations": [apply("Object{data: {'q': object.data.nope}}")]}), json!({})).await;
    let wanted = "MutatingAdmissionPolicy 'zfails' with binding 'zfails-binding' denied request: \
        expression 'Object{data: {'q': object.data.nope}}' resulted in error: no such key: nope";
    let object = config_map("x", json!({"a": "1"}));
    let refused =
        |a: &Result<Value, Value>| a.as_ref().is_err_and(|e| e["message"].as_str().is_some_and(|m| m.contains(wanted)));
    server.until(CONFIG_MAPS, &object, refused).await;
    server.stop().await;
}

#[tokio::test]
async fn mutations_are_checked_when_a_policy_is_written() {
    let server = Server::start().await;
    let policy = json!({"metadata": {"name": "wrong"}, "spec": {"matchConstraints": config_maps(),
        "reinvocationPolicy": "Never", "mutations": [apply("{'a': 1}"), patch("Object{}"), patch("[JSONPatch{nope: 1}]")]}});
    let refusal = server.refused(&format!("{POLICIES}/mutatingadmissionpolicies"), policy).await;
    let causes: Vec<&str> =
        refusal["details"]["causes"].as_array().into_iter().flatten().filter_map(|c| c["message"].as_str()).collect();
    assert_eq!(causes.len(), 3, "{causes:?}");
    assert!(causes[0].ends_with("must evaluate to Object but got map(string, int)"), "{}", causes[0]);
    assert!(causes[1].ends_with("must evaluate to list(JSONPatch) but got Object"), "{}", causes[1]);
    assert!(causes[2].contains("undefined field 'nope'"), "{}", causes[2]);
    server.stop().await;
}
