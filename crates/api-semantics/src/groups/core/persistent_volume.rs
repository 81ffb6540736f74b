//! PersistentVolume: storage of the cluster.

use serde_json::{Value, json};

use crate::defaults::{ensure, set, set_zero, text, within};
use crate::kind::{Kind, empty_status};
use crate::strategy::{Context, Part};

pub(crate) static KIND: Kind =
    Kind { initial_status: Some(empty_status), default, prepare_create, prepare_update, ..Kind::CLUSTER };

fn default(volume: &mut Value) {
    set_zero(ensure(volume, "status"), "phase", "Pending");
    let spec = ensure(volume, "spec");
    set_zero(spec, "persistentVolumeReclaimPolicy", "Retain");
    set(spec, "volumeMode", "Filesystem");
    within(spec, "capacity", crate::quantity::canonicalize_list);
    within(spec, "hostPath", |v| set(v, "type", ""));
    crate::pod::defaults::source(spec);
}

fn stamp(context: &Context, volume: &mut Value) {
    if let Some(now) = context.now {
        let seconds = crate::time::rfc3339(now);
        ensure(volume, "status")["lastPhaseTransitionTime"] = json!(seconds);
    }
}

fn prepare_create(context: &Context, volume: &mut Value) {
    volume["status"] = json!({"phase": "Pending"});
    stamp(context, volume);
}

/// The moment of a phase change is recorded unless the writer says one.
fn prepare_update(context: &Context, part: Part, new: &mut Value, old: &Value) {
    if part != Part::Status || text(&new["status"], "phase") == text(&old["status"], "phase") {
        return;
    }
    let (new_time, old_time) = (&new["status"]["lastPhaseTransitionTime"], &old["status"]["lastPhaseTransitionTime"]);
    if new_time.is_null() || new_time == old_time {
        stamp(context, new);
    }
}
