//! APIService: an API group served by another server.

use serde_json::Value;

use crate::defaults::{ensure, set, within};
use crate::kind::{Kind, empty_status};

pub(crate) static KIND: Kind = Kind { initial_status: Some(empty_status), default, ..Kind::CLUSTER };

fn default(service: &mut Value) {
    ensure(service, "status");
    let spec = ensure(service, "spec");
    set(spec, "groupPriorityMinimum", 0);
    set(spec, "versionPriority", 0);
    within(spec, "service", |s| set(s, "port", 443));
}
