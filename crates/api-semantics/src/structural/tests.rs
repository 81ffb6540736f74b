use api_types::json;
use serde_json::json;

use super::*;

fn widget() -> CustomSchema {
    CustomSchema::new(
        &json!({"type": "object", "required": ["spec"], "properties": {
        "spec": {"type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "minimum": 1, "maximum": 10},
            "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
            "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "port": {"x-kubernetes-int-or-string": true},
            "tags": {"type": "object", "additionalProperties": {"type": "string"}},
            "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
                "items": {"type": "object", "properties": {"id": {"type": "string"}, "n": {"type": "integer", "default": 1}}}}
        }}}}),
        false,
    )
}

fn errors(spec: Value) -> Vec<String> {
    widget().validate(&json!({"metadata": {"name": "w"}, "spec": spec}), None).iter().map(ToString::to_string).collect()
}

#[test]
fn prunes_and_defaults() {
    let text = br#"{"kind":"Widget","metadata":{"name":"w","creationTimestamp":null,"zz":1},
        "spec":{"size":1,"unknown":{},"free":{"a":{"b":1}},"parts":[{"id":"x","y":2}],"tags":{"a":"b"}}}"#;
    let schema = widget();
    let decoded = json::decode(text, schema.schema()).expect("decodes");
    assert_eq!(
        decoded.strict_errors,
        ["unknown field \"metadata.zz\"", "unknown field \"spec.unknown\"", "unknown field \"spec.parts[0].y\""]
    );
    let mut value = decoded.value;
    schema.default(&mut value);
    assert_eq!(
        value,
        json!({"kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 1, "color": "red", "free": {"a": {"b": 1}},
            "parts": [{"id": "x", "n": 1}], "tags": {"a": "b"}}})
    );
}

#[test]
fn refuses_with_upstreams_words() {
    assert_eq!(errors(json!({})), ["spec.size: Required value"]);
    assert_eq!(
        errors(json!({"size": "x"})),
        ["spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\""]
    );
    assert_eq!(
        errors(json!({"size": 11})),
        ["spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10"]
    );
    assert_eq!(
        errors(json!({"size": 1, "color": "green"})),
        ["spec.color: Unsupported value: \"green\": supported values: \"red\", \"blue\""]
    );
    assert_eq!(
        errors(json!({"size": 1, "name": "UPPER!"})),
        [
            "spec.name: Too long: may not be more than 5 bytes",
            "spec.name: Invalid value: \"UPPER!\": spec.name in body should match '^[a-z]+$'"
        ]
    );
    assert_eq!(
        errors(json!({"size": 1, "parts": [{"id": "a"}, {"id": "a"}]})),
        ["spec.parts[1]: Duplicate value: {\"id\":\"a\"}"]
    );
    assert_eq!(errors(json!({"size": 1, "port": "http"})), Vec::<String>::new());
    assert_eq!(errors(json!({"size": 1, "port": true})).len(), 1);
}

