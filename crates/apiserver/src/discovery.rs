//! Discovery: which groups, versions and resources there are; in the old form, one document each, and in the aggregated one.

use http::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use crate::{
    catalog::{Catalog, GroupVersions},
    codec,
    conditional::{self, Keep},
    error::Result,
    model::{Resource, SubresourceInfo},
    negotiate::{self, Codec},
    query::Query,
    respond,
    server::{Body, Core},
};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Answers a discovery path; `None` when it is none.
pub fn serve(
    core: &Core,
    advertised: &str,
    path: &str,
    headers: &HeaderMap,
    query: &Query,
) -> Result<Option<Response<Body>>> {
    let path = path.trim_end_matches('/');
    let catalog = &core.catalog;
    let groups = || core.aggregation.groups(catalog);
    if matches!(path, "/api" | "/apis") && wants_aggregated(headers) {
        let body = aggregated(core, path == "/api");
        let mut out = Vec::new();
        api_types::json::encode_value(&body, &mut out);
        let tag: String = Sha512::digest(&out).iter().map(|b| format!("{b:02X}")).collect();
        return Ok(Some(conditional::answer(headers, AGGREGATED, out.into(), &tag, Keep::Shared)));
    }
    let document = match path.split('/').skip(1).collect::<Vec<_>>().as_slice() {
        [""] => Some(paths(&groups())),
        ["api"] => Some(legacy_versions(advertised)),
        ["api", version] => resource_list(catalog, "", version),
        ["apis"] => Some(group_list(&groups())),
        ["apis", group] => groups().iter().find(|g| g.group == *group).map(|g| with_type(group_value(g), "APIGroup")),
        ["apis", group, version] => resource_list(catalog, group, version),
        _ => None,
    };
    let Some(document) = document else { return Ok(None) };
    let mut accepted = respond::negotiate(headers, query, false)?;
    if accepted.codec == Codec::Protobuf {
        accepted.codec = Codec::Json;
    }
    let body = codec::encode_json_value(&accepted, &document)?;
    Ok(Some(respond::maybe_compressed(headers, StatusCode::OK, accepted.codec.content_type(), body)))
}

/// Whether the first clause that can be served asks for the aggregated form.
fn wants_aggregated(headers: &HeaderMap) -> bool {
    for clause in negotiate::clauses(headers) {
        if clause.param("as") == Some("APIGroupDiscoveryList") {
            if clause.param("g") == Some("apidiscovery.k8s.io") && clause.param("v") == Some("v2") {
                return true;
            }
        } else if Codec::of_media_type(&clause.media).is_some() || clause.media == "*/*" {
            return false;
        }
    }
    false
}

fn with_type(mut value: Value, kind: &str) -> Value {
    value["kind"] = kind.into();
    value["apiVersion"] = "v1".into();
    value
}

fn legacy_versions(advertised: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": advertised }],
    })
}

