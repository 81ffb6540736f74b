//! ResourceSlice: the devices that a driver offers.

use serde_json::Value;

use super::device_taint_rule::stamp_taint;
use crate::kind::Kind;
use crate::strategy::Context;

pub(crate) static KIND: Kind = Kind {
    generation: true,
    prepare_create: stamp,
    prepare_update: |context, _, new, _| stamp(context, new),
    validate: |o, e| super::slices::validate(&o.get("spec"), e),
    validate_change: super::slices::change,
    ..Kind::CLUSTER
};

/// Taints of devices hold from now on, unless the driver says since when.
fn stamp(context: &Context, slice: &mut Value) {
    let devices = slice.pointer_mut("/spec/devices").and_then(Value::as_array_mut).into_iter().flatten();
    for device in devices {
        let taints = device.get_mut("taints").and_then(Value::as_array_mut).into_iter().flatten();
        taints.for_each(|taint| stamp_taint(context, taint));
    }
}
