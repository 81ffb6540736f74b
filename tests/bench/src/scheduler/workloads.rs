//! The workloads of upstream's scheduler_perf: nodes, what is there before, and the pods that are measured.

use serde_json::{Value, json};

/// The namespace of every pod.
pub(crate) const NAMESPACE: &str = "bench";
const ZONES: usize = 10;
const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// A kind of pod, in a kind of cluster.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// What each container requests: CPU and memory.
    requests: [&'static str; 2],
    /// What the spec of the `n`-th of that many nodes' pods has beside its container.
    spec: fn(usize, usize) -> Value,
    /// Objects that the `n`-th pod needs.
    objects: fn(usize) -> Vec<Value>,
    /// What else is there before, for that many nodes.
    before: fn(usize) -> Vec<Value>,
    /// Whether the pods fit nowhere: then their refusals are counted.
    pub(crate) fits: bool,
    /// Whether it is about the queue or about what is written, which decisions alone do not have.
    pub(crate) only_live: bool,
}

const BASIC: Workload = Workload {
    name: "basic",
    requests: ["100m", "500Mi"],
    spec: |_, _| json!({}),
    objects: |_| Vec::new(),
    before: |_| Vec::new(),
    fits: true,
    only_live: false,
};

/// Every workload, in the order in which they are run.
pub(crate) const ALL: &[Workload] = &[
    BASIC,
    Workload { name: "node-affinity", spec: |n, _| node_affinity(n), ..BASIC },
    Workload { name: "affinity-zone", spec: |_, _| required("podAffinity", ZONE), ..BASIC },
    Workload { name: "anti-affinity-host", spec: |_, _| required("podAntiAffinity", HOSTNAME), ..BASIC },
    Workload { name: "preferred-affinity-host", spec: |_, _| preferred("podAffinity", HOSTNAME), ..BASIC },
    Workload { name: "preferred-anti-affinity-host", spec: |_, _| preferred("podAntiAffinity", HOSTNAME), ..BASIC },
    Workload { name: "spread-zone", spec: |_, _| spread(ZONE, 5, "DoNotSchedule"), ..BASIC },
    Workload { name: "spread-zone-softly", spec: |_, _| spread(ZONE, 5, "ScheduleAnyway"), ..BASIC },
    Workload { name: "spread-host-softly", spec: |_, _| spread(HOSTNAME, 1, "ScheduleAnyway"), ..BASIC },
    Workload { name: "mixed", spec: |n, _| mixed(n), ..BASIC },
    Workload { name: "daemonset", spec: daemon, ..BASIC },
    Workload {
        name: "volumes",
        spec: |n, _| json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": format!("claim-{n}")}}]}),
        objects: volume,
        ..BASIC
    },
    Workload {
        name: "claims",
        spec: |n, _| json!({"resourceClaims": [{"name": "device", "resourceClaimName": format!("claim-{n}")}]}),
        objects: |n| vec![resource_claim(n)],
        before: |nodes| std::iter::once(device_class()).chain((0..nodes).map(resource_slice)).collect(),
        only_live: true,
        ..BASIC
    },
    Workload {
        name: "preemption",
        requests: ["3000m", "500Mi"],
        spec: |_, _| json!({"priority": 100}),
        before: |nodes| (0..4 * nodes).map(|n| running(n, nodes)).collect(),
        ..BASIC
    },
    Workload { name: "refused", spec: |_, _| json!({"nodeSelector": {"no": "such"}}), fits: false, ..BASIC },
    Workload {
        name: "unschedulable-pile",
        before: |_| (0..2000).map(|n| pile(n, json!({"nodeSelector": {"no": "such"}}))).collect(),
        only_live: true,
        ..BASIC
    },
    Workload {
        name: "gated-pile",
        before: |_| (0..10_000).map(|n| pile(n, json!({"schedulingGates": [{"name": "bench/gate"}]}))).collect(),
        only_live: true,
        ..BASIC
    },
];

// === impl Workload ===

impl Workload {
    /// The `n`-th measured pod.
    pub(crate) fn pod(&self, n: usize, nodes: usize) -> Value {
        pod(&format!("pod-{n}"), "web", self.requests, &(self.spec)(n, nodes))
    }

