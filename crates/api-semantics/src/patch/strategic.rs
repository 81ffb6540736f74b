//! Strategic merge patches: merge patches whose lists merge by key, steered by the schema's markers and by directives in
//! the patch (`$patch`, `$retainKeys`, `$setElementOrder/…`, `$deleteFromPrimitiveList/…`).

use api_types::ApiError;
use api_types::schema::{Patch, Type};
use serde_json::{Map, Value};

use super::order::{arrange, same};
use super::{Patched, bad_request, read};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

type Object = Map<String, Value>;
type Merged<T> = Result<T, ApiError>;

/// Applies a strategic merge patch to an object of a built-in type.
pub fn strategic_merge(original: &Value, patch: &[u8], schema: &Type) -> Result<Patched, ApiError> {
    let patch = read(patch)?;
    let (Value::Object(original), Value::Object(changes)) = (original.clone(), patch.value) else {
        return Err(ApiError::bad_request("invalid JSON document"));
    };
    let value = Value::Object(merge_object(original, changes, schema)?);
    Ok(Patched { value, strict_errors: patch.strict_errors })
}

/// What the schema says about a field: its type and markers. Free JSON has none.
fn field<'a>(schema: &'a Type, name: &str) -> (&'a Type, Option<&'a Patch>) {
    match schema {
        Type::Struct(of) => match of.field(name) {
            Some(field) => (&field.ty, field.patch.as_ref()),
            None => (&Type::Any, None),
        },
        Type::Map(map) => (&map.value, None),
        _ => (&Type::Any, None),
    }
}

fn merge_object(mut original: Object, mut patch: Object, schema: &Type) -> Merged<Object> {
    if let Some(directive) = patch.remove(PATCH) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Object::new()),
            _ => Err(bad_request(format!("unknown patch type: {} in map: {}", directive, Value::Object(patch)))),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    set_element_orders(&mut original, &mut patch, schema)?;
    for (key, change) in patch {
        match key.strip_prefix(DELETE_FROM) {
            Some(name) => delete_from_scalars(&mut original, name, &change),
            None => merge_field(&mut original, key, change, schema)?,
        }
    }
    Ok(original)
}

fn merge_field(original: &mut Object, key: String, change: Value, schema: &Type) -> Merged<()> {
    if change.is_null() {
        original.remove(&key);
        return Ok(());
    }
    let (ty, markers) = field(schema, &key);
    let merged = match (original.remove(&key), change) {
        (Some(Value::Object(_)), Value::Object(change)) if markers.is_some_and(|m| m.replace) => {
            without_directives(Value::Object(change))
        }
        (Some(Value::Object(before)), Value::Object(change)) => Value::Object(merge_object(before, change, ty)?),
        (Some(Value::Array(before)), Value::Array(change)) => match markers.filter(|m| m.merge) {
            Some(markers) => Value::Array(merge_list(before, change, ty, markers)?),
            None => Value::Array(change),
        },
        (_, change) => without_directives(change),
    };
    original.insert(key, merged);
    Ok(())
}

/// `$retainKeys`: fields of the original that are not listed go.
fn retain_keys(original: &mut Object, patch: &mut Object) -> Merged<()> {
    let Some(list) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Some(list) = list.as_array() else {
        return Err(bad_request("invalid patch format of retainKeys"));
    };
    let listed = |key: &str| list.iter().any(|k| k.as_str() == Some(key));
    if patch.iter().any(|(key, value)| !key.starts_with('$') && !value.is_null() && !listed(key)) {
        return Err(bad_request("invalid patch format of retainKeys"));
    }
    original.retain(|key, _| listed(key));
    Ok(())
}

