//! From the words and files of a command line to objects: `pods`, `pod/a`, `deploy,svc -l app=x`, `-f dir`.

pub mod files;
pub mod select;

use http::Method;
use serde_json::{Value, json};

use crate::cli::context::Context;
use crate::client::Query;
use crate::discovery::Resource;
use crate::error::Result;

/// One object, or the place where one is expected.
#[derive(Debug, Clone)]
pub struct Info {
    /// Its resource.
    pub resource: Resource,
    /// Its namespace; nothing when the resource has none.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its content: live, or from the file.
    pub object: Value,
    /// The file that it came from; empty when it came from the server.
    pub source: String,
}

impl Info {
    /// The URL path of the object.
    pub fn path(&self) -> String {
        self.resource.object_path(self.namespace.as_deref(), &self.name)
    }

    /// The URL path of a subresource of the object; of itself when `sub` is empty.
    pub fn sub_path(&self, sub: &str) -> String {
        if sub.is_empty() { self.path() } else { format!("{}/{sub}", self.path()) }
    }

    /// How messages name it: `deployment.apps/web`.
    pub fn display(&self) -> String {
        self.resource.object_name(&self.name)
    }

    /// An object in a collection answer; its kind and version may be left out there.
    pub fn of_item(resource: &Resource, mut item: Value) -> Self {
        item["apiVersion"] = json!(resource.api_version());
        item["kind"] = json!(resource.kind);
        Self {
            namespace: item["metadata"]["namespace"].as_str().map(str::to_owned),
            name: item["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            resource: resource.clone(),
            object: item,
            source: String::new(),
        }
    }

    /// Reads it from the server.
    pub async fn fetch(&self, cx: &Context) -> Result<Value> {
        cx.client()?.get(&self.path()).await
    }

    /// Creates it.
    pub async fn create(&self, cx: &Context, query: &Query) -> Result<Value> {
        let path = query.on(&self.resource.path(self.namespace.as_deref()));
        cx.client()?.change(Method::POST, &path, crate::client::JSON, &self.object).await
    }

    /// Patches it, or one of its subresources.
    pub async fn patch(&self, cx: &Context, kind: PatchKind, patch: &Value, sub: &str, query: &Query) -> Result<Value> {
        cx.client()?.change(Method::PATCH, &query.on(&self.sub_path(sub)), kind.content_type(), patch).await
    }

    /// Replaces it.
    pub async fn replace(&self, cx: &Context, sub: &str, query: &Query) -> Result<Value> {
        cx.client()?.change(Method::PUT, &query.on(&self.sub_path(sub)), crate::client::JSON, &self.object).await
    }
}

/// The kinds of patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' own, which knows list keys.
    Strategic,
    /// Server-side apply.
    Apply,
}

impl PatchKind {
    fn content_type(self) -> &'static str {
        match self {
            PatchKind::Json => "application/json-patch+json",
            PatchKind::Merge => "application/merge-patch+json",
            PatchKind::Strategic => "application/strategic-merge-patch+json",
            PatchKind::Apply => "application/apply-patch+yaml",
        }
    }
}

/// All objects of a collection, asked for in chunks.
pub async fn list(
    cx: &Context,
    resource: &Resource,
    namespace: Option<&str>,
    query: &Query,
    chunk: i64,
) -> Result<Value> {
    list_as(cx, resource, namespace, query, chunk, crate::client::JSON).await
}

/// As [`list`], in a form of its own (tables).
pub async fn list_as(
    cx: &Context,
    resource: &Resource,
    namespace: Option<&str>,
    query: &Query,
    chunk: i64,
    accept: &str,
) -> Result<Value> {
    let client = cx.client()?;
    let base = resource.path(namespace);
    let limited = query.clone().with_opt("limit", Some(chunk).filter(|c| *c > 0));
    let mut all = client.get_as(&limited.on(&base), accept).await?;
    let key = if all["kind"] == "Table" { "rows" } else { "items" };
    while let Some(token) = all["metadata"]["continue"].as_str().filter(|t| !t.is_empty()).map(str::to_owned) {
        let mut next = client.get_as(&limited.clone().with("continue", token).on(&base), accept).await?;
        let more = next[key].take();
        all["metadata"] = next["metadata"].take();
        if let (Some(rows), Value::Array(more)) = (all[key].as_array_mut(), more) {
            rows.extend(more);
        }
    }
    Ok(all)
}
