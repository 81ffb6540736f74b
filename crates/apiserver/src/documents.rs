//! The OpenAPI documents of what is served now: made when first asked for, and again when the routing table changes.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{
    catalog::Catalog,
    model::Resource,
    openapi::{self, GroupVersionKind, Operations},
};

/// Documents by path, each with the hash of the resources that it was made of.
#[derive(Default)]
pub struct OpenApi {
    made: Mutex<BTreeMap<String, (String, Bytes)>>,
}

impl OpenApi {
    /// Answers `/openapi/v2`, `/openapi/v3` and what is below that.
    pub fn serve(&self, catalog: &Catalog, path: &str) -> Option<Bytes> {
        if path == "/openapi/v2" {
            return Some(self.cached("v2", &hash(&catalog.all()), || v2(catalog)));
        }
        let rest = path.strip_prefix("/openapi/v3")?.trim_matches('/');
        if rest.is_empty() {
            return Some(index(catalog));
        }
        let (group, version) = group_version(rest)?;
        let resources = catalog.of_version(group, version);
        if resources.is_empty() {
            return None;
        }
        Some(self.cached(rest, &hash(&resources), || openapi::v3(group, version, &operations(catalog, &resources))))
    }

    fn cached(&self, name: &str, hash: &str, make: impl FnOnce() -> Value) -> Bytes {
        if let Some((made, document)) = self.made.lock().get(name)
            && made == hash
        {
            return document.clone();
        }
        let document = Bytes::from(make().to_string());
        self.made.lock().insert(name.to_owned(), (hash.to_owned(), document.clone()));
        document
    }
}

/// `api/v1` and `apis/apps/v1`.
fn group_version(path: &str) -> Option<(&str, &str)> {
    match path.split('/').collect::<Vec<_>>().as_slice() {
        ["api", version] => Some(("", version)),
        ["apis", group, version] => Some((group, version)),
        _ => None,
    }
}

fn index(catalog: &Catalog) -> Bytes {
    let mut paths = Map::new();
    for group in catalog.groups() {
        for version in &group.versions {
            let path = openapi::document_path(&group.group, version);
            let hash = hash(&catalog.of_version(&group.group, version));
            let at = format!("/openapi/v3/{path}?hash={hash}");
            paths.insert(path, json!({ "serverRelativeURL": at }));
        }
    }
    Bytes::from(json!({ "paths": paths }).to_string())
}

fn v2(catalog: &Catalog) -> Value {
    let mut all = Vec::new();
    for group in catalog.groups() {
        for version in &group.versions {
            let resources = catalog.of_version(&group.group, version);
            all.push((group.group.clone(), version.clone(), operations(catalog, &resources)));
        }
    }
    openapi::v2(component_base::flags::VERSION, &all)
}

/// Changes whenever a document of these resources may: with this program, and with custom schemas.
fn hash(resources: &[Arc<Resource>]) -> String {
    let mut digest = Sha256::new();
    digest.update(component_base::flags::VERSION);
    for resource in resources {
        digest.update(format!("{}/{}/{}:{:?};", resource.group, resource.version, resource.plural, resource.verbs));
        if resource.format.custom {
            digest.update(format!("{:?}", resource.format.schema));
        }
    }
    digest.finalize().iter().map(|b| format!("{b:02X}")).collect()
}

fn operations(catalog: &Catalog, resources: &[Arc<Resource>]) -> Vec<Operations> {
    let mut out = Vec::new();
    for resource in resources {
        let body = GroupVersionKind {
            group: resource.group.clone(),
            version: resource.version.clone(),
            kind: resource.kind.clone(),
        };
        out.push(Operations {
            path: resource.plural.clone(),
            namespaced: resource.namespaced,
            verbs: resource.verbs.clone(),
            body,
            schema: Some(resource.format.schema.clone()),
            list_schema: api_types::schema::lookup(&resource.group, &resource.version, &resource.list_kind)
                .filter(|_| !resource.format.custom),
        });
        for sub in &resource.subresources {
            out.push(Operations {
                path: format!("{}/{}", resource.plural, sub.name),
                namespaced: resource.namespaced,
                verbs: sub.verbs.clone(),
                body: GroupVersionKind {
                    group: sub.group.clone(),
                    version: sub.version.clone(),
                    kind: sub.kind.clone(),
                },
                schema: catalog.format(&sub.group, &sub.version, &sub.kind).map(|f| f.schema.clone()),
                list_schema: None,
            });
        }
    }
    out
}
