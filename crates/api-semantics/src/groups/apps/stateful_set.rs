//! StatefulSet: pods with stable names and storage.

use serde_json::{Value, json};

use crate::defaults::{each, ensure, set, set_zero, text};
use crate::groups::core::claim_spec_defaults;
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind {
    generation: true,
    initial_status: Some(|| json!({"replicas": 0, "availableReplicas": 0})),
    default,
    ..Kind::PLAIN
};

fn default(set_: &mut Value) {
    let status = ensure(set_, "status");
    set(status, "replicas", 0);
    set(status, "availableReplicas", 0);
    let spec = ensure(set_, "spec");
    set_zero(spec, "podManagementPolicy", "OrderedReady");
    set(spec, "replicas", 1);
    set(spec, "revisionHistoryLimit", 10);
    set(spec, "selector", Value::Null);
    let strategy = ensure(spec, "updateStrategy");
    set_zero(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate" {
        set(ensure(strategy, "rollingUpdate"), "partition", 0);
    }
    let retention = ensure(spec, "persistentVolumeClaimRetentionPolicy");
    set_zero(retention, "whenDeleted", "Retain");
    set_zero(retention, "whenScaled", "Retain");
    each(spec, "volumeClaimTemplates", claim_template);
    crate::pod::defaults::pod_template(ensure(spec, "template"));
}

/// Claim templates are whole claims, type and status included.
fn claim_template(claim: &mut Value) {
    set_zero(claim, "apiVersion", "v1");
    set_zero(claim, "kind", "PersistentVolumeClaim");
    ensure(claim, "metadata");
    set_zero(ensure(claim, "status"), "phase", "Pending");
    claim_spec_defaults(ensure(claim, "spec"));
}
