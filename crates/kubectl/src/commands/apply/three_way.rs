//! The patch of a three-way merge: what the wanted object changes in the live one, and what it no longer has of what was applied
//! last. With a schema the patch is a strategic one (lists merge by key); without, a JSON merge patch.

use api_types::schema::{Field, Type};
use serde_json::{Map, Value, json};

/// The patch; empty when nothing is to be changed.
pub fn patch(original: &Value, modified: &Value, current: &Value, schema: Option<&Type>) -> Value {
    let empty = Map::new();
    let map = |v| Value::as_object(v).unwrap_or(&empty);
    Value::Object(maps(map(original), map(modified), map(current), schema))
}

/// The schema of one field, and its markers.
fn field<'a>(schema: Option<&'a Type>, key: &str) -> (Option<&'a Type>, Option<&'a Field>) {
    match schema {
        Some(Type::Struct(of)) => {
            let field = of.field(key);
            (field.map(|f| &f.ty), field)
        }
        Some(Type::Map(map)) => (Some(&map.value), None),
        _ => (None, None),
    }
}

fn maps(
    original: &Map<String, Value>,
    modified: &Map<String, Value>,
    current: &Map<String, Value>,
    schema: Option<&Type>,
) -> Map<String, Value> {
    let mut patch = Map::new();
    for (key, wanted) in modified {
        let (ty, field) = field(schema, key);
        let Some(live) = current.get(key) else {
            if !wanted.is_null() {
                patch.insert(key.clone(), wanted.clone());
            }
            continue;
        };
        if live == wanted {
            continue;
        }
        let was = original.get(key).unwrap_or(&Value::Null);
        match (wanted, live) {
            (Value::Object(wanted), Value::Object(live)) => {
                let empty = Map::new();
                let mut inner = maps(was.as_object().unwrap_or(&empty), wanted, live, ty);
                if !inner.is_empty() {
                    if field.and_then(|f| f.patch.as_ref()).is_some_and(|p| p.retain_keys) {
                        inner.insert("$retainKeys".to_owned(), json!(wanted.keys().collect::<Vec<_>>()));
                    }
                    patch.insert(key.clone(), Value::Object(inner));
                }
            }
            (Value::Array(wanted), Value::Array(live)) => lists(key, was, wanted, live, ty, field, &mut patch),
            _ => {
                patch.insert(key.clone(), wanted.clone());
            }
        }
    }
    for key in original.keys().filter(|k| !modified.contains_key(*k) && current.contains_key(*k)) {
        patch.insert(key.clone(), Value::Null);
    }
    patch
}

fn lists(
    key: &str,
    was: &Value,
    wanted: &[Value],
    live: &[Value],
    ty: Option<&Type>,
    field: Option<&Field>,
    patch: &mut Map<String, Value>,
) {
    let markers = field.and_then(|f| f.patch.as_ref()).filter(|p| p.merge);
    let was = was.as_array().map_or(&[][..], Vec::as_slice);
    match (markers, ty) {
        (Some(markers), Some(Type::List(list))) => match &markers.merge_key {
            Some(merge_key) => keyed(key, merge_key, [was, wanted, live], &list.item, markers.retain_keys, patch),
            None => primitives(key, [was, wanted, live], patch),
        },
        _ => {
            patch.insert(key.to_owned(), json!(wanted));
        }
    }
}

/// Lists of objects that merge by a key.
fn keyed(
    key: &str,
    merge_key: &str,
    [was, wanted, live]: [&[Value]; 3],
    item: &Type,
    retain_keys: bool,
    patch: &mut Map<String, Value>,
) {
    let find = |list: &'_ [Value], id: &Value| list.iter().position(|v| v[merge_key] == *id);
    let empty = Map::new();
    let mut changes = Vec::new();
    for item_wanted in wanted {
        let id = &item_wanted[merge_key];
        let Some(at) = find(live, id) else {
            changes.push(item_wanted.clone());
            continue;
        };
        let object = |v: Option<&'_ Value>| v.and_then(Value::as_object).cloned().unwrap_or_default();
        let before = object(find(was, id).map(|i| &was[i]));
        let mut change = maps(
            &before,
            item_wanted.as_object().unwrap_or(&empty),
            live[at].as_object().unwrap_or(&empty),
            Some(item),
        );
        if !change.is_empty() {
            change.insert(merge_key.to_owned(), id.clone());
            if retain_keys {
                change.insert(
                    "$retainKeys".to_owned(),
                    json!(item_wanted.as_object().unwrap_or(&empty).keys().collect::<Vec<_>>()),
                );
            }
            changes.push(Value::Object(change));
        }
    }
    for gone in was.iter().map(|v| &v[merge_key]).filter(|id| find(wanted, id).is_none() && find(live, id).is_some()) {
        changes.push(json!({"$patch": "delete", merge_key: gone}));
    }
    if changes.is_empty() && in_order(wanted, live, merge_key) {
        return;
    }
    let order: Vec<Value> = wanted.iter().map(|v| json!({merge_key: v[merge_key]})).collect();
    patch.insert(format!("$setElementOrder/{key}"), json!(order));
    if !changes.is_empty() {
        patch.insert(key.to_owned(), json!(changes));
    }
}

