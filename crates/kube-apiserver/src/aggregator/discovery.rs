//! What an aggregated API server says of its resources, as aggregated discovery shows it (`APIVersionDiscovery`). Pure.

use serde_json::{Value, json};

/// How current an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    Current,
    /// The server did not answer; this is what it said before.
    Stale,
}

/// An entry of which nothing is known.
pub(super) fn unknown(version: &str) -> Value {
    json!({"version": version, "freshness": "Stale"})
}

/// The entry with its freshness.
pub(super) fn fresh(entry: &Value, freshness: Freshness) -> Value {
    let mut entry = entry.clone();
    entry["freshness"] = match freshness {
        Freshness::Current => "Current".into(),
        Freshness::Stale => "Stale".into(),
    };
    entry
}

/// The entry of a group version in a server's aggregated discovery; `None` if the document is no such thing. A version that is not in it has no
/// resources.
pub(super) fn of_document(document: &Value, group: &str, version: &str) -> Option<Value> {
    if document["kind"] != "APIGroupDiscoveryList" {
        return None;
    }
    let mut groups = document["items"].as_array().into_iter().flatten();
    let versions = groups.find(|g| g["metadata"]["name"] == group).and_then(|g| g["versions"].as_array());
    let entry = versions.into_iter().flatten().find(|v| v["version"] == version).cloned();
    Some(entry.unwrap_or_else(|| json!({"version": version})))
}

/// The same from an `APIResourceList`; `None` if the document is no such thing.
pub(super) fn of_list(list: &Value, version: &str) -> Option<Value> {
    if list["kind"] != "APIResourceList" {
        return None;
    }
    let mut resources: Vec<Value> = Vec::new();
    for listed in list["resources"].as_array().into_iter().flatten() {
        let name = listed["name"].as_str().unwrap_or_default();
        let scope = if listed["namespaced"] == true { "Namespaced" } else { "Cluster" };
        let Some((parent, subresource)) = name.split_once('/') else {
            resources.push(resource(listed, name, scope));
            continue;
        };
        let entry = json!({"subresource": subresource, "responseKind": kind(listed), "verbs": listed["verbs"]});
        let at = resources.iter().position(|r| r["resource"] == parent).unwrap_or_else(|| {
            let kind = json!({"group": "", "version": "", "kind": ""});
            resources.push(
                json!({"resource": parent, "responseKind": kind, "scope": scope, "singularResource": "", "verbs": []}),
            );
            resources.len() - 1
        });
        match &mut resources[at]["subresources"] {
            Value::Array(known) => known.push(entry),
            none => *none = json!([entry]),
        }
    }
    Some(json!({"version": version, "resources": resources}))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn kind(listed: &Value) -> Value {
    json!({"group": text(&listed["group"]), "version": text(&listed["version"]), "kind": text(&listed["kind"])})
}

fn resource(listed: &Value, name: &str, scope: &str) -> Value {
    let mut entry = json!({
        "resource": name, "responseKind": kind(listed), "scope": scope,
        "singularResource": text(&listed["singularName"]), "verbs": listed["verbs"],
    });
    for field in ["shortNames", "categories"] {
        if listed[field].as_array().is_some_and(|list| !list.is_empty()) {
            entry[field] = listed[field].clone();
        }
    }
    entry
}

/// What the OpenAPI document of a group version is known by, from a server's index of documents.
pub(super) fn document_tag(index: &Value, group: &str, version: &str) -> Option<String> {
    let path = index["paths"][format!("apis/{group}/{version}")]["serverRelativeURL"].as_str()?;
    Some(path.split_once("hash=").map_or("", |(_, hash)| hash).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_discovery_are_read() {
        let verbs = json!(["get", "list"]);
        let list = json!({"kind": "APIResourceList", "resources": [
            {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": verbs, "shortNames": ["fl"]},
            {"name": "flunders/status", "namespaced": true, "kind": "Flunder", "verbs": ["get"]},
            {"name": "ghosts/scale", "namespaced": false, "group": "autoscaling", "version": "v1", "kind": "Scale", "verbs": ["get"]},
        ]});
        let own = json!({"group": "", "version": "", "kind": "Flunder"});
        let scale = json!({"group": "autoscaling", "version": "v1", "kind": "Scale"});
        let nothing = json!({"group": "", "version": "", "kind": ""});
        let entry = json!({"version": "v1", "resources": [
            {"resource": "flunders", "responseKind": own, "scope": "Namespaced", "singularResource": "flunder", "verbs": verbs,
                "shortNames": ["fl"], "subresources": [{"subresource": "status", "responseKind": own, "verbs": ["get"]}]},
            {"resource": "ghosts", "responseKind": nothing, "scope": "Cluster", "singularResource": "", "verbs": [],
                "subresources": [{"subresource": "scale", "responseKind": scale, "verbs": ["get"]}]},
        ]});
        assert_eq!(of_list(&list, "v1"), Some(entry.clone()));
        let document =
            json!({"kind": "APIGroupDiscoveryList", "items": [{"metadata": {"name": "x.io"}, "versions": [entry]}]});
        assert_eq!(of_document(&document, "x.io", "v1"), Some(entry));
        assert_eq!(of_document(&document, "x.io", "v2"), Some(json!({"version": "v2"})));
        assert_eq!((of_document(&list, "x.io", "v1"), of_list(&document, "v1")), (None, None));
    }

    #[test]
    fn documents_are_known_by_the_servers_tags() {
        let index = json!({"paths": {"apis/x.io/v1": {"serverRelativeURL": "/openapi/v3/apis/x.io/v1?hash=AB"}}});
        assert_eq!(document_tag(&index, "x.io", "v1").as_deref(), Some("AB"));
        assert_eq!(document_tag(&index, "x.io", "v2"), None);
    }
}
