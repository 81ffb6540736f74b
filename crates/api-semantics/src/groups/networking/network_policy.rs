//! NetworkPolicy: which traffic pods accept and send.

use serde_json::{Value, json};

use crate::defaults::{each, ensure, set_zero};
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { generation: true, default, ..Kind::PLAIN };

fn default(policy: &mut Value) {
    let spec = ensure(policy, "spec");
    ensure(spec, "podSelector");
    for direction in ["ingress", "egress"] {
        each(spec, direction, |rule| each(rule, "ports", |p| crate::defaults::set(p, "protocol", "TCP")));
    }
    let egress = spec.get("egress").and_then(Value::as_array).is_some_and(|e| !e.is_empty());
    let types = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    set_zero(spec, "policyTypes", types);
}
