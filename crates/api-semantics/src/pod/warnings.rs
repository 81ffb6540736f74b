//! What is dubious in a pod, in upstream's words (`pkg/api/pod/warnings.go`).

use std::collections::{BTreeMap, BTreeSet};

use crate::field::Field;
use crate::quantity;

/// Labels of nodes that have new names.
const OLD_LABELS: [(&str, &str); 6] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];

/// Volume sources that no longer do anything.
const OLD_SOURCES: [(&str, &str); 9] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

const NULL_SELECTOR: &str = "a null labelSelector results in matching no pod";

/// Warnings of the pod spec at `spec`.
pub(crate) fn pod_spec(spec: &Field, out: &mut Vec<String>) {
    for (label, words) in OLD_LABELS.iter().take(5) {
        let entry = spec.get("nodeSelector").entry(label);
        if entry.exists() {
            out.push(format!("{}: {words}", entry.path()));
        }
    }
    for constraint in spec.get("topologySpreadConstraints").items() {
        if !constraint.has("labelSelector") {
            out.push(format!("{}: {NULL_SELECTOR}", constraint.get("labelSelector").path()));
        }
    }
    host_aliases(spec, out);
    pull_secrets(spec, out);
    for volume in spec.get("volumes").items() {
        one_volume(&volume, out);
    }
    containers(spec, out);
    let grace = spec.get("terminationGracePeriodSeconds");
    if grace.int_or_zero() < 0 {
        out.push(format!("{}: must be >= 0; negative values are invalid and will be treated as 1", grace.path()));
    }
    affinity(&spec.get("affinity"), out);
}

fn host_aliases(spec: &Field, out: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for alias in spec.get("hostAliases").items() {
        let ip = alias.get("ip");
        if !seen.insert(ip.str()) {
            out.push(format!("{}: duplicate ip \"{}\"", ip.path(), ip.str()));
        }
    }
}

fn pull_secrets(spec: &Field, out: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for secret in spec.get("imagePullSecrets").items() {
        let name = secret.get("name");
        if name.str().is_empty() {
            out.push(format!("{}: invalid empty name \"\"", name.path()));
        } else if !seen.insert(name.str()) {
            out.push(format!("{}: duplicate name \"{}\"", name.path(), name.str()));
        }
    }
}

fn one_volume(volume: &Field, out: &mut Vec<String>) {
    for (name, words) in OLD_SOURCES {
        if volume.has(name) {
            out.push(format!("{}: {words}", volume.get(name).path()));
        }
    }
    let request = volume.dig("ephemeral.volumeClaimTemplate.spec.resources.requests").entry("storage");
    fractional(&request, out);
    let name = volume.str_of("name");
    let head = |what: String| format!("volume \"{name}\" ({what})");
    let own = |source: &Field, key: &str| {
        source.get(key).items().map(|i| (i.str_of("path").to_owned(), String::new())).collect()
    };
    let secret = volume.get("secret");
    if secret.exists() {
        overlaps(&head(format!("Secret \"{}\"", secret.str_of("secretName"))), own(&secret, "items"), out);
    }
    let map = volume.get("configMap");
    if map.exists() {
        overlaps(&head(format!("ConfigMap \"{}\"", map.str_of("name"))), own(&map, "items"), out);
    }
    let api = volume.get("downwardAPI");
    if api.exists() {
        overlaps(&head("DownwardAPI".to_owned()), own(&api, "items"), out);
    }
    let projected = volume.get("projected");
    if projected.exists() {
        projection(&head("Projected".to_owned()), &projected, out);
    }
}

fn projection(head: &str, projected: &Field, out: &mut Vec<String>) {
    let sources = projected.get("sources");
    let mut paths: Vec<(String, String)> = Vec::new();
    let mut empty = false;
    for source in sources.items() {
        let known =
            ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate"];
        empty |= !known.iter().any(|k| source.has(k));
        for (key, what) in [("secret", "Secret"), ("configMap", "ConfigMap")] {
            let part = source.get(key);
            let label = format!(" ({what} \"{}\")", part.str_of("name"));
            paths.extend(part.get("items").items().map(|i| (i.str_of("path").to_owned(), label.clone())));
        }
        let api = source.dig("downwardAPI.items");
        paths.extend(api.items().map(|i| (i.str_of("path").to_owned(), " (DownwardAPI)".to_owned())));
        for (key, what) in
            [("serviceAccountToken", "ServiceAccountToken"), ("clusterTrustBundle", "ClusterTrustBundle")]
        {
            if source.has(key) {
                paths.push((source.get(key).str_of("path").to_owned(), format!(" ({what})")));
            }
        }
    }
    if empty {
        out.push(format!("{head} has no sources provided"));
    }
    overlaps(head, paths, out);
}

