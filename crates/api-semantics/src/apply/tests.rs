use api_types::schema::{Schema, lookup, normalize};
use serde_json::json;

use super::*;

const NOW: &str = "2026-01-02T03:04:05Z";

struct Bench {
    schema: Schema,
    api_version: &'static str,
    object: Option<Value>,
}

impl Bench {
    fn new(group: &str, version: &str, kind: &str, api_version: &'static str) -> Self {
        Bench { schema: lookup(group, version, kind).expect("kind"), api_version, object: None }
    }

    fn write<'a>(&self, manager: &'a str, resets: &'a FieldSet) -> Write<'a> {
        let now = NOW.parse().expect("time");
        Write { manager, api_version: self.api_version, subresource: "", resets, now }
    }

    fn apply(&mut self, manager: &str, force: bool, applied: Value) -> Result<&Value, ApiError> {
        let resets = FieldSet::of_fields(&[&["status"]]);
        let request = Request { schema: &self.schema, live: self.object.as_ref(), applied: &applied, force };
        let object = apply(request, &self.write(manager, &resets))?;
        Ok(self.object.insert(object))
    }

    fn update(&mut self, manager: &str, mut new: Value) -> &Value {
        normalize(&mut new, &self.schema);
        let resets = FieldSet::of_fields(&[&["status"]]);
        track_update(&self.schema, self.object.as_ref(), &mut new, &self.write(manager, &resets));
        self.object.insert(new)
    }

    fn owners(&self) -> Vec<(String, Value)> {
        let object = self.object.as_ref().expect("object");
        let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        entries.iter().map(|e| (e["manager"].as_str().unwrap_or("").to_owned(), e["fieldsV1"].clone())).collect()
    }
}

fn service(selector: &str, ports: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"selector": {"app": selector}, "ports": ports}})
}

#[test]
fn conflicts_force_and_removal() {
    let mut bench = Bench::new("", "v1", "Service", "v1");
    bench.apply("a", false, service("x", json!([{"port": 80, "name": "http"}]))).expect("creates");
    let first = json!({"f:spec": {"f:selector": {}, "f:ports":
        {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:name": {}}}}});
    assert_eq!(bench.owners(), [("a".to_owned(), first)]);

    let error = bench.apply("b", false, service("y", json!([]))).expect_err("conflict");
    assert_eq!(error.message, "Apply failed with 1 conflict: conflict with \"a\": .spec.selector");
    assert_eq!(error.details.expect("details").causes[0].field, ".spec.selector");

    bench.apply("b", true, service("y", json!([]))).expect("forced");
    assert_eq!(bench.owners()[0].1["f:spec"].get("f:selector"), None);
    assert_eq!(bench.owners()[1], ("b".to_owned(), json!({"f:spec": {"f:selector": {}}})));

    let bare = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "annotations": {"k": "v"}}});
    let object = bench.apply("a", false, bare).expect("gives up").clone();
    assert!(object["spec"].get("ports").is_none(), "{object}");
    assert_eq!(object["spec"]["selector"], json!({"app": "y"}));
}

#[test]
fn updates_take_fields() {
    let mut bench = Bench::new("", "v1", "ConfigMap", "v1");
    bench.update("kubectl-create", json!({"metadata": {"name": "c"}, "data": {"a": "1", "b": "2"}}));
    assert_eq!(bench.owners(), [("kubectl-create".to_owned(), json!({"f:data": {".": {}, "f:a": {}, "f:b": {}}}))]);
    let mut next = bench.object.clone().expect("object");
    next["data"] = json!({"a": "x", "c": "3"});
    bench.update("editor", next);
    assert_eq!(
        bench.owners(),
        [
            ("editor".to_owned(), json!({"f:data": {"f:a": {}, "f:c": {}}})),
            ("kubectl-create".to_owned(), json!({"f:data": {}})),
        ]
    );
}

#[test]
fn containers_are_owned_by_name() {
    let mut bench = Bench::new("", "v1", "Pod", "v1");
    let pod = json!({"metadata": {"name": "p", "labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    bench.update("m", pod);
    assert_eq!(
        bench.owners()[0].1,
        json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {"f:containers":
            {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {}, "f:resources": {}}}}})
    );
}

#[test]
fn unknown_fields_and_versions_are_refused() {
    let mut bench = Bench::new("", "v1", "ConfigMap", "v1");
    let bad = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "spec": 1});
    let error = bench.apply("a", false, bad).expect_err("unknown");
    assert_eq!(
        error.message,
        "failed to create typed patch object (/c; /v1, Kind=ConfigMap): .spec: field not declared in schema"
    );
    let bad = json!({"apiVersion": "v2", "kind": "ConfigMap", "metadata": {"name": "c"}});
    assert_eq!(bench.apply("a", false, bad).expect_err("version").code, 400);
}