/// `$setElementOrder/x`: merges `x` here and brings it into the given order.
fn set_element_orders(original: &mut Object, patch: &mut Object, schema: &Type) -> Merged<()> {
    let keys: Vec<String> = patch.keys().filter(|k| k.starts_with(SET_ORDER)).cloned().collect();
    for directive in keys {
        let Some(order) = patch.remove(&directive) else { continue };
        let name = &directive[SET_ORDER.len()..];
        let Some(order) = order.as_array() else {
            return Err(bad_request(format!("invalid patch format of setElementOrder list: {order}")));
        };
        let (ty, markers) = field(schema, name);
        let merge_key = markers.and_then(|m| m.merge_key.as_deref());
        let change = match patch.remove(name) {
            Some(Value::Array(items)) => Some(items),
            Some(other) => {
                patch.insert(name.to_owned(), other);
                continue;
            }
            None => None,
        };
        check_order(change.as_deref().unwrap_or_default(), order, merge_key)?;
        if let Some(doomed) = patch.remove(&format!("{DELETE_FROM}{name}")) {
            delete_from_scalars(original, name, &doomed);
        }
        let before = match original.get(name) {
            Some(Value::Array(items)) => Some(items.clone()),
            _ => None,
        };
        let merged = match (before.clone(), change) {
            (None, None) => continue,
            (Some(before), None) => before,
            (None, Some(change)) => match without_directives(Value::Array(change)) {
                Value::Array(items) => items,
                _ => Vec::new(),
            },
            (Some(before), Some(change)) => match markers.filter(|m| m.merge) {
                Some(markers) => merge_list(before, change, ty, markers)?,
                None => change,
            },
        };
        let arranged = arrange(merged, order, before.as_deref().unwrap_or_default(), merge_key);
        original.insert(name.to_owned(), Value::Array(arranged));
    }
    Ok(())
}

/// The patch's items must come in the order that the patch itself asks for.
fn check_order(change: &[Value], order: &[Value], merge_key: Option<&str>) -> Merged<()> {
    let mut wanted = order.iter();
    for item in change.iter().filter(|item| item.get(PATCH).is_none()) {
        if !wanted.any(|o| same(o, item, merge_key)) {
            return Err(bad_request(format!(
                "The order in patch list:\n{}\n doesn't match {SET_ORDER} list:\n{}\n",
                Value::from(change.to_vec()),
                Value::from(order.to_vec())
            )));
        }
    }
    Ok(())
}

fn delete_from_scalars(original: &mut Object, name: &str, doomed: &Value) {
    if let (Some(Value::Array(items)), Some(doomed)) = (original.get_mut(name), doomed.as_array()) {
        items.retain(|item| !doomed.contains(item));
    }
}

fn merge_list(before: Vec<Value>, change: Vec<Value>, ty: &Type, markers: &Patch) -> Merged<Vec<Value>> {
    if !before.iter().chain(&change).any(Value::is_object) {
        let mut merged: Vec<Value> = Vec::with_capacity(before.len() + change.len());
        for item in before.iter().chain(&change) {
            if !merged.contains(item) {
                merged.push(item.clone());
            }
        }
        return Ok(arrange(merged, &change, &before, None));
    }
    let Some(key) = markers.merge_key.as_deref() else {
        return Err(bad_request("cannot merge lists without merge key for list"));
    };
    let (mut before, change, replace) = apply_item_directives(before, change, key)?;
    if replace {
        return Ok(change);
    }
    let server_order = before.clone();
    let item_type = match ty {
        Type::List(list) => &list.item,
        _ => &Type::Any,
    };
    for item in &change {
        let Value::Object(fields) = item else { return Err(no_merge_key(item, key)) };
        if !fields.contains_key(key) {
            return Err(no_merge_key(item, key));
        }
        match before.iter_mut().find(|other| same(other, item, Some(key))) {
            Some(found) => {
                let old = found.as_object().cloned().unwrap_or_default();
                *found = Value::Object(merge_object(old, fields.clone(), item_type)?);
            }
            None => before.push(without_directives(item.clone())),
        }
    }
    Ok(arrange(before, &change, &server_order, Some(key)))
}

/// `{"$patch": "delete", key: …}` items delete, one `{"$patch": "replace"}` replaces the whole list.
fn apply_item_directives(
    mut before: Vec<Value>,
    change: Vec<Value>,
    key: &str,
) -> Merged<(Vec<Value>, Vec<Value>, bool)> {
    let mut rest = Vec::with_capacity(change.len());
    let mut replace = false;
    for item in change {
        match item.get(PATCH).map(Value::as_str) {
            None => rest.push(item),
            Some(Some("delete")) => {
                if item.get(key).is_none() {
                    return Err(no_merge_key(&item, key));
                }
                before.retain(|other| !same(other, &item, Some(key)));
            }
            Some(Some("replace")) => replace = true,
            Some(Some("merge")) => return Err(bad_request("merging lists cannot yet be specified in the patch")),
            Some(_) => return Err(bad_request(format!("unknown patch type: {} in map: {item}", item[PATCH]))),
        }
    }
    Ok((before, rest, replace))
}

