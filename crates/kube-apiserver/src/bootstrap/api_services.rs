//! An `APIService` for each group version that this server answers itself.

use apiserver::server::Core;
use serde_json::{Value, json};

/// Upstream's priority of each group (how discovery is ordered), and of its version where it is not 15.
const PRIORITIES: [(&str, i64); 23] = [
    ("", 18000),
    ("admissionregistration.k8s.io", 16700),
    ("apiextensions.k8s.io", 16700),
    ("apiregistration.k8s.io", 18000),
    ("apps", 17800),
    ("authentication.k8s.io", 17700),
    ("authorization.k8s.io", 17600),
    ("autoscaling", 17500),
    ("batch", 17400),
    ("certificates.k8s.io", 17300),
    ("coordination.k8s.io", 16500),
    ("discovery.k8s.io", 16200),
    ("events.k8s.io", 17750),
    ("flowcontrol.apiserver.k8s.io", 16100),
    ("internal.apiserver.k8s.io", 16000),
    ("networking.k8s.io", 17200),
    ("node.k8s.io", 16300),
    ("policy", 17100),
    ("rbac.authorization.k8s.io", 17000),
    ("resource.k8s.io", 16200),
    ("scheduling.k8s.io", 16600),
    ("storage.k8s.io", 16800),
    ("storagemigration.k8s.io", 16800),
];

/// All of them.
pub(super) fn objects(core: &Core) -> Vec<Value> {
    let mut out = Vec::new();
    for group in core.catalog.groups().iter().filter(|g| g.group != "apiregistration.k8s.io") {
        for version in group.versions.iter().filter(|v| !v.contains("alpha") && !v.contains("beta")) {
            out.push(object(&group.group, version));
        }
    }
    out
}

fn object(group: &str, version: &str) -> Value {
    let minimum = PRIORITIES.iter().find(|(g, _)| *g == group).map_or(1000, |(_, p)| *p);
    let priority = match (group, version) {
        ("", _) => 1,
        ("flowcontrol.apiserver.k8s.io" | "resource.k8s.io", _) => 21,
        ("autoscaling", "v2") => 30,
        _ => 15,
    };
    let mut spec = json!({ "version": version, "groupPriorityMinimum": minimum, "versionPriority": priority });
    if !group.is_empty() {
        spec["group"] = group.into();
    }
    json!({
        "metadata": {
            "name": format!("{version}.{group}"),
            "labels": { "kube-aggregator.kubernetes.io/automanaged": "onstart" },
        },
        "spec": spec,
    })
}
