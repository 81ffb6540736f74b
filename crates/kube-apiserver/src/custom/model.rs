//! From a CustomResourceDefinition to what the generic server serves.

use std::sync::Arc;

use api_semantics::Part;
use api_semantics::structural::{CustomSchema, CustomStrategy};
use api_semantics::table::CustomColumns;
use api_types::{json, resources::ALL_VERBS};
use apiserver::{
    cache::ResourceCache,
    catalog::version_order,
    conversion::Conversion,
    error::{Error, Result},
    model::{
        Format, Plain, Resource, ScalePaths, SelectableField, StorageModel, Stored, StrategyHandle, Subresource,
        SubresourceInfo,
    },
};
use serde_json::Value;

use super::webhook::Webhook;
use crate::cell::CoreCell;

/// A served definition: its cache, and a resource for each served version.
pub(super) struct Served {
    pub cache: Arc<ResourceCache>,
    pub resources: Vec<Arc<Resource>>,
    /// In the version that is stored, served or not.
    pub storage: Arc<Resource>,
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn versions(definition: &Value) -> Vec<&Value> {
    let mut all: Vec<&Value> = definition["spec"]["versions"].as_array().into_iter().flatten().collect();
    all.sort_by_key(|v| version_order(text(v, "name")));
    all
}

/// All that follows from an accepted definition.
///
/// # Errors
/// It has no storage version.
pub(super) fn served(definition: &Value, cell: &CoreCell, to_endpoints: bool) -> Result<Served> {
    let spec = &definition["spec"];
    let namespaced = spec["scope"] == "Namespaced";
    let all = versions(definition);
    let formats: Vec<Arc<Format>> = all.iter().map(|v| Arc::new(format(definition, v, namespaced))).collect();
    let storage_format = all
        .iter()
        .position(|v| v["storage"] == true)
        .ok_or_else(|| Error::internal("definition without a storage version"))?;
    let conversion = match spec["conversion"]["strategy"] == "Webhook" {
        true => Conversion::Remote(Arc::new(Webhook::new(definition, cell, to_endpoints))),
        false => Conversion::Local(by_name),
    };
    let fields = selectable(&all);
    let model = Arc::new(StorageModel {
        prefix: prefix(definition),
        namespaced,
        formats,
        storage_format,
        conversion,
        selected: StorageModel::projection(&fields),
        fields,
        unknown_field,
    });
    let cache = Arc::new(ResourceCache::new(Arc::clone(&model)));
    let resource = |(index, version): (usize, &&Value)| Arc::new(resource(definition, version, index, &model, &cache));
    let resources = all.iter().enumerate().filter(|(_, v)| v["served"] == true).map(resource).collect();
    let storage = resource((storage_format, &all[storage_format]));
    Ok(Served { cache, resources, storage })
}

/// The fields that any version can be selected by.
fn selectable(versions: &[&Value]) -> Vec<SelectableField> {
    let mut fields: Vec<SelectableField> = Vec::new();
    let paths = versions.iter().flat_map(|v| v["selectableFields"].as_array().into_iter().flatten());
    for path in paths.map(|f| text(f, "jsonPath").trim_start_matches('.')) {
        if !fields.iter().any(|f| f.path == path) {
            fields.push(SelectableField { label: path.into(), path: path.to_owned(), default: "" });
        }
    }
    fields
}

/// Where the store keeps the objects.
pub(super) fn prefix(definition: &Value) -> String {
    let spec = &definition["spec"];
    format!("/registry/{}/{}/", text(spec, "group"), text(&spec["names"], "plural"))
}

fn format(definition: &Value, version: &Value, namespaced: bool) -> Format {
    let spec = &definition["spec"];
    let preserve = spec["preserveUnknownFields"] == true;
    let schema = Arc::new(CustomSchema::new(&version["schema"]["openAPIV3Schema"], preserve));
    let status = version["subresources"]["status"].is_object();
    Format {
        group: text(spec, "group").to_owned(),
        version: text(version, "name").to_owned(),
        kind: text(&definition["status"]["acceptedNames"], "kind").to_owned(),
        schema: schema.schema().clone(),
        strategy: StrategyHandle::Custom(Arc::new(CustomStrategy { schema, namespaced, status })),
        custom: true,
        columns: Some(CustomColumns::new(&version["additionalPrinterColumns"])),
        source: Some(Arc::new(version["schema"]["openAPIV3Schema"].clone())),
    }
}

fn unknown_field(_: &Format, label: &str) -> String {
    format!("field label not supported: {label}")
}

/// Conversion strategy `None`: versions differ in name and schema only.
fn by_name(_from: &Format, to: &Format, mut value: Value) -> Result<Value> {
    to.stamp(&mut value);
    let decoded = json::decode_value(&value, &to.schema).map_err(Error::internal)?;
    let mut value = decoded.value;
    to.strategy.default(&mut value);
    Ok(value)
}

fn resource(
    definition: &Value,
    version: &Value,
    index: usize,
    model: &Arc<StorageModel>,
    cache: &Arc<ResourceCache>,
) -> Resource {
    let format = Arc::clone(&model.formats[index]);
    let names = &definition["status"]["acceptedNames"];
    let strings = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(|s| s.as_str().map(str::to_owned)).collect()
    };
    let deprecation = (version["deprecated"] == true).then(|| match version["deprecationWarning"].as_str() {
        Some(warning) => warning.to_owned(),
        None => format!("{} {} is deprecated", format.api_version(), format.kind),
    });
    Resource {
        group: format.group.clone(),
        version: format.version.clone(),
        kind: format.kind.clone(),
        plural: text(names, "plural").to_owned(),
        singular: text(names, "singular").to_owned(),
        list_kind: text(names, "listKind").to_owned(),
        short_names: strings(&names["shortNames"]),
        categories: strings(&names["categories"]),
        namespaced: model.namespaced,
        verbs: ALL_VERBS.iter().map(|v| (*v).to_owned()).collect(),
        stored: Some(Stored {
            model: Arc::clone(model),
            cache: Arc::clone(cache),
            version: index,
            behaviour: Arc::new(Plain),
        }),
        subresources: subresources(&version["subresources"], &format),
        format,
        endpoint: None,
        returns_deleted: false,
        deprecation,
    }
}

fn subresources(spec: &Value, format: &Format) -> Vec<SubresourceInfo> {
    let info = |name: &str, group: &str, version: &str, kind: &str, handler| SubresourceInfo {
        name: name.to_owned(),
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        verbs: ["get", "patch", "update"].map(str::to_owned).to_vec(),
        handler,
    };
    let mut out = Vec::new();
    if let Some(scale) = spec["scale"].as_object() {
        let path = |name: &str| {
            let path = scale.get(name).and_then(Value::as_str).unwrap_or_default();
            path.trim_start_matches('.').to_owned()
        };
        let paths = ScalePaths {
            spec_replicas: path("specReplicasPath"),
            status_replicas: path("statusReplicasPath"),
            selector: Some(path("labelSelectorPath")).filter(|p| !p.is_empty()),
        };
        out.push(info("scale", "autoscaling", "v1", "Scale", Subresource::Scale(paths)));
    }
    if spec["status"].is_object() {
        out.push(info("status", &format.group, &format.version, &format.kind, Subresource::Part(Part::Status)));
    }
    out
}