/// Whether the wanted items already stand in the wanted order.
fn in_order(wanted: &[Value], live: &[Value], merge_key: &str) -> bool {
    let positions: Vec<usize> =
        wanted.iter().filter_map(|w| live.iter().position(|l| l[merge_key] == w[merge_key])).collect();
    positions.is_sorted()
}

/// Lists of plain values that merge as sets.
fn primitives(key: &str, [was, wanted, live]: [&[Value]; 3], patch: &mut Map<String, Value>) {
    let added: Vec<&Value> = wanted.iter().filter(|v| !live.contains(v)).collect();
    let removed: Vec<&Value> = was.iter().filter(|v| !wanted.contains(v) && live.contains(v)).collect();
    if added.is_empty() && removed.is_empty() {
        return;
    }
    if !removed.is_empty() {
        patch.insert(format!("$deleteFromPrimitiveList/{key}"), json!(removed));
    }
    patch.insert(format!("$setElementOrder/{key}"), json!(wanted));
    if !added.is_empty() {
        patch.insert(key.to_owned(), json!(added));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(spec: Value) -> Value {
        json!({"spec": {"template": {"spec": spec}}})
    }

    #[test]
    fn strategic_patches() {
        let schema = api_types::schema::lookup("apps", "v1", "Deployment").unwrap();
        let run = |was: Value, wanted: Value, live: Value| patch(&was, &wanted, &live, Some(&schema));
        let c = |list: Value| deployment(json!({"containers": list}));
        assert_eq!(
            run(
                json!({}),
                c(json!([{"name": "a", "image": "x"}])),
                c(json!([{"name": "a", "image": "x", "default": 1}]))
            ),
            json!({})
        );
        assert_eq!(
            run(
                c(json!([{"name": "a", "image": "x"}])),
                c(json!([{"name": "a", "image": "y"}])),
                c(json!([{"name": "a", "image": "x", "tty": true}]))
            ),
            deployment(
                json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "a", "image": "y"}]})
            )
        );
        assert_eq!(
            run(
                c(json!([{"name": "a", "env": [{"name": "E", "value": "1"}]}, {"name": "b"}])),
                c(json!([{"name": "a"}])),
                c(json!([{"name": "a", "env": [{"name": "E", "value": "1"}]}, {"name": "b"}, {"name": "injected"}]))
            ),
            deployment(
                json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "a", "env": null}, {"$patch": "delete", "name": "b"}]})
            )
        );
        assert_eq!(
            run(
                json!({}),
                json!({"spec": {"strategy": {"type": "Recreate"}}}),
                json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {}}}})
            ),
            json!({"spec": {"strategy": {"type": "Recreate", "$retainKeys": ["type"]}}})
        );
        assert_eq!(
            run(
                json!({"metadata": {"labels": {"a": "1", "b": "2"}}}),
                json!({"metadata": {"labels": {"a": "3"}}}),
                json!({"metadata": {"labels": {"a": "1", "b": "2", "c": "9"}}})
            ),
            json!({"metadata": {"labels": {"a": "3", "b": null}}})
        );
        assert_eq!(
            run(
                json!({"metadata": {"finalizers": ["x"]}}),
                json!({"metadata": {"finalizers": ["y"]}}),
                json!({"metadata": {"finalizers": ["x", "z"]}})
            ),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["x"], "$setElementOrder/finalizers": ["y"], "finalizers": ["y"]}})
        );
    }

    #[test]
    fn merge_patches_replace_lists() {
        let got = patch(
            &json!({"spec": {"gone": 1, "never": 2}}),
            &json!({"spec": {"list": [1, 2]}}),
            &json!({"spec": {"list": [1], "gone": 1, "other": 3}}),
            None,
        );
        assert_eq!(got, json!({"spec": {"list": [1, 2], "gone": null}}));
    }
}
