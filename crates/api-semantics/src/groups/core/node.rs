//! Node: a machine that runs pods.

use serde_json::Value;

use crate::defaults::{ensure, map_at, set_zero, within};
use crate::kind::Kind;
use crate::strategy::{Context, Part, keep_other_parts};

pub(crate) static KIND: Kind = Kind { default, prepare_update, unconditional_update: true, ..Kind::CLUSTER };

fn default(node: &mut Value) {
    ensure(node, "spec");
    let status = ensure(node, "status");
    within(status, "capacity", crate::quantity::canonicalize_list);
    within(status, "allocatable", crate::quantity::canonicalize_list);
    let capacity = map_at(status, "capacity");
    if !capacity.is_empty() {
        set_zero(status, "allocatable", capacity);
    }
    daemon_endpoints(status);
}

/// Two levels of plain structs: always written.
fn daemon_endpoints(status: &mut Value) {
    let endpoint = ensure(ensure(status, "daemonEndpoints"), "kubeletEndpoint");
    crate::defaults::set(endpoint, "Port", 0);
    let info = ensure(status, "nodeInfo");
    for key in [
        "machineID",
        "systemUUID",
        "bootID",
        "kernelVersion",
        "osImage",
        "containerRuntimeVersion",
        "kubeletVersion",
        "kubeProxyVersion",
        "operatingSystem",
        "architecture",
    ] {
        crate::defaults::set(info, key, "");
    }
}

/// A node may be created with its status; updates keep the parts apart.
fn prepare_update(_context: &Context, part: Part, new: &mut Value, old: &Value) {
    keep_other_parts(part, new, old);
}
