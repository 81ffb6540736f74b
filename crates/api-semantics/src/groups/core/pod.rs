//! Pod: containers that run together on one node.

use serde_json::{Value, json};

use crate::field::{Errors, Field};
use crate::kind::{Kind, empty_status};
use crate::pod::{Owner, pod_spec};
use crate::strategy::{Context, Part};

pub(crate) static KIND: Kind = Kind {
    generation: true,
    initial_status: Some(empty_status),
    default: crate::pod::defaults::pod,
    prepare_create,
    prepare_update,
    validate,
    validate_change: crate::pod::update::validate,
    warnings,
    validate_part: crate::pod::update::part,
    resets: |part| match part {
        Part::Status => Some(&[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]]),
        _ => None,
    },
    ..Kind::PLAIN
};

/// A new pod is pending, and its quality-of-service class follows from its containers.
fn prepare_create(context: &Context, pod: &mut Value) {
    crate::pod::label_keys::merge(pod);
    let class = crate::pod::qos::class(&pod["spec"]);
    pod["status"] = json!({"phase": "Pending", "qosClass": class});
    if pod["spec"]["schedulingGates"].as_array().is_some_and(|g| !g.is_empty()) {
        pod["status"]["conditions"] = json!([{
            "type": "PodScheduled",
            "status": "False",
            "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastTransitionTime": context.now.map(crate::time::rfc3339),
        }]);
    }
}

fn prepare_update(_context: &Context, part: Part, new: &mut Value, old: &Value) {
    match part {
        Part::Main => {}
        Part::Status => keep_status_identity(new, old),
        Part::Other("ephemeralcontainers") => keep_all_but(new, old, &["ephemeralContainers"]),
        Part::Other("resize") => keep_all_but_resources(new, old),
        Part::Other(_) => {}
    }
}

/// A status write changes neither the quality-of-service class nor (being status only) the owners of the pod.
fn keep_status_identity(new: &mut Value, old: &Value) {
    if let Some(class) = old.get("status").and_then(|s| s.get("qosClass")).cloned() {
        crate::defaults::set_zero(crate::defaults::ensure(new, "status"), "qosClass", class);
    }
}

/// Everything as it was but the named fields of the spec and the metadata that the registry handles.
fn keep_all_but(new: &mut Value, old: &Value, fields: &[&str]) {
    let (mut spec, status) = (old["spec"].clone(), old.get("status").cloned());
    for field in fields {
        crate::defaults::keep(&mut spec, &new["spec"], field);
    }
    new["spec"] = spec;
    new["status"] = status.unwrap_or(Value::Null);
}

fn keep_all_but_resources(new: &mut Value, old: &Value) {
    keep_all_but(new, old, &["containers", "initContainers", "resources"]);
}

fn validate(pod: &Field, errors: &mut Errors) {
    let owner = Owner::Pod(pod.get("metadata").str_of("name"));
    pod_spec(&pod.get("spec"), &owner, errors);
}

/// A changed pod is looked at again only where a spec may change.
fn warnings(pod: &Field, old: Option<&Field>, out: &mut Vec<String>) {
    if old.is_none_or(|o| !crate::checks::same(&o.get("spec"), &pod.get("spec"))) {
        crate::pod::warnings::pod_spec(&pod.get("spec"), out);
    }
}
