//! ReplicationController: keeps a number of pods running.

use serde_json::{Value, json};

use crate::defaults::{ensure, map_at, set, set_zero};
use crate::kind::Kind;

pub(crate) static KIND: Kind =
    Kind { generation: true, initial_status: Some(|| json!({"replicas": 0})), default, ..Kind::PLAIN };

fn default(rc: &mut Value) {
    let labels = map_at(rc, "spec.template.metadata.labels");
    let spec = ensure(rc, "spec");
    set(spec, "replicas", 1);
    crate::defaults::within(spec, "template", crate::pod::defaults::pod_template);
    if !labels.is_empty() {
        set_zero(spec, "selector", labels.clone());
        set_zero(ensure(rc, "metadata"), "labels", labels);
    }
    set(ensure(rc, "status"), "replicas", 0);
}
