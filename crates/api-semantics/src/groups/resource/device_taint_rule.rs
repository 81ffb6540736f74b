//! DeviceTaintRule: taints devices by a rule.

use serde_json::Value;

use super::devices::driver_name;
use super::slices::pool_name;
use crate::checks::{required_one_of, same};
use crate::defaults::{ensure, has};
use crate::field::{Errors, Field};
use crate::kind::{Kind, empty_status};
use crate::names;
use crate::strategy::{Context, Part};

pub(crate) static KIND: Kind = Kind {
    generation: true,
    initial_status: Some(empty_status),
    status_keeps_metadata: true,
    prepare_create: stamp,
    prepare_update,
    validate,
    labels_validated: 3,
    ..Kind::CLUSTER
};

/// The taint holds from now on, unless the client says since when.
fn stamp(context: &Context, rule: &mut Value) {
    stamp_taint(context, ensure(ensure(rule, "spec"), "taint"));
}

/// The same for one taint.
pub(super) fn stamp_taint(context: &Context, taint: &mut Value) {
    if !has(taint, "timeAdded") {
        taint["timeAdded"] = Value::from(api_types::time::format(&context.now.unwrap_or_default()));
    }
}

/// Another taint holds from the change on.
fn prepare_update(context: &Context, part: Part, new: &mut Value, old: &Value) {
    let (taint, before) = (&new["spec"]["taint"], &old["spec"]["taint"]);
    let other = ["key", "value", "effect"].iter().any(|name| taint[name] != before[name]);
    if part != Part::Main || !other {
        return;
    }
    if taint["timeAdded"] == before["timeAdded"] {
        crate::defaults::drop_key(&mut new["spec"]["taint"], "timeAdded");
    }
    stamp(context, new);
}

fn validate(rule: &Field, errors: &mut Errors) {
    let selector = rule.dig("spec.deviceSelector");
    if selector.has("driver") {
        driver_name(&selector.get("driver"), errors);
    }
    if selector.has("pool") {
        pool_name(&selector.get("pool"), errors);
    }
    let device = selector.get("device");
    if device.exists() {
        errors.invalid_each(&device, names::dns1123_label(device.str()));
    }
    let taint = rule.dig("spec.taint");
    let (key, value) = (taint.get("key"), taint.get("value"));
    errors.invalid_each(&key, names::qualified_name(key.str()));
    if !same(&value, &Field::root(&Value::Null)) {
        errors.invalid_each(&value, names::label_value(value.str()));
    }
    required_one_of(&taint.get("effect"), &["NoExecute", "NoSchedule", "None"], errors);
}
