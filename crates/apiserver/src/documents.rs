//! The OpenAPI documents of what is served now: made when first asked for, and again when the routing table changes.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};

use crate::{
    aggregation::{Aggregation, Delegate},
    catalog::Catalog,
    conditional::{self, Keep},
    error::{Error, Result},
    model::{Format, Resource},
    negotiate,
    openapi::{self, GroupVersionKind, Operations, Root, Shape},
    query::Query,
    respond,
    server::{Body, Core},
};

/// Documents by path, each with the hash of the resources that it was made of.
#[derive(Default)]
pub struct OpenApi {
    made: Mutex<BTreeMap<String, (String, Bytes)>>,
}

/// A document and what clients know its version by.
struct Document {
    body: Bytes,
    etag: String,
}

impl OpenApi {
    /// Answers `/openapi/v2`, `/openapi/v3` and what is below that; `None` for other paths.
    ///
    /// # Errors
    /// If the client takes no JSON.
    pub fn serve(&self, core: &Core, path: &str, headers: &HeaderMap, query: &Query) -> Result<Option<Response<Body>>> {
        let Some(document) = self.document(core, path) else { return Ok(None) };
        if !takes_json(headers) {
            return Err(Error::not_acceptable("only application/json can be had here"));
        }
        let keep = match query.first("hash") {
            // An old version is nowhere any more: the client learns where the present one is.
            Some(hash) if hash != document.etag => {
                return Ok(Some(moved(&format!("{path}?hash={}", document.etag))));
            }
            Some(_) => Keep::Forever,
            None => Keep::Never,
        };
        Ok(Some(conditional::answer(headers, "application/json", document.body, &document.etag, keep)))
    }

    fn document(&self, core: &Core, path: &str) -> Option<Document> {
        let catalog = &core.catalog;
        if path == "/openapi/v2" {
            return Some(self.cached("v2", hash(&catalog.all()), || v2(catalog)));
        }
        let rest = path.strip_prefix("/openapi/v3")?.trim_matches('/');
        if rest.is_empty() {
            let others = core.aggregation.documents();
            let hash = if others.is_empty() { hash(&catalog.all()) } else { digest(&(hash(&catalog.all()), &others)) };
            return Some(self.cached("v3", hash, || index(catalog, &others)));
        }
        if let Some((group, version)) = group_version(rest) {
            let resources = catalog.of_version(group, version);
            let make = || openapi::v3(group, version, &operations(catalog, &resources));
            return (!resources.is_empty()).then(|| self.cached(rest, hash(&resources), make));
        }
        let root = roots(catalog).into_iter().find(|root| root == rest)?;
        let of = Root::of_path(&root)?;
        Some(self.cached(rest, hash(&[]), || openapi::root(of)))
    }

    fn cached(&self, name: &str, hash: String, make: impl FnOnce() -> Value) -> Document {
        if let Some((made, body)) = self.made.lock().get(name)
            && *made == hash
        {
            return Document { body: body.clone(), etag: hash };
        }
        let body = Bytes::from(make().to_string());
        self.made.lock().insert(name.to_owned(), (hash.clone(), body.clone()));
        Document { body, etag: hash }
    }
}

fn takes_json(headers: &HeaderMap) -> bool {
    let clauses = negotiate::clauses(headers);
    clauses.is_empty()
        || clauses.iter().any(|c| matches!(c.media.as_str(), "*/*" | "application/*" | "application/json"))
}

fn moved(to: &str) -> Response<Body> {
    let mut response = respond::text(StatusCode::MOVED_PERMANENTLY, String::new());
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response
}

/// `api/v1` and `apis/apps/v1`.
fn group_version(path: &str) -> Option<(&str, &str)> {
    match path.split('/').collect::<Vec<_>>().as_slice() {
        ["api", version] => Some(("", version)),
        ["apis", group, version] => Some((group, version)),
        _ => None,
    }
}

/// The paths of the documents that are no group version's.
fn roots(catalog: &Catalog) -> Vec<String> {
    let groups = catalog.groups().into_iter().filter(|g| !g.group.is_empty());
    let groups = groups.map(|g| Root::Group(&g.group).path()).collect::<Vec<_>>();
    Root::FIXED.into_iter().map(Root::path).chain(groups).collect()
}

/// Who has this document, if it is not this server.
pub(crate) fn delegate(aggregation: &Aggregation, path: &str) -> Option<Arc<dyn Delegate>> {
    let (group, version) = group_version(path.strip_prefix("/openapi/v3/")?.trim_matches('/'))?;
    aggregation.find(group, version).map(|delegated| delegated.delegate)
}

fn digest(of: &impl std::fmt::Debug) -> String {
    Sha512::digest(format!("{of:?}")).iter().map(|b| format!("{b:02X}")).collect()
}

fn index(catalog: &Catalog, others: &[(String, String, Option<String>)]) -> Value {
    let mut paths = Map::new();
    let mut add = |path: String, resources: &[Arc<Resource>]| {
        let at = format!("/openapi/v3/{path}?hash={}", hash(resources));
        paths.insert(path, json!({ "serverRelativeURL": at }));
    };
    roots(catalog).into_iter().for_each(|path| add(path, &[]));
    for group in catalog.groups() {
        for version in &group.versions {
            add(openapi::document_path(&group.group, version), &catalog.of_version(&group.group, version));
        }
    }
    for (group, version, tag) in others {
        let path = openapi::document_path(group, version);
        match tag {
            Some(tag) => {
                let at = format!("/openapi/v3/{path}?hash={tag}");
                paths.insert(path, json!({ "serverRelativeURL": at }));
            }
            None => _ = paths.remove(&path),
        }
    }
    json!({ "paths": paths })
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
    let mut digest = Sha512::new();
    digest.update(component_base::flags::VERSION);
    for resource in resources {
        digest.update(format!("{}/{}/{}:{:?};", resource.group, resource.version, resource.plural, resource.verbs));
        if resource.format.custom {
            digest.update(format!("{:?}", resource.format.source));
        }
    }
    digest.finalize().iter().map(|b| format!("{b:02X}")).collect()
}

fn shape(format: &Format) -> Shape {
    match &format.source {
        Some(source) => Shape::Custom(Arc::clone(source)),
        None => Shape::Table(format.schema.clone()),
    }
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
            owner: resource.kind.clone(),
            namespaced: resource.namespaced,
            verbs: resource.verbs.clone(),
            body,
            schema: Some(shape(&resource.format)),
            list_schema: api_types::schema::lookup(&resource.group, &resource.version, &resource.list_kind)
                .filter(|_| !resource.format.custom),
            returns_deleted: resource.returns_deleted,
            custom: resource.format.custom,
        });
        for sub in &resource.subresources {
            out.push(Operations {
                path: format!("{}/{}", resource.plural, sub.name),
                owner: resource.kind.clone(),
                namespaced: resource.namespaced,
                verbs: sub.verbs.clone(),
                body: GroupVersionKind {
                    group: sub.group.clone(),
                    version: sub.version.clone(),
                    kind: sub.kind.clone(),
                },
                schema: match catalog.format(&sub.group, &sub.version, &sub.kind) {
                    Some(format) => Some(shape(&format)),
                    None => api_types::schema::lookup(&sub.group, &sub.version, &sub.kind).map(Shape::Table),
                },
                list_schema: None,
                returns_deleted: false,
                custom: resource.format.custom,
            });
        }
    }
    out
}
