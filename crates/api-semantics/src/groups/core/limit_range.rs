//! LimitRange: bounds and defaults for the resources of a namespace.

use serde_json::{Map, Value};
use std::collections::BTreeSet;

use crate::defaults::{each, ensure, fill, map_at, set_zero, text, within};
use crate::field::{Errors, Field};
use crate::kind::Kind;
use crate::names;
use crate::quantity::{self, Quantity};
use crate::strategy::Context;

pub(crate) static KIND: Kind = Kind { default, prepare_create, validate, labels_validated: 3, ..Kind::PLAIN };

fn default(range: &mut Value) {
    let spec = ensure(range, "spec");
    each(spec, "limits", item);
}

/// A limit range without a name gets a unique one.
fn prepare_create(_context: &Context, range: &mut Value) {
    let uid = range["metadata"]["uid"].clone();
    set_zero(ensure(range, "metadata"), "name", uid);
}

fn item(item: &mut Value) {
    for key in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        within(item, key, crate::quantity::round_list);
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

fn validate(range: &Field, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for limit in range.dig("spec.limits").items() {
        limit_type(&limit, &mut seen, errors);
        let container = matches!(limit.str_of("type"), "Container" | "Pod");
        let lists = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for list in lists {
            for (name, field) in limit.get(list).entries() {
                limit_name(name, container, &field, errors);
                names.insert(name);
            }
        }
        if limit.str_of("type") == "Pod" {
            for list in ["default", "defaultRequest"] {
                if !limit.get(list).is_empty() {
                    errors.forbidden(&limit.get(list), "may not be specified when `type` is 'Pod'");
                }
            }
        }
        if limit.str_of("type") == "PersistentVolumeClaim"
            && limit.get("min").value().get("storage").is_none()
            && limit.get("max").value().get("storage").is_none()
        {
            errors.required(&limit, "either minimum or maximum storage value is required, but neither was provided");
        }
        for name in names {
            bounds(&limit, name, errors);
        }
    }
}

fn limit_type<'a>(limit: &Field<'a>, seen: &mut BTreeSet<&'a str>, errors: &mut Errors) {
    let kind = limit.get("type");
    let messages = names::qualified_name(kind.str());
    let malformed = !messages.is_empty();
    errors.invalid_each(&kind, messages);
    let standard = ["Pod", "Container", "PersistentVolumeClaim"].contains(&kind.str());
    if !malformed && !kind.str().contains('/') && !standard {
        errors.invalid(&kind, "must be a standard limit type or fully qualified");
    }
    if !seen.insert(kind.str()) {
        errors.duplicate_as(&kind, kind.str());
    }
}

fn limit_name(name: &str, container: bool, field: &Field, errors: &mut Errors) {
    if container {
        crate::pod::resource_name(name, field, errors);
    } else {
        crate::pod::any_resource_name(name, field, errors);
    }
}

/// One resource's bounds and defaults must be in order: min <= default request <= default <= max.
fn bounds(limit: &Field, name: &str, errors: &mut Errors) {
    let get = |list: &str| quantity::of(limit.get(list).entry(name).value());
    let (min, max, default, request, ratio) =
        (get("min"), get("max"), get("default"), get("defaultRequest"), get("maxLimitRequestRatio"));
    let at = |list: &str| limit.get(list).entry(name);
    let mut greater =
        |low: Option<Quantity>, high: Option<Quantity>, list: &str, shown: Option<Quantity>, words: [&str; 2]| {
            if let (Some(low), Some(high), Some(shown)) = (low, high, shown)
                && low > high
            {
                let message = format!("{} value {low} is greater than {} value {high}", words[0], words[1]);
                errors.invalid_as(&at(list), shown.to_string(), message);
            }
        };
    greater(min, max, "min", min, ["min", "max"]);
    greater(min, request, "defaultRequest", request, ["min", "default request"]);
    greater(request, max, "defaultRequest", request, ["default request", "max"]);
    greater(request, default, "defaultRequest", request, ["default request", "default limit"]);
    greater(min, default, "default", min, ["min", "default"]);
    greater(default, max, "default", max, ["default", "max"]);
    if let Some(ratio) = ratio {
        ratio_bounds(ratio, min, max, &at("maxLimitRequestRatio"), errors);
    }
}

fn ratio_bounds(ratio: Quantity, min: Option<Quantity>, max: Option<Quantity>, field: &Field, errors: &mut Errors) {
    if ratio.milli_value() < 1000 {
        errors.invalid_as(field, ratio.to_string(), format!("ratio {ratio} is less than 1"));
    }
    if let (Some(min), Some(max)) = (min, max) {
        let limit = max.as_f64() / min.as_f64();
        if ratio.as_f64() > limit {
            let message = format!("ratio {ratio} is greater than max/min = {limit:.6}");
            errors.invalid_as(field, ratio.to_string(), message);
        }
    }
}
