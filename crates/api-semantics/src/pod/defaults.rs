//! Defaults of pods and pod templates (upstream: `pkg/apis/core/v1/defaults.go`).

use serde_json::{Value, json};

use crate::defaults::{each, ensure, fill, map_at, set, set_zero, text, within};
use crate::groups::core::{claim_spec_defaults, single_and_list};

const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// A pod: the template's defaults and those that only real pods get.
pub(crate) fn pod(pod: &mut Value) {
    let status = ensure(pod, "status");
    for (single, list) in [("podIP", "podIPs"), ("hostIP", "hostIPs")] {
        single_and_list(status, single, list, |ip| json!({ "ip": ip }));
    }
    let spec = ensure(pod, "spec");
    set(spec, "enableServiceLinks", true);
    for list in ["initContainers", "containers"] {
        each(spec, list, requests_from_limits);
    }
    pod_level_requests(spec);
    if spec.get("hostNetwork").and_then(Value::as_bool) == Some(true) {
        for list in ["initContainers", "containers"] {
            each(spec, list, |c| each(c, "ports", host_port));
        }
    }
    pod_spec(spec);
}

/// A pod template: metadata and spec are always there.
pub(crate) fn pod_template(template: &mut Value) {
    ensure(template, "metadata");
    pod_spec(ensure(template, "spec"));
}

pub(crate) fn pod_spec(spec: &mut Value) {
    set_zero(spec, "dnsPolicy", "ClusterFirst");
    set_zero(spec, "restartPolicy", "Always");
    set(spec, "securityContext", json!({}));
    set(spec, "terminationGracePeriodSeconds", 30);
    set_zero(spec, "schedulerName", "default-scheduler");
    mirror_service_account(spec);
    for list in CONTAINER_LISTS {
        each(spec, list, container);
    }
    each(spec, "volumes", volume);
    within(spec, "resources", resources);
    within(spec, "overhead", resource_list);
}

/// `serviceAccount` is the deprecated spelling of `serviceAccountName`; both are always written.
fn mirror_service_account(spec: &mut Value) {
    let name = match text(spec, "serviceAccountName") {
        "" => text(spec, "serviceAccount"),
        name => name,
    };
    if !name.is_empty() {
        let name = name.to_owned();
        spec["serviceAccountName"] = json!(name);
        spec["serviceAccount"] = json!(name);
    }
}

fn container(c: &mut Value) {
    let policy = default_pull_policy(text(c, "image"));
    set_zero(c, "imagePullPolicy", policy);
    set_zero(c, "terminationMessagePath", "/dev/termination-log");
    set_zero(c, "terminationMessagePolicy", "File");
    set(c, "name", "");
    resources(ensure(c, "resources"));
    each(c, "ports", |p| set_zero(p, "protocol", "TCP"));
    each(c, "env", |e| within(e, "valueFrom", env_source));
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        within(c, name, probe);
    }
    for name in ["postStart", "preStop"] {
        within(c, &format!("lifecycle.{name}.httpGet"), http_get);
    }
}

/// `Always` for the tag `latest`, written or implied.
fn default_pull_policy(image: &str) -> &'static str {
    let (name, has_digest) = image.split_once('@').map_or((image, false), |(n, _)| (n, true));
    let last = name.rsplit('/').next().unwrap_or(name);
    match last.split_once(':') {
        Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
        None if has_digest || !is_image_name(name) => "IfNotPresent",
        None => "Always",
    }
}

/// Roughly the grammar of image references; what does not parse has no tag.
fn is_image_name(name: &str) -> bool {
    let path_char = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/:".contains(c);
    let mut parts = name.split('/');
    let first = parts.next().unwrap_or("");
    let has_host = name.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    let path = if has_host { name.split_once('/').map_or("", |(_, p)| p) } else { name };
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    !path.is_empty()
        && path.len() <= 255
        && path.chars().all(path_char)
        && path.split('/').all(|p| p.starts_with(edge) && p.ends_with(edge) && !p.contains(".."))
}