    /// What must be there before the scheduler sees it: nodes first.
    pub(crate) fn setting(&self, nodes: usize, pods: usize) -> impl Iterator<Item = Value> {
        let before = (self.before)(nodes).into_iter();
        (0..nodes).map(node).chain(before).chain((0..pods).flat_map(self.objects))
    }
}

fn node(n: usize) -> Value {
    let name = format!("node-{n}");
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
            HOSTNAME: name, ZONE: format!("zone-{}", n % ZONES), "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
        }},
        "status": {"capacity": {"cpu": "4", "memory": "32Gi", "pods": "110"}, "allocatable": {"cpu": "4", "memory": "32Gi", "pods": "110"}},
    })
}

fn pod(name: &str, app: &str, [cpu, memory]: [&str; 2], more: &Value) -> Value {
    let mut spec = json!({"terminationGracePeriodSeconds": 0, "containers": [
        {"name": "c", "image": "registry/pause:1", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]});
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more.clone()) {
        spec.extend(more);
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE, "uid": name, "labels": {"app": app}}, "spec": spec})
}

/// One of four pods that nearly fill a node.
fn running(n: usize, nodes: usize) -> Value {
    let node = format!("node-{}", n % nodes);
    pod(&format!("running-{n}"), "running", ["900m", "500Mi"], &json!({"nodeName": node}))
}

fn pile(n: usize, spec: Value) -> Value {
    pod(&format!("pile-{n}"), "pile", BASIC.requests, &spec)
}

fn node_affinity(n: usize) -> Value {
    let zone = json!({"key": ZONE, "operator": "In", "values": [format!("zone-{}", n % ZONES)]});
    json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [zone]}]}}}})
}

fn term(key: &str) -> Value {
    json!({"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": key})
}

fn required(kind: &str, key: &str) -> Value {
    json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term(key)]}}})
}

fn preferred(kind: &str, key: &str) -> Value {
    json!({"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": term(key)}]}}})
}

fn spread(key: &str, skew: i64, otherwise: &str) -> Value {
    json!({"topologySpreadConstraints": [{"maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": otherwise,
        "labelSelector": {"matchLabels": {"app": "web"}}}]})
}

fn mixed(n: usize) -> Value {
    match n % 5 {
        0 => json!({}),
        1 => required("podAffinity", ZONE),
        2 => required("podAntiAffinity", HOSTNAME),
        3 => preferred("podAffinity", HOSTNAME),
        _ => preferred("podAntiAffinity", HOSTNAME),
    }
}

fn daemon(n: usize, nodes: usize) -> Value {
    let name = json!({"key": "metadata.name", "operator": "In", "values": [format!("node-{}", n % nodes)]});
    json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": [name]}]}}}})
}

/// A volume that any node of a zone can reach, bound to a claim.
fn volume(n: usize) -> Vec<Value> {
    let (claim, volume) = (format!("claim-{n}"), format!("volume-{n}"));
    let zone = json!({"key": ZONE, "operator": "In", "values": [format!("zone-{}", n % ZONES)]});
    let reached = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [zone]}]}});
    vec![
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "nodeAffinity": reached,
                "csi": {"driver": "bench", "volumeHandle": volume}, "claimRef": {"namespace": NAMESPACE, "name": claim}}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim, "namespace": NAMESPACE, "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
            "spec": {"accessModes": ["ReadWriteOnce"], "volumeName": volume, "storageClassName": "",
                "resources": {"requests": {"storage": "1Gi"}}}}),
    ]
}

fn device_class() -> Value {
    let expression = "device.driver == 'bench.example.com'";
    json!({"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": "bench"}, "spec": {"selectors": [{"cel": {"expression": expression}}]}})
}

/// Ten devices of a node.
fn resource_slice(n: usize) -> Value {
    let node = format!("node-{n}");
    let devices: Vec<Value> = (0..10).map(|d| json!({"name": format!("device-{d}")})).collect();
    json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": node}, "spec": {
        "driver": "bench.example.com", "nodeName": node, "devices": devices, "pool": {"name": node, "generation": 1, "resourceSliceCount": 1}}})
}

fn resource_claim(n: usize) -> Value {
    let request =
        json!({"name": "one", "exactly": {"deviceClassName": "bench", "allocationMode": "ExactCount", "count": 1}});
    json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": format!("claim-{n}"), "namespace": NAMESPACE},
        "spec": {"devices": {"requests": [request]}}})
}