#[test]
fn client_side_apply_is_taken_over() {
    let mut bench = Bench::new("", "v1", "ConfigMap", "v1");
    let last = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}});
    bench.update(
        "kubectl-client-side-apply",
        json!({"metadata": {"name": "c", "annotations": {LAST_APPLIED: last.to_string()}}, "data": {"a": "1"}}),
    );
    let mut next = last.clone();
    next["data"]["a"] = json!("2");
    assert_eq!(bench.apply("other", false, next.clone()).expect_err("conflict").code, 409);
    let object = bench.apply("kubectl", false, next).expect("takes over");
    assert_eq!(object["data"]["a"], "2");
    let kept = object["metadata"]["annotations"][LAST_APPLIED].as_str().expect("annotation");
    assert!(kept.contains("\"a\":\"2\""));
}

#[test]
fn applying_the_same_again_changes_nothing() {
    let mut bench = Bench::new("", "v1", "Service", "v1");
    let configuration = service("x", json!([{"port": 80}, {"port": 81}]));
    let first = bench.apply("a", false, configuration.clone()).expect("creates").clone();
    assert_eq!(*bench.apply("a", false, configuration).expect("again"), first);
}

fn account(secrets: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "s"}, "secrets": secrets})
}

#[test]
fn repeated_items_are_owned_as_one() {
    let mut bench = Bench::new("", "v1", "Pod", "v1");
    let env = |env: Value| json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "env": env}]}});
    let owned = |bench: &Bench| {
        let fields = bench.owners()[0].1["f:spec"]["f:containers"]["k:{\"name\":\"c\"}"]["f:env"].clone();
        (fields[".".to_owned()].clone(), fields["k:{\"name\":\"A\"}"].clone())
    };
    bench.update("m", env(json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}])));
    assert_eq!(owned(&bench), (json!({}), json!({})));
    bench.update("m", env(json!([{"name": "A", "value": "1"}])));
    assert_eq!(owned(&bench).1, json!({".": {}, "f:name": {}, "f:value": {}}));
}

#[test]
fn applied_items_are_not_repeated_and_live_ones_stay() {
    let mut bench = Bench::new("", "v1", "ServiceAccount", "v1");
    let twice = account(json!([{"name": "a"}, {"name": "a"}]));
    let error = bench.apply("m", false, twice.clone()).expect_err("repeated");
    assert!(error.message.ends_with(".secrets: duplicate entries for key [name=\"a\"]"), "{}", error.message);
    bench.update("u", twice);
    let merged = bench.apply("m", false, account(json!([{"name": "b"}]))).expect("merges").clone();
    assert_eq!(merged["secrets"], json!([{"name": "a"}, {"name": "a"}, {"name": "b"}]));
    let merged = bench.apply("m", true, account(json!([{"name": "a"}, {"name": "b"}]))).expect("merges").clone();
    assert_eq!(merged["secrets"], json!([{"name": "a"}, {"name": "b"}]));
}

#[test]
fn items_without_keys_end_the_record() {
    let mut bench = Bench::new("", "v1", "ServiceAccount", "v1");
    bench.update("m", account(json!([{"name": "a"}])));
    assert_eq!(bench.owners().len(), 1);
    bench.update("m", account(json!([{"fieldPath": "x"}])));
    assert!(bench.owners().is_empty());
}