#[test]
fn without_a_schema_everything_stays() {
    let schema = CustomSchema::new(&Value::Null, false);
    let decoded = json::decode(br#"{"spec":{"a":[1,{"b":null}]}}"#, schema.schema()).expect("decodes");
    assert_eq!(decoded.value, json!({"spec": {"a": [1, {"b": null}]}}));
    assert!(schema.validate(&decoded.value, None).is_empty());
}

#[test]
fn rules_decide() {
    let schema = CustomSchema::new(
        &json!({"type": "object", "properties": {"spec": {"type": "object",
            "x-kubernetes-validations": [
                {"rule": "self.min <= self.max", "message": "min above max"},
                {"rule": "self.max == oldSelf.max", "reason": "FieldValueForbidden", "fieldPath": ".max",
                 "messageExpression": "'was ' + string(oldSelf.max)"},
                {"rule": "!oldSelf.hasValue() || oldSelf.value().min <= self.min", "optionalOldSelf": true}],
            "properties": {"min": {"type": "integer"}, "max": {"type": "integer"}}}}}),
        false,
    );
    let object = |min: i64, max: i64| json!({"spec": {"min": min, "max": max}});
    let check = |new: Value, old: Option<Value>| -> Vec<String> {
        schema.validate(&new, old.as_ref()).iter().map(ToString::to_string).collect()
    };
    assert_eq!(check(object(1, 2), None), Vec::<String>::new());
    assert_eq!(check(object(3, 2), None), ["spec: Invalid value: \"object\": min above max"]);
    assert_eq!(check(object(1, 3), Some(object(1, 2))), ["spec.max: Forbidden: was 2"]);
    assert_eq!(
        check(object(1, 2), Some(object(2, 2))),
        ["spec: Invalid value: \"object\": failed rule: !oldSelf.hasValue() || oldSelf.value().min <= self.min"]
    );
}

fn compiled(spec: Value) -> CustomSchema {
    CustomSchema::new(&json!({"type": "object", "properties": {"spec": spec}}), false)
}

fn told(schema: &CustomSchema, new: &Value, old: Option<&Value>) -> Vec<String> {
    schema.validate(new, old).iter().map(ToString::to_string).collect()
}

#[test]
fn rules_see_typed_values() {
    let schema = compiled(json!({"type": "object",
        "properties": {
            "at": {"type": "string", "format": "date-time"},
            "for": {"type": "string", "format": "duration"},
            "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "port": {"x-kubernetes-int-or-string": true},
            "a-b": {"type": "number"}},
        "x-kubernetes-validations": [
            {"rule": "self.at.getFullYear() == 2024 && self.__for__ == duration('1h')"},
            {"rule": "self.tags == ['b', 'a'] && self.a__dash__b < 1.5"},
            {"rule": "type(self.port) == int ? self.port < 5 : self.port == 'http'"}]}));
    let object =
        json!({"spec": {"at": "2024-01-02T03:04:05Z", "for": "1h", "tags": ["a", "b"], "port": "http", "a-b": 1}});
    assert_eq!(told(&schema, &object, None), Vec::<String>::new());
}

#[test]
fn what_stays_as_it_was_is_not_looked_at_again() {
    let schema = compiled(json!({"type": "object", "properties": {
        "size": {"type": "integer", "maximum": 10, "x-kubernetes-validations": [{"rule": "self < 5"}]},
        "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
            "items": {"type": "object", "properties": {"id": {"type": "string"}, "n": {"type": "integer", "maximum": 3}}}}}}));
    let object = |size: i64, n: i64, other: i64| json!({"spec": {"size": size, "parts": [{"id": "a", "n": n}, {"id": "b", "n": other}]}});
    assert_eq!(told(&schema, &object(7, 9, 1), None).len(), 1, "rules wait for the shape");
    assert_eq!(told(&schema, &object(7, 9, 2), Some(&object(7, 9, 1))), Vec::<String>::new());
    assert_eq!(
        told(&schema, &object(8, 9, 1), Some(&object(7, 9, 1))),
        ["spec.size: Invalid value: \"integer\": failed rule: self < 5"]
    );
    let changed = told(&schema, &object(7, 9, 8), Some(&object(7, 9, 1)));
    assert_eq!(
        changed,
        ["spec.parts[1].n: Invalid value: 8: spec.parts[1].n in body should be less than or equal to 3"]
    );
}

#[test]
fn rules_have_a_budget() {
    let schema =
        compiled(json!({"type": "object", "properties": {"n": {"type": "array", "items": {"type": "integer"}}},
        "x-kubernetes-validations": [{"rule": "self.n.all(a, self.n.all(b, self.n.all(c, a + b + c >= 0)))"}]}));
    let object = json!({"spec": {"n": vec![1; 100]}});
    let found = told(&schema, &object, None);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].contains("no further validation rules will be run due to call cost exceeds limit for rule"),
        "{found:?}"
    );
}