fn no_merge_key(item: &Value, key: &str) -> ApiError {
    bad_request(format!("map: {item} does not contain declared merge key: {key}"))
}

/// The value that a patch stands for where there is nothing to merge with.
fn without_directives(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .filter(|(key, value)| {
                    key != PATCH
                        && key != RETAIN_KEYS
                        && !key.starts_with(SET_ORDER)
                        && !key.starts_with(DELETE_FROM)
                        && !value.is_null()
                })
                .map(|(key, value)| (key, without_directives(value)))
                .collect(),
        ),
        Value::Array(items) => {
            let doomed = |item: &Value| matches!(item.get(PATCH).and_then(Value::as_str), Some("delete" | "replace"));
            Value::Array(items.into_iter().filter(|i| !doomed(i)).map(without_directives).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use api_types::schema::lookup;
    use serde_json::json;

    use super::*;

    fn pod(original: Value, patch: Value) -> Result<Value, String> {
        let schema = lookup("", "v1", "Pod").expect("Pod");
        let text = serde_json::to_vec(&patch).expect("JSON");
        strategic_merge(&original, &text, &schema).map(|p| p.value).map_err(|e| e.message)
    }

    fn containers(items: Value) -> Value {
        json!({"spec": {"containers": items}})
    }

    #[test]
    fn lists_merge_by_key() {
        let before = containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]));
        let patch = containers(json!([{"name": "b", "image": "2"}, {"name": "c", "image": "3"}]));
        let after = containers(json!([
            {"name": "a", "image": "1"}, {"name": "b", "image": "2"}, {"name": "c", "image": "3"}]));
        assert_eq!(pod(before, patch), Ok(after));
    }

    #[test]
    fn item_directives() {
        let before = || containers(json!([{"name": "a"}, {"name": "b"}]));
        let patch = containers(json!([{"$patch": "delete", "name": "a"}]));
        assert_eq!(pod(before(), patch), Ok(containers(json!([{"name": "b"}]))));
        let patch = containers(json!([{"$patch": "replace"}, {"name": "x"}]));
        assert_eq!(pod(before(), patch), Ok(containers(json!([{"name": "x"}]))));
        let error = pod(before(), containers(json!([{"image": "x"}]))).expect_err("no key");
        assert_eq!(error, "map: {\"image\":\"x\"} does not contain declared merge key: name");
    }

    #[test]
    fn element_order() {
        let before = containers(json!([{"name": "a"}, {"name": "b"}, {"name": "server"}]));
        let mut patch = containers(json!([{"name": "c"}]));
        patch["spec"]["$setElementOrder/containers"] = json!([{"name": "b"}, {"name": "c"}, {"name": "a"}]);
        let after = pod(before, patch).expect("applies");
        let names: Vec<&str> =
            after["spec"]["containers"].as_array().expect("list").iter().filter_map(|c| c["name"].as_str()).collect();
        assert_eq!(names, ["b", "c", "a", "server"]);
    }

    #[test]
    fn maps_scalars_and_nulls() {
        let before = json!({"metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["x", "y"]}});
        let patch =
            json!({"metadata": {"labels": {"a": null, "c": "3"}, "$deleteFromPrimitiveList/finalizers": ["x"]}});
        assert_eq!(
            pod(before.clone(), patch),
            Ok(json!({"metadata": {"labels": {"b": "2", "c": "3"}, "finalizers": ["y"]}}))
        );
        let patch = json!({"metadata": {"labels": {"$patch": "replace", "s": "m"}}});
        assert_eq!(pod(before, patch).expect("applies")["metadata"]["labels"], json!({"s": "m"}));
    }

    #[test]
    fn retain_keys_drops_the_rest() {
        let schema = lookup("apps", "v1", "Deployment").expect("Deployment");
        let before = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
        let patch = br#"{"spec":{"strategy":{"$retainKeys":["type"],"type":"Recreate"}}}"#;
        let after = strategic_merge(&before, patch, &schema).expect("applies").value;
        assert_eq!(after, json!({"spec": {"strategy": {"type": "Recreate"}}}));
    }
}