/// Paths that are the same or lie within one another: (path, where it comes from).
fn overlaps(head: &str, paths: Vec<(String, String)>, out: &mut Vec<String>) {
    let clean = |p: &str| p.trim_end_matches('/').to_owned();
    for (i, (path, from)) in paths.iter().enumerate() {
        for (other, other_from) in &paths[..i] {
            let (a, b) = (clean(path), clean(other));
            if a == b || a.starts_with(&format!("{b}/")) || b.starts_with(&format!("{a}/")) {
                out.push(format!("{head}: overlapping paths: \"{path}\"{from} with \"{other}\"{other_from}"));
            }
        }
    }
}

fn containers(spec: &Field, out: &mut Vec<String>) {
    let mut ports: BTreeMap<String, String> = BTreeMap::new();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec.get(list).items() {
            for kind in ["limits", "requests"] {
                for (name, amount) in container.get("resources").get(kind).entries() {
                    if matches!(name, "memory" | "ephemeral-storage") {
                        fractional(&amount, out);
                    }
                }
            }
            environment(&container, out);
            if list != "ephemeralContainers" {
                port_conflicts(&container, &mut ports, out);
            }
        }
    }
}

/// Bytes cannot be divided.
pub(crate) fn fractional(amount: &Field, out: &mut Vec<String>) {
    if let Some(q) = quantity::of(amount.value())
        && !quantity::is_integer(q)
    {
        out.push(format!("{}: fractional byte value \"{q}\" is invalid, must be an integer", amount.path()));
    }
}

fn environment(container: &Field, out: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for variable in container.get("env").items() {
        let name = variable.str_of("name");
        // A variable may refer to its own earlier definition.
        let refers = variable.str_of("value").contains(&format!("$({name})"));
        if !seen.insert(name) && !refers {
            out.push(format!(
                "{}: hides previous definition of \"{name}\", which may be dropped when using apply",
                variable.path()
            ));
        }
    }
}

fn port_conflicts(container: &Field, seen: &mut BTreeMap<String, String>, out: &mut Vec<String>) {
    for port in container.get("ports").items() {
        let (number, host) = (port.get("containerPort").int_or_zero(), port.get("hostPort").int_or_zero());
        let (protocol, ip) = (port.str_of("protocol"), port.str_of("hostIP"));
        if host == 0 && !ip.is_empty() {
            let name = port.str_of("name");
            out.push(format!(
                "{}: hostIP set without hostPort: {{Name:{name} HostPort:0 ContainerPort:{number} Protocol:{protocol} HostIP:{ip}}}",
                port.path()
            ));
        }
        let key = format!("{number}/{protocol}/{host}/{ip}");
        match seen.get(&key) {
            Some(first) => out.push(format!("{}: duplicate port definition with {first}", port.path())),
            None => {
                seen.insert(key, port.path().to_string());
            }
        }
    }
}

fn affinity(affinity: &Field, out: &mut Vec<String>) {
    for name in ["podAffinity", "podAntiAffinity"] {
        let pods = affinity.get(name);
        let required = pods.get("requiredDuringSchedulingIgnoredDuringExecution");
        let preferred = pods.get("preferredDuringSchedulingIgnoredDuringExecution");
        let terms = required.items().chain(preferred.items().map(|t| t.get("podAffinityTerm")));
        for term in terms {
            if !term.has("labelSelector") {
                out.push(format!("{}: {NULL_SELECTOR}", term.get("labelSelector").path()));
            }
        }
    }
    let nodes = affinity.get("nodeAffinity");
    let required = nodes.dig("requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
    let preferred = nodes.get("preferredDuringSchedulingIgnoredDuringExecution");
    let terms = required.items().chain(preferred.items().map(|t| t.get("preference")));
    for term in terms {
        for expression in term.get("matchExpressions").items() {
            let key = expression.get("key");
            if let Some((label, words)) = OLD_LABELS.iter().find(|(l, _)| *l == key.str()) {
                out.push(format!("{}: {label} is {words}", key.path()));
            }
        }
    }
}

/// Warnings of a template, when it is new or has changed.
pub(crate) fn template(new: &Field, old: Option<&Field>, path: &str, out: &mut Vec<String>) {
    let template = new.dig(path);
    let changed = old.is_none_or(|o| !crate::checks::same(&o.dig(path), &template));
    if changed && template.exists() {
        pod_spec(&template.get("spec"), out);
    }
}
