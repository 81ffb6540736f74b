//! Deployment: declarative updates of pods.

use serde_json::Value;

use crate::defaults::{ensure, set, set_zero, text};
use crate::kind::{Kind, empty_status};

pub(crate) static KIND: Kind = Kind { generation: true, initial_status: Some(empty_status), default, ..Kind::PLAIN };

fn default(deployment: &mut Value) {
    ensure(deployment, "status");
    let spec = ensure(deployment, "spec");
    set(spec, "replicas", 1);
    set(spec, "revisionHistoryLimit", 10);
    set(spec, "progressDeadlineSeconds", 600);
    set(spec, "selector", Value::Null);
    let strategy = ensure(spec, "strategy");
    set_zero(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate" {
        let rolling = ensure(strategy, "rollingUpdate");
        set(rolling, "maxUnavailable", "25%");
        set(rolling, "maxSurge", "25%");
    }
    crate::pod::defaults::pod_template(ensure(spec, "template"));
}
