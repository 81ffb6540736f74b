//! `resource.k8s.io/v1beta1` writes the fields of an exact request into the request itself, and those of a device under
//! `basic`; later versions have `exactly`, and the device's fields in the device.

use serde_json::{Map, Value};

use crate::defaults::each;

const FLAT: &str = "v1beta1";

pub(super) fn claim(spec: &mut Value, from: &str, to: &str) {
    if (from == FLAT) == (to == FLAT) {
        return;
    }
    crate::defaults::within(spec, "devices", |devices| {
        each(devices, "requests", |request| {
            if to == FLAT { flatten(request, "exactly") } else { nest(request, "exactly", &["name", "firstAvailable"]) }
        });
    });
}

pub(super) fn slice(spec: &mut Value, from: &str, to: &str) {
    if (from == FLAT) == (to == FLAT) {
        return;
    }
    each(
        spec,
        "devices",
        |device| {
            if to == FLAT { nest(device, "basic", &["name"]) } else { flatten(device, "basic") }
        },
    );
}

/// Moves the fields of `part` up.
fn flatten(object: &mut Value, part: &str) {
    if let Some(map) = object.as_object_mut()
        && let Some(Value::Object(inner)) = map.remove(part)
    {
        map.extend(inner);
    }
}

/// Moves everything but the `kept` fields down into `part`.
fn nest(object: &mut Value, part: &str, kept: &[&str]) {
    let Some(map) = object.as_object_mut() else { return };
    let all = std::mem::take(map);
    let (outer, inner): (Map<_, _>, Map<_, _>) = all.into_iter().partition(|(k, _)| kept.contains(&k.as_str()));
    *map = outer;
    if inner.values().any(|v| !crate::field::is_zero(v)) {
        map.insert(part.to_owned(), Value::Object(inner));
    }
}
