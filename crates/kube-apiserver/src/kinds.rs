//! The built-in kinds as the generic server takes them: from the resource table, the schema table and the strategies to the
//! routing table and the caches.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context, Result, anyhow};
use api_semantics::Part;
use api_types::{
    resources::{self, Subresource as TableSubresource},
    schema,
};
use apiserver::{
    cache::{Hub, ResourceCache},
    catalog::Catalog,
    conversion::Conversion,
    model::{Format, Plain, Resource, ScalePaths, StorageModel, Stored, StrategyHandle, Subresource, SubresourceInfo},
    server::Endpoint,
};

use crate::{convert, fields, runtime_config::RuntimeConfig};

/// What answers paths that are no stored objects, and what stored kinds add to the generic verbs.
pub(crate) struct Parts {
    /// By (group, resource, subresource); "" for the resource itself.
    pub endpoints: BTreeMap<(&'static str, &'static str, &'static str), Arc<dyn Endpoint>>,
    /// By (group, resource).
    pub behaviours: BTreeMap<(&'static str, &'static str), Arc<dyn apiserver::model::Behaviour>>,
    /// What answers where nothing is registered.
    pub missing: Arc<dyn Endpoint>,
}

/// Kinds whose deletion answers the object (upstream's `ReturnDeletedObject`).
const RETURN_DELETED: [(&str, &str); 18] = [
    ("", "persistentvolumeclaims"),
    ("", "persistentvolumes"),
    ("", "pods"),
    ("", "podtemplates"),
    ("", "resourcequotas"),
    ("", "serviceaccounts"),
    ("", "services"),
    ("resource.k8s.io", "deviceclasses"),
    ("resource.k8s.io", "devicetaintrules"),
    ("resource.k8s.io", "resourceclaims"),
    ("resource.k8s.io", "resourceclaimtemplates"),
    ("resource.k8s.io", "resourcepoolstatusrequests"),
    ("resource.k8s.io", "resourceslices"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "storageclasses"),
    ("storage.k8s.io", "volumeattachments"),
    ("storage.k8s.io", "volumeattributesclasses"),
];

/// Kinds whose use is warned of.
const DEPRECATED: [((&str, &str), &str); 2] = [
    (("", "componentstatuses"), "v1 ComponentStatus is deprecated in v1.19+"),
    (("", "endpoints"), "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
];

/// Kinds that are bodies of subresources and no resources themselves.
const EXTRA_FORMATS: [(&str, &str, &str); 5] = [
    ("autoscaling", "v1", "Scale"),
    ("policy", "v1", "Eviction"),
    ("", "v1", "Binding"),
    ("authentication.k8s.io", "v1", "TokenRequest"),
    ("", "v1", "RangeAllocation"),
];

/// Fills the routing table and the hub's caches.
pub(crate) fn install(catalog: &Catalog, hub: &Hub, parts: &Parts, apis: &RuntimeConfig) -> Result<()> {
    let mut stored: BTreeMap<&str, (Arc<StorageModel>, Arc<ResourceCache>)> = BTreeMap::new();
    let served = || resources::all().iter().filter(|resource| apis.serves(resource));
    for resource in served() {
        let Some(storage) = &resource.storage else { continue };
        if !stored.contains_key(storage.prefix) {
            let model = Arc::new(model_of(resource)?);
            let cache = Arc::new(ResourceCache::new(Arc::clone(&model)));
            hub.add(Arc::clone(&cache));
            stored.insert(storage.prefix, (model, cache));
        }
    }
    for resource in served() {
        let pair = resource.storage.as_ref().and_then(|s| stored.get(s.prefix));
        catalog.insert(Arc::new(resource_of(resource, pair, parts)?));
    }
    for (group, version, kind) in EXTRA_FORMATS {
        catalog.add_format(Arc::new(format_of(group, version, kind)?));
    }
    Ok(())
}

/// The format of a built-in kind.
pub(crate) fn format_of(group: &str, version: &str, kind: &str) -> Result<Format> {
    let schema =
        schema::lookup(group, version, kind).ok_or_else(|| anyhow!("no schema of {group}/{version} {kind}"))?;
    Ok(Format {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        schema,
        strategy: StrategyHandle::BuiltIn(
            api_semantics::strategy_for(group, version, kind).unwrap_or(&fields::NO_STRATEGY),
        ),
        custom: false,
        columns: None,
        source: None,
    })
}

/// How the kind behind `resource` is stored: all its served versions, and the one that is written.
fn model_of(resource: &resources::Resource) -> Result<StorageModel> {
    let storage = resource.storage.as_ref().context("resource is not stored")?;
    let mut formats = Vec::new();
    for served in resources::all().iter().filter(|r| r.storage.as_ref().is_some_and(|s| s.prefix == storage.prefix)) {
        formats.push(Arc::new(format_of(served.group, served.version, served.kind)?));
    }
    let written = |f: &Arc<Format>| f.is(storage.group, storage.version, resource.kind);
    let storage_format = match formats.iter().position(written) {
        Some(index) => index,
        None => {
            formats.push(Arc::new(format_of(storage.group, storage.version, resource.kind)?));
            formats.len() - 1
        }
    };
    let selectable = fields::of(resource.plural);
    Ok(StorageModel {
        prefix: format!("/registry/{}/", storage.prefix),
        namespaced: resource.namespaced,
        formats,
        storage_format,
        conversion: Conversion::Local(convert::convert),
        selected: StorageModel::projection(&selectable.fields),
        fields: selectable.fields,
        unknown_field: selectable.unknown,
    })
}

fn resource_of(
    table: &resources::Resource,
    stored: Option<&(Arc<StorageModel>, Arc<ResourceCache>)>,
    parts: &Parts,
) -> Result<Resource> {
    let key = (table.group, table.plural);
    let stored = stored.map(|(model, cache)| {
        let version = model.formats.iter().position(|f| f.is(table.group, table.version, table.kind)).unwrap_or(0);
        let behaviour = parts.behaviours.get(&key).cloned().unwrap_or_else(|| Arc::new(Plain));
        Stored { model: Arc::clone(model), cache: Arc::clone(cache), version, behaviour }
    });
    let format = match &stored {
        Some(stored) => Arc::clone(&stored.model.formats[stored.version]),
        None => Arc::new(format_of(table.group, table.version, table.kind)?),
    };
    let own = parts.endpoints.get(&(table.group, table.plural, "")).cloned();
    let endpoint = if stored.is_none() { Some(own.unwrap_or_else(|| Arc::clone(&parts.missing))) } else { own };
    let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
    Ok(Resource {
        group: table.group.to_owned(),
        version: table.version.to_owned(),
        kind: table.kind.to_owned(),
        plural: table.plural.to_owned(),
        singular: table.singular.clone(),
        list_kind: table.list_kind(),
        short_names: strings(&table.short_names),
        categories: strings(&table.categories),
        namespaced: table.namespaced,
        verbs: strings(&table.verbs),
        stored,
        format,
        endpoint,
        subresources: table.subresources.iter().map(|s| subresource_of(table, s, parts)).collect(),
        returns_deleted: RETURN_DELETED.contains(&key),
        deprecation: DEPRECATED.iter().find(|(name, _)| *name == key).map(|(_, text)| (*text).to_owned()),
    })
}

fn subresource_of(parent: &resources::Resource, table: &TableSubresource, parts: &Parts) -> SubresourceInfo {
    let (group, version) = table.group_version.unwrap_or((parent.group, parent.version));
    let handler = match (parts.endpoints.get(&(parent.group, parent.plural, table.name)), table.name) {
        (Some(endpoint), _) => Subresource::Endpoint(Arc::clone(endpoint)),
        (None, "status") => Subresource::Part(Part::Status),
        (None, "scale") => Subresource::Scale(ScalePaths {
            spec_replicas: "spec.replicas".to_owned(),
            status_replicas: "status.replicas".to_owned(),
            selector: Some("spec.selector".to_owned()),
        }),
        (None, "finalize" | "approval" | "ephemeralcontainers" | "resize") => {
            Subresource::Part(Part::Other(table.name))
        }
        (None, _) => Subresource::Endpoint(Arc::clone(&parts.missing)),
    };
    SubresourceInfo {
        name: table.name.to_owned(),
        group: group.to_owned(),
        version: version.to_owned(),
        kind: table.kind.to_owned(),
        verbs: table.verbs.iter().map(|v| (*v).to_owned()).collect(),
        handler,
    }
}
