//! `meta.k8s.io` tables, and the metadata of lists.

use serde_json::{Map, Value, json};

use crate::{error::Result, meta, model::Resource, query::Query, respond};

/// `ListMeta`.
#[derive(Clone, Debug, Default)]
pub struct ListMeta {
    pub resource_version: String,
    pub continue_token: String,
    pub remaining: Option<u64>,
}

impl ListMeta {
    /// What a table of one object carries.
    pub fn of_object(object: &Value) -> ListMeta {
        ListMeta { resource_version: meta::resource_version(object).to_owned(), ..ListMeta::default() }
    }

    pub fn to_value(&self) -> Value {
        let mut map = Map::new();
        if !self.resource_version.is_empty() {
            map.insert("resourceVersion".to_owned(), self.resource_version.clone().into());
        }
        if !self.continue_token.is_empty() {
            map.insert("continue".to_owned(), self.continue_token.clone().into());
        }
        if let Some(remaining) = self.remaining {
            map.insert("remainingItemCount".to_owned(), remaining.into());
        }
        Value::Object(map)
    }
}

/// The table of some objects; `version` is that of meta.k8s.io.
pub fn of_objects(
    resource: &Resource,
    objects: &[Value],
    version: &str,
    query: &Query,
    list: &ListMeta,
) -> Result<Value> {
    let rows: Vec<Value> = objects.iter().map(|object| row(resource, object, version, query)).collect::<Result<_>>()?;
    let columns = match &resource.format.columns {
        Some(custom) => custom.definitions(),
        None => api_semantics::table::column_definitions(&resource.kind),
    };
    Ok(json!({
        "kind": "Table",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": list.to_value(),
        "columnDefinitions": columns,
        "rows": rows,
    }))
}

fn row(resource: &Resource, object: &Value, version: &str, query: &Query) -> Result<Value> {
    let included = match query.text("includeObject") {
        "None" => Value::Null,
        "Object" => object.clone(),
        _ => respond::partial(object, version),
    };
    let now = component_base::clock::now();
    let made = match &resource.format.columns {
        Some(custom) => custom.row(object, now),
        None => api_semantics::table::row(&resource.kind, object, now),
    };
    let mut row = json!({ "cells": made.cells });
    if !made.conditions.is_empty() {
        row["conditions"] = made.conditions.into();
    }
    row["object"] = included;
    Ok(row)
}