fn join(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

fn group_value(group: &GroupVersions) -> Value {
    let version = |v: &String| json!({ "groupVersion": join(&group.group, v), "version": v });
    let versions: Vec<Value> = group.versions.iter().map(version).collect();
    json!({ "name": group.group, "preferredVersion": versions.first(), "versions": versions })
}

fn group_list(groups: &[GroupVersions]) -> Value {
    let groups: Vec<Value> = groups.iter().filter(|g| !g.group.is_empty()).map(group_value).collect();
    with_type(json!({ "groups": groups }), "APIGroupList")
}

/// The paths that `/` lists.
fn paths(groups: &[GroupVersions]) -> Value {
    let mut paths = vec![
        "/.well-known/openid-configuration".to_owned(),
        "/api".to_owned(),
        "/api/v1".to_owned(),
        "/apis".to_owned(),
    ];
    for group in groups.iter().filter(|g| !g.group.is_empty()) {
        paths.push(format!("/apis/{}", group.group));
        paths.extend(group.versions.iter().map(|v| format!("/apis/{}/{v}", group.group)));
    }
    paths.extend(
        ["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version"]
            .map(str::to_owned),
    );
    paths.sort();
    json!({ "paths": paths })
}

fn resource_list(catalog: &Catalog, group: &str, version: &str) -> Option<Value> {
    let resources = catalog.of_version(group, version);
    if resources.is_empty() {
        return None;
    }
    let mut entries = Vec::new();
    for resource in &resources {
        entries.push(resource_entry(resource));
        entries.extend(resource.subresources.iter().map(|s| subresource_entry(resource, s)));
    }
    let mut list = json!({ "kind": "APIResourceList", "groupVersion": join(group, version), "resources": entries });
    if !group.is_empty() {
        list["apiVersion"] = "v1".into();
    }
    Some(list)
}

fn resource_entry(resource: &Resource) -> Value {
    let mut entry = json!({
        "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
        "kind": resource.kind, "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = resource.short_names.clone().into();
    }
    if !resource.categories.is_empty() {
        entry["categories"] = resource.categories.clone().into();
    }
    if let Some(hash) = storage_hash(resource) {
        entry["storageVersionHash"] = hash.into();
    }
    entry
}

/// Clients see by it whether the form in the store changed.
fn storage_hash(resource: &Resource) -> Option<String> {
    let format = resource.stored.as_ref()?.model.storage();
    Some(api_types::resources::storage_version_hash(&format.group, &format.version, &format.kind))
}

fn subresource_entry(resource: &Resource, subresource: &SubresourceInfo) -> Value {
    let mut entry = json!({
        "name": format!("{}/{}", resource.plural, subresource.name), "singularName": "", "namespaced": resource.namespaced,
        "kind": subresource.kind, "verbs": subresource.verbs,
    });
    if subresource.version != resource.version || subresource.group != resource.group {
        entry["group"] = subresource.group.clone().into();
        entry["version"] = subresource.version.clone().into();
    }
    entry
}

fn aggregated(core: &Core, legacy: bool) -> Value {
    let groups = core.aggregation.groups(&core.catalog);
    let items: Vec<Value> =
        groups.iter().filter(|g| g.group.is_empty() == legacy).map(|g| group_discovery(core, g)).collect();
    json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items })
}

fn group_discovery(core: &Core, group: &GroupVersions) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|version| {
            if let Some(delegated) = core.aggregation.find(&group.group, version) {
                return Value::clone(&delegated.discovery);
            }
            let resources = core.catalog.of_version(&group.group, version);
            let resources: Vec<Value> = resources.iter().map(|r| resource_discovery(r)).collect();
            json!({ "version": version, "resources": resources, "freshness": "Current" })
        })
        .collect();
    let metadata = if group.group.is_empty() { json!({}) } else { json!({ "name": group.group }) };
    json!({ "metadata": metadata, "versions": versions })
}

fn resource_discovery(resource: &Resource) -> Value {
    // Built-in kinds leave group and version of their own kind empty, as upstream's in-tree discovery does.
    let own = |kind: &str| match resource.format.custom {
        true => json!({ "group": resource.group, "version": resource.version, "kind": kind }),
        false => json!({ "group": "", "version": "", "kind": kind }),
    };
    let mut entry = json!({
        "resource": resource.plural,
        "responseKind": own(&resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = resource.short_names.clone().into();
    }
    if !resource.categories.is_empty() {
        entry["categories"] = resource.categories.clone().into();
    }
    let subresources: Vec<Value> = resource
        .subresources
        .iter()
        .map(|s| {
            let foreign = s.version != resource.version || s.group != resource.group;
            let kind =
                if foreign { json!({ "group": s.group, "version": s.version, "kind": s.kind }) } else { own(&s.kind) };
            json!({ "subresource": s.name, "responseKind": kind, "verbs": s.verbs })
        })
        .collect();
    if !subresources.is_empty() {
        entry["subresources"] = subresources.into();
    }
    entry
}
