//! PersistentVolumeClaim: a request for storage.

use serde_json::{Value, json};

use crate::defaults::{ensure, set, set_zero, within};
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind {
    initial_status: Some(|| json!({"phase": "Pending"})),
    default: claim_defaults,
    ..Kind::PLAIN
};

fn claim_defaults(claim: &mut Value) {
    set_zero(ensure(claim, "status"), "phase", "Pending");
    claim_spec_defaults(ensure(claim, "spec"));
}

/// Also of the claim templates of pods and stateful sets.
pub(crate) fn claim_spec_defaults(spec: &mut Value) {
    set(spec, "volumeMode", "Filesystem");
    let resources = ensure(spec, "resources");
    within(resources, "requests", crate::quantity::canonicalize_list);
    within(resources, "limits", crate::quantity::canonicalize_list);
    mirror_data_source(spec);
}

/// `dataSource` and `dataSourceRef` say the same for references into the claim's own namespace.
fn mirror_data_source(spec: &mut Value) {
    let source = spec.get("dataSource").filter(|s| s.is_object()).cloned();
    let reference = spec.get("dataSourceRef").filter(|s| s.is_object()).cloned();
    match (source, reference) {
        (Some(source), None) => spec["dataSourceRef"] = source,
        (None, Some(reference)) if reference.get("namespace").is_none_or(|n| n == "") => {
            let known = match (
                reference["kind"].as_str(),
                reference["apiGroup"].as_str().unwrap_or(""),
            ) {
                (Some("PersistentVolumeClaim"), "") => true,
                (Some("VolumeSnapshot"), "snapshot.storage.k8s.io") => true,
                _ => false,
            };
            if known {
                spec["dataSource"] = reference;
            }
        }
        _ => {}
    }
}
