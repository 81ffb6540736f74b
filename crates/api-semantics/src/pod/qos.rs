//! The quality-of-service class of a pod.

use serde_json::Value;

use crate::quantity::{self, Quantity};

/// `Guaranteed`, `Burstable` or `BestEffort`, from what the pod or its containers request and are limited to.
pub(crate) fn class(spec: &Value) -> &'static str {
    let own = &spec["resources"];
    if own.as_object().is_some_and(|r| !r.is_empty()) && (amounts(own, "requests") + amounts(own, "limits")) > 0 {
        return of(&[own]);
    }
    let lists = ["containers", "initContainers"].map(|l| spec[l].as_array().map_or(&[][..], Vec::as_slice));
    let all: Vec<&Value> = lists.iter().flat_map(|l| l.iter()).map(|c| &c["resources"]).collect();
    of(&all)
}

fn of(resources: &[&Value]) -> &'static str {
    if resources.iter().all(|r| amounts(r, "requests") + amounts(r, "limits") == 0) {
        return "BestEffort";
    }
    let guaranteed = resources.iter().all(|r| {
        ["cpu", "memory"].iter().all(|name| {
            let limit = amount(r, "limits", name);
            limit.is_some() && amount(r, "requests", name).is_none_or(|q| Some(q) == limit)
        })
    });
    if guaranteed { "Guaranteed" } else { "Burstable" }
}

/// How many of cpu and memory are set to something above zero.
fn amounts(resources: &Value, list: &str) -> usize {
    ["cpu", "memory"].iter().filter(|name| amount(resources, list, name).is_some()).count()
}

fn amount(resources: &Value, list: &str, name: &str) -> Option<Quantity> {
    let value = resources.get(list)?.get(name)?;
    quantity::of(value).filter(|q| *q > Quantity::ZERO)
}
