//! Custom resources: their definitions, what is published of them, and what is checked by them.

use serde_json::{Value, json};

use crate::session::{BOTH, Form, Session, on_cluster};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// A namespaced definition whose objects are free in all but their metadata.
pub(crate) fn definition(group: &str, kind: &str, versions: &[&str]) -> Value {
    let singular = kind.to_lowercase();
    let version = |(n, name): (usize, &&str)| {
        let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
        json!({"name": name, "served": true, "storage": n == 0, "schema": schema})
    };
    let versions: Vec<Value> = versions.iter().enumerate().map(version).collect();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{singular}s.{group}"), "labels": {"suite": "definitions"}},
        "spec": {
            "group": group, "scope": "Namespaced", "versions": versions,
            "names": {"plural": format!("{singular}s"), "singular": singular, "kind": kind, "listKind": format!("{kind}List")},
        },
    })
}

fn with_schema(mut definition: Value, schema: &Value) -> Value {
    for version in definition["spec"]["versions"].as_array_mut().unwrap() {
        version["schema"]["openAPIV3Schema"] = schema.clone();
    }
    definition
}

/// Creates the definition and waits until its objects can be used.
pub(crate) async fn define(session: &Session, definition: Value) -> Value {
    let name = definition["metadata"]["name"].as_str().unwrap().to_owned();
    session.create(DEFINITIONS, definition).await;
    session.wait_for(&format!("{DEFINITIONS}/{name}"), |d| has(d, "Established") && has(d, "NamesAccepted")).await
}

fn has(object: &Value, condition: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|c| c["type"] == condition && c["status"] == "True")
}

/// The published schema of a kind, in both versions of OpenAPI.
async fn published(session: &Session, group: &str, version: &str, component: &str) -> (Value, Value) {
    let v2 = session.get("/openapi/v2").await.is(200);
    let v3 = session.get(&format!("/openapi/v3/apis/{group}/{version}")).await;
    (v2["definitions"][component].clone(), v3.body["components"]["schemas"][component].clone())
}

#[test]
fn definitions_are_objects() {
    on_cluster(&BOTH, |session| async move {
        let mut watch = session.watch(&format!("{DEFINITIONS}?watch=true")).await;
        for kind in ["One", "Two", "Three"] {
            define(&session, definition("objects.example.com", kind, &["v1"])).await;
            watch.until("ADDED", &format!("{}s.objects.example.com", kind.to_lowercase())).await;
        }
        let one = format!("{DEFINITIONS}/ones.objects.example.com");
        let status = session.get(&format!("{one}/status")).await.is(200);
        assert_eq!(status["status"]["acceptedNames"]["plural"], "ones");
        let condition = json!({"type": "Suite", "status": "True", "reason": "R", "message": "M"});
        let mut changed = status.clone();
        changed["status"]["conditions"].as_array_mut().unwrap().push(condition);
        assert!(has(&session.put(&format!("{one}/status"), changed).await.is(200), "Suite"));
        let patch = json!([{"op": "add", "path": "/status/conditions/-",
            "value": {"type": "Patched", "status": "True", "reason": "R", "message": "M"}}]);
        assert!(has(&session.json_patch(&format!("{one}/status"), patch).await.is(200), "Patched"));
        let of_suite = format!("{DEFINITIONS}?labelSelector=suite%3Ddefinitions");
        assert_eq!(session.list(&of_suite).await.len(), 3);
        session.delete(&of_suite).await.is(200);
        session.wait_for(&of_suite, |list| list["items"].as_array().is_none_or(Vec::is_empty)).await;
        assert_eq!(session.get("/apis/objects.example.com/v1").await.code, 404);
    });
}

#[test]
fn custom_resources_are_watched() {
    on_cluster(&[Form::Json], |session| async move {
        define(&session, definition("watch.example.com", "Noxu", &["v1"])).await;
        let path = "/apis/watch.example.com/v1/namespaces/test/noxus";
        for name in ["a", "b"] {
            let mut watch = session.watch(&format!("{path}?watch=true&fieldSelector=metadata.name%3D{name}")).await;
            session.create(path, json!({"metadata": {"name": name}, "content": {"key": "value"}})).await;
            assert_eq!(watch.expect("ADDED", name).await["content"]["key"], "value");
            let change = json!([{"op": "add", "path": "/num", "value": 1}]);
            session.json_patch(&format!("{path}/{name}"), change).await.is(200);
            assert_eq!(watch.expect("MODIFIED", name).await["num"], 1);
            session.delete(&format!("{path}/{name}")).await.is(200);
            watch.expect("DELETED", name).await;
        }
    });
}

