//! DaemonSet: one pod on each node.

use serde_json::{Value, json};

use crate::defaults::{ensure, fill, set, set_zero, text};
use crate::kind::Kind;
use crate::strategy::{Context, Part};

pub(crate) static KIND: Kind = Kind {
    generation: true,
    initial_status: Some(initial_status),
    default,
    prepare_create,
    prepare_update,
    ..Kind::PLAIN
};

const GENERATION: &str = "deprecated.daemonset.template.generation";

fn initial_status() -> Value {
    json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0})
}

fn default(daemons: &mut Value) {
    if let Value::Object(zero) = initial_status() {
        fill(ensure(daemons, "status"), &zero);
    }
    let spec = ensure(daemons, "spec");
    set(spec, "revisionHistoryLimit", 10);
    set(spec, "selector", Value::Null);
    let strategy = ensure(spec, "updateStrategy");
    set_zero(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate" {
        let rolling = ensure(strategy, "rollingUpdate");
        set(rolling, "maxUnavailable", 1);
        set(rolling, "maxSurge", 0);
    }
    crate::pod::defaults::pod_template(ensure(spec, "template"));
}

/// The template's generation lives on as an annotation.
fn prepare_create(_context: &Context, daemons: &mut Value) {
    let annotations = ensure(ensure(daemons, "metadata"), "annotations");
    set(annotations, GENERATION, "1");
}

fn prepare_update(_context: &Context, part: Part, new: &mut Value, old: &Value) {
    if part != Part::Main {
        return;
    }
    let old_generation = old["metadata"]["annotations"][GENERATION].as_str().unwrap_or("0");
    let changed = new["spec"]["template"] != old["spec"]["template"]
        || new["spec"]["updateStrategy"] != old["spec"]["updateStrategy"];
    let number: i64 = old_generation.parse().unwrap_or(0);
    let generation = if changed { (number + 1).to_string() } else { old_generation.to_owned() };
    let annotations = ensure(ensure(new, "metadata"), "annotations");
    if annotations.is_object() {
        annotations[GENERATION] = json!(generation);
    }
}