fn requests_from_limits(c: &mut Value) {
    let limits = map_at(c, "resources.limits");
    if !limits.is_empty() {
        fill(ensure(ensure(c, "resources"), "requests"), &limits);
    }
}

/// Pod-level requests: the containers' sum where every container says one, else the pod-level limit.
fn pod_level_requests(spec: &mut Value) {
    let limits = map_at(spec, "resources.limits");
    if limits.is_empty() {
        return;
    }
    let requests = crate::pod::resources::sum_of_requests(spec, &limits);
    fill(ensure(ensure(spec, "resources"), "requests"), &requests);
}

fn host_port(port: &mut Value) {
    if let Some(number) = port.get("containerPort").cloned() {
        set_zero(port, "hostPort", number);
    }
}

fn resources(resources: &mut Value) {
    within(resources, "limits", resource_list);
    within(resources, "requests", resource_list);
}

/// Quantities in their canonical spelling, rounded up to milli-units.
pub(crate) fn resource_list(list: &mut Value) {
    crate::quantity::round_list(list);
}

fn env_source(source: &mut Value) {
    within(source, "fieldRef", |f| set_zero(f, "apiVersion", "v1"));
    within(source, "resourceFieldRef", divisor);
    within(source, "fileKeyRef", |f| set(f, "optional", false));
}

fn divisor(reference: &mut Value) {
    set_zero(reference, "divisor", "0");
}

pub(crate) fn probe(probe: &mut Value) {
    set_zero(probe, "timeoutSeconds", 1);
    set_zero(probe, "periodSeconds", 10);
    set_zero(probe, "successThreshold", 1);
    set_zero(probe, "failureThreshold", 3);
    within(probe, "httpGet", http_get);
    within(probe, "grpc", |g| set(g, "service", ""));
}

fn http_get(action: &mut Value) {
    set_zero(action, "path", "/");
    set_zero(action, "scheme", "HTTP");
}

pub(crate) fn volume(volume: &mut Value) {
    let has_source = volume.as_object().is_some_and(|v| v.iter().any(|(k, s)| k != "name" && !s.is_null()));
    if !has_source {
        set(volume, "emptyDir", json!({}));
    }
    for name in ["secret", "configMap", "downwardAPI", "projected"] {
        within(volume, name, |v| set(v, "defaultMode", 420));
    }
    within(volume, "downwardAPI", downward_items);
    within(volume, "projected", |v| {
        each(v, "sources", projection);
    });
    within(volume, "hostPath", |v| set(v, "type", ""));
    within(volume, "ephemeral.volumeClaimTemplate", |t| {
        ensure(t, "metadata");
        claim_spec_defaults(ensure(t, "spec"));
    });
    within(volume, "image", |v| {
        let policy = default_pull_policy(text(v, "reference"));
        set_zero(v, "pullPolicy", policy);
    });
    source(volume);
}

/// Defaults of the sources that volumes and persistent volumes share.
pub(crate) fn source(volume: &mut Value) {
    within(volume, "iscsi", |v| set_zero(v, "iscsiInterface", "default"));
    within(volume, "rbd", |v| {
        set_zero(v, "pool", "rbd");
        set_zero(v, "user", "admin");
        set_zero(v, "keyring", "/etc/ceph/keyring");
    });
    within(volume, "azureDisk", |v| {
        set(v, "cachingMode", "ReadWrite");
        set(v, "kind", "Shared");
        set(v, "fsType", "ext4");
        set(v, "readOnly", false);
    });
    within(volume, "scaleIO", |v| {
        set_zero(v, "storageMode", "ThinProvisioned");
        set_zero(v, "fsType", "xfs");
    });
}

fn projection(source: &mut Value) {
    within(source, "serviceAccountToken", |t| set(t, "expirationSeconds", 3600));
    within(source, "downwardAPI", downward_items);
    within(source, "podCertificate", |p| set(p, "maxExpirationSeconds", 86400));
}

fn downward_items(api: &mut Value) {
    each(api, "items", |item| {
        within(item, "fieldRef", |f| set_zero(f, "apiVersion", "v1"));
        within(item, "resourceFieldRef", divisor);
    });
}
