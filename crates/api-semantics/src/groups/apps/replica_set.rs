//! ReplicaSet: keeps a number of identical pods running.

use serde_json::{Value, json};

use crate::defaults::{ensure, set};
use crate::kind::Kind;

pub(crate) static KIND: Kind =
    Kind { generation: true, initial_status: Some(|| json!({"replicas": 0})), default, ..Kind::PLAIN };

fn default(set_: &mut Value) {
    set(ensure(set_, "status"), "replicas", 0);
    let spec = ensure(set_, "spec");
    set(spec, "replicas", 1);
    set(spec, "selector", Value::Null);
    crate::pod::defaults::pod_template(ensure(spec, "template"));
}
