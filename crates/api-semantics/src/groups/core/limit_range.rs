//! LimitRange: bounds and defaults for the resources of a namespace.

use serde_json::{Map, Value};

use crate::defaults::{each, ensure, fill, map_at, set, text, within};
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { default, ..Kind::PLAIN };

fn default(range: &mut Value) {
    let spec = ensure(range, "spec");
    set(spec, "limits", Value::Null);
    each(spec, "limits", item);
}

fn item(item: &mut Value) {
    for key in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        within(item, key, crate::quantity::canonicalize_list);
    }
    if text(item, "type") != "Container" {
        return;
    }
    fill_from(item, "default", "max");
    fill_from(item, "defaultRequest", "default");
    fill_from(item, "defaultRequest", "min");
}

fn fill_from(item: &mut Value, to: &str, from: &str) {
    let from: Map<String, Value> = map_at(item, from);
    if !from.is_empty() {
        fill(ensure(item, to), &from);
    }
}
