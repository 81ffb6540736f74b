//! CustomResourceDefinitions: the store holds `v1beta1`, which says once at the top what all versions share.

use serde_json::{Map, Value};

/// What `v1beta1` has at the top when all versions agree: its name there, and in a version.
const SHARED: [(&str, &str); 4] = [
    ("validation", "schema"),
    ("subresources", "subresources"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
    ("selectableFields", "selectableFields"),
];

fn versions(spec: &mut Map<String, Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    spec.get_mut("versions").and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

fn rename_columns(list: Option<&mut Value>, from: &str, to: &str) {
    for column in list.and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut) {
        super::rename(column, &[(from, to)]);
    }
}

pub(super) fn to_v1beta1(definition: &mut Value) {
    let Some(spec) = definition.get_mut("spec").and_then(Value::as_object_mut) else { return };
    for version in versions(spec) {
        rename_columns(version.get_mut("additionalPrinterColumns"), "jsonPath", "JSONPath");
    }
    let first = versions(spec).next().and_then(|v| v.get("name").cloned());
    spec.extend(first.map(|name| ("version".to_owned(), name)));
    for (top, each) in SHARED {
        let mut all: Vec<Value> = versions(spec).map(|v| v.get(each).cloned().unwrap_or_default()).collect();
        let Some(first) = all.pop() else { continue };
        if !first.is_null() && all.iter().all(|other| *other == first) {
            versions(spec).for_each(|v| drop(v.remove(each)));
            spec.insert(top.to_owned(), first);
        }
    }
    // Absent means true there.
    spec.entry("preserveUnknownFields").or_insert(Value::Bool(false));
    if let Some(conversion) = spec.get_mut("conversion").and_then(Value::as_object_mut)
        && let Some(Value::Object(mut webhook)) = conversion.remove("webhook")
    {
        super::rename(&mut webhook, &[("clientConfig", "webhookClientConfig")]);
        conversion.extend(webhook);
    }
}

pub(super) fn to_v1(definition: &mut Value) {
    let Some(spec) = definition.get_mut("spec").and_then(Value::as_object_mut) else { return };
    spec.entry("preserveUnknownFields").or_insert(Value::Bool(true));
    let only = spec.remove("version");
    if spec.get("versions").and_then(Value::as_array).is_none_or(Vec::is_empty)
        && let Some(name) = only
    {
        let version = serde_json::json!({"name": name, "served": true, "storage": true});
        spec.insert("versions".to_owned(), Value::Array(vec![version]));
    }
    for (top, each) in SHARED {
        let Some(shared) = spec.remove(top).filter(|s| !s.is_null()) else { continue };
        for version in versions(spec) {
            version.entry(each).or_insert_with(|| shared.clone());
        }
    }
    for version in versions(spec) {
        rename_columns(version.get_mut("additionalPrinterColumns"), "JSONPath", "jsonPath");
    }
    if let Some(conversion) = spec.get_mut("conversion").and_then(Value::as_object_mut)
        && conversion.get("strategy").is_some_and(|s| s == "Webhook")
    {
        let mut webhook = Map::new();
        for (old, new) in
            [("webhookClientConfig", "clientConfig"), ("conversionReviewVersions", "conversionReviewVersions")]
        {
            webhook.extend(conversion.remove(old).filter(|v| !v.is_null()).map(|v| (new.to_owned(), v)));
        }
        conversion.insert("webhook".to_owned(), Value::Object(webhook));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn there_and_back() {
        let version = |name: &str, storage: bool, kind: &str| {
            json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": {"type": kind}},
                "additionalPrinterColumns": [{"name": "a", "jsonPath": ".a"}]})
        };
        for other in ["object", "string"] {
            let v1 = json!({"spec": {"preserveUnknownFields": false, "versions":
                [version("v1", true, "object"), version("v2", false, other)],
                "conversion": {"strategy": "Webhook", "webhook": {"clientConfig": {"url": "u"}, "conversionReviewVersions": ["v1"]}}}});
            let mut object = v1.clone();
            super::to_v1beta1(&mut object);
            assert_eq!(object["spec"]["version"], "v1");
            assert_eq!(object["spec"].get("validation").is_some(), other == "object");
            assert_eq!(object["spec"]["additionalPrinterColumns"][0]["JSONPath"], ".a");
            assert_eq!(object["spec"]["conversion"]["webhookClientConfig"]["url"], "u");
            super::to_v1(&mut object);
            assert_eq!(object, v1);
        }
    }
}