#[test]
fn defaults_are_set_in_requests_and_in_what_was_stored() {
    on_cluster(&[Form::Json], |session| async move {
        let schema = |defaults: Value| {
            let mut properties = json!({"a": {"type": "string"}, "b": {"type": "string"}});
            for (name, value) in defaults.as_object().unwrap() {
                properties[name]["default"] = value.clone();
            }
            json!({"type": "object", "properties": properties})
        };
        let defined = with_schema(definition("defaults.example.com", "Foo", &["v1"]), &schema(json!({"a": "A"})));
        define(&session, defined).await;
        let path = "/apis/defaults.example.com/v1/namespaces/test/foos";
        let created = session.create(path, json!({"metadata": {"name": "foo"}})).await;
        assert_eq!((&created["a"], created.get("b")), (&json!("A"), None));
        let change = json!([
            {"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": schema(json!({"a": "AA", "b": "B"}))},
        ]);
        session.json_patch(&format!("{DEFINITIONS}/foos.defaults.example.com"), change).await.is(200);
        let stored = session.wait_for(&format!("{path}/foo"), |foo| foo["b"] == "B").await;
        assert_eq!(stored["a"], "A", "what was stored stays");
    });
}

#[test]
fn schemas_are_published() {
    on_cluster(&[Form::Json], |session| async move {
        let schema = json!({"type": "object", "properties": {
            "spec": {"type": "object", "description": "Specification of Foo", "properties": {
                "bars": {"type": "array", "items": {"type": "object", "required": ["name"], "properties": {
                    "name": {"type": "string"}, "age": {"type": "integer", "format": "int32"},
                    "feeling": {"type": "string", "enum": ["Great", "Down"]}, "labels": {"type": "object",
                        "additionalProperties": {"type": "string"}},
                }}}}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        }});
        let component = "com.example.published.v1.Foo";
        define(&session, with_schema(definition("published.example.com", "Foo", &["v1"]), &schema)).await;
        define(&session, definition("published.example.com", "Free", &["v1"])).await;
        define(&session, definition("other.example.com", "Foo", &["v1"])).await;
        let (v2, v3) = published(&session, "published.example.com", "v1", component).await;
        for found in [&v2, &v3] {
            let kind = json!([{"group": "published.example.com", "kind": "Foo", "version": "v1"}]);
            assert_eq!(found["x-kubernetes-group-version-kind"], kind);
            let spec = &found["properties"]["spec"];
            assert_eq!(spec["description"], "Specification of Foo", "{found}");
            let item = &spec["properties"]["bars"]["items"];
            assert_eq!(item["required"], json!(["name"]));
            assert_eq!(item["properties"]["age"], json!({"type": "integer", "format": "int32"}));
            assert_eq!(item["properties"]["feeling"]["enum"], json!(["Great", "Down"]));
            assert_eq!(item["properties"]["labels"]["additionalProperties"]["type"], "string");
            assert_eq!(found["properties"]["free"]["x-kubernetes-preserve-unknown-fields"], true);
        }
        let (v2, v3) = published(&session, "published.example.com", "v1", "com.example.published.v1.Free").await;
        for found in [&v2, &v3] {
            assert_eq!(found["x-kubernetes-preserve-unknown-fields"], true, "{found}");
        }
        let (other, _) = published(&session, "other.example.com", "v1", "com.example.other.v1.Foo").await;
        assert!(other.is_object());
        session.delete(&format!("{DEFINITIONS}/foos.published.example.com")).await.is(200);
        session.wait_gone(&format!("{DEFINITIONS}/foos.published.example.com")).await;
        assert!(published(&session, "published.example.com", "v1", component).await.0.is_null());
    });
}

#[test]
fn published_versions_follow_the_definition() {
    on_cluster(&[Form::Json], |session| async move {
        define(&session, definition("versions.example.com", "Foo", &["v2", "v3"])).await;
        let at = format!("{DEFINITIONS}/foos.versions.example.com");
        let of = |version: &str| format!("com.example.versions.{version}.Foo");
        for version in ["v2", "v3"] {
            assert!(
                published(&session, "versions.example.com", version, &of(version)).await.0.is_object(),
                "{version}"
            );
        }
        let rename = json!([{"op": "replace", "path": "/spec/versions/1/name", "value": "v4"}]);
        session.json_patch(&at, rename).await.is(200);
        session
            .wait_for("/openapi/v2", |d| d["definitions"][of("v4")].is_object() && d["definitions"][of("v3")].is_null())
            .await;
        let stop = json!([{"op": "replace", "path": "/spec/versions/1/served", "value": false}]);
        session.json_patch(&at, stop).await.is(200);
        session.wait_for("/openapi/v2", |d| d["definitions"][of("v4")].is_null()).await;
        assert!(published(&session, "versions.example.com", "v2", &of("v2")).await.0.is_object());
        assert_eq!(session.get("/apis/versions.example.com/v4").await.code, 404);
    });
}

#[test]
fn unknown_and_duplicate_fields_of_typed_objects() {
    on_cluster(&[Form::Json], |session| async move {
        let post = async |body: &str| {
            let path = "/apis/apps/v1/namespaces/test/deployments?fieldValidation=Strict";
            let types = ("application/json", "application/json");
            crate::session::answer(session.send("POST", path, types, body.as_bytes().to_vec()).await).await
        };
        let rest = r#""selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}"#;
        let body = format!(
            r#"{{"metadata": {{"name": "d"}}, "spec": {{"unknownField": 1, "replicas": 2, "replicas": 3, {rest}}}}}"#
        );
        post(&body)
            .await
            .says(400, r#"strict decoding error: unknown field "spec.unknownField", duplicate field "spec.replicas""#);
        let body = format!(r#"{{"metadata": {{"name": "d", "unknownMeta": "x"}}, "spec": {{{rest}}}}}"#);
        post(&body).await.says(400, r#"strict decoding error: unknown field "metadata.unknownMeta""#);
    });
}

/// A schema as the suite has it: some fields known, a list that is a map, and maybe an embedded object.
fn cron_schema(free: bool, embedded: bool) -> Value {
    let mut properties = json!({
        "foo": {"type": "string"},
        "cronSpec": {"type": "string", "pattern": r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$"},
        "ports": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
            "items": {"type": "object", "required": ["containerPort", "protocol"], "properties": {
                "containerPort": {"type": "integer", "format": "int32"}, "protocol": {"type": "string"}, "name": {"type": "string"}}},
        },
    });
    if embedded {
        properties["template"] = json!({
            "type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"},
                "metadata": {"type": "object", "properties": {"name": {"type": "string"}}}},
        });
    }
    let mut spec = json!({"type": "object", "properties": properties});
    if free {
        spec["x-kubernetes-preserve-unknown-fields"] = true.into();
    }
    json!({"type": "object", "properties": {"spec": spec}})
}

#[test]
fn fields_of_custom_resources_are_checked_strictly() {
    const SPEC: &str =
        "  foo: foo1\n  cronSpec: \"* * * * */5\"\n  ports:\n  - {name: x, containerPort: 80, protocol: TCP}\n";
    on_cluster(&[Form::Json], |session| async move {
        for (kind, schema) in [
            ("Strict", Some(cron_schema(false, false))),
            ("Free", None),
            ("Embedding", Some(cron_schema(true, true))),
            ("Loose", Some(cron_schema(true, false))),
        ] {
            let plain = definition("fields.example.com", kind, &["v1"]);
            define(&session, schema.map_or(plain.clone(), |schema| with_schema(plain, &schema))).await;
        }
        let apply = async |kind: &str, metadata: &str, rest: &str| {
            let plural = kind.to_lowercase();
            let path = format!(
                "/apis/fields.example.com/v1/namespaces/test/{plural}s/it?fieldManager=m&fieldValidation=Strict"
            );
            let head = format!("apiVersion: fields.example.com/v1\nkind: {kind}\nmetadata:\n  name: it\n{metadata}");
            session.apply(&path, &format!("{head}{rest}")).await
        };
        let spec = |more: &str| format!("spec:\n{more}{SPEC}");
        apply("Strict", "", &format!("unknownField: x\n{}", spec("")))
            .await
            .says(500, ".unknownField: field not declared in schema");
        apply("Strict", "", &spec("")).await.is(201);
        apply("Free", "", &spec("  unknown: uk1\n")).await.is(201);
        let template = "  template:\n    apiVersion: foo/v1\n    kind: Sub\n    metadata:\n      unknownSubMeta: x\n      name: sub\n";
        apply("Embedding", "", &spec(template))
            .await
            .says(500, ".spec.template.metadata.unknownSubMeta: field not declared in schema");
        apply("Embedding", "  unknownMeta: x\n", &spec(""))
            .await
            .says(500, ".metadata.unknownMeta: field not declared in schema");
        let twice = spec("  unknown: uk1\n  unknown: uk2\n");
        apply("Loose", "", &twice).await.says(400, r#"line 7: key "unknown" already set in map"#);
    });
}
